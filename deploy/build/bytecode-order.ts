import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * Names of functions, in the order in which a gateway first needs them. The compiler lays their bytecode together, so
 * that a start reads less of the file and a running gateway holds less of it in memory. Functions that it does not
 * name, or names and that are gone, do no harm: it is recorded again before a release, not with every change.
 */
export const BYTECODE_ORDER = join(import.meta.dir, 'bytecode-order.txt')

const START_MS = 20_000
const RUN_MS = 60_000
/** Line of a function; the other kinds change nothing here. */
const FUNCTION = /^F /

/** Records what `executable dev` and the commands that it prints for its user make a gateway run. */
export async function recordBytecodeOrder(executable: string): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'bytecode-order-'))
  const recorded = join(dir, 'order')
  const env = { PATH: process.env['PATH'], HOME: dir }
  const gateway = spawn(executable, ['dev', '--ephemeral'], {
    env: { ...env, BUN_BYTECODE_ORDER_OUT: recorded },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const ended = new Promise(resolve => gateway.once('exit', resolve))
  try {
    const commands = commandsIn(await welcomeOf(gateway.stderr))
    const ran = spawnSync('sh', ['-c', commands], { env, encoding: 'utf8', timeout: RUN_MS })
    if (!ran.stdout.includes('"deleted":true'))
      throw new Error(`the commands of dev failed:\n${ran.stdout}${ran.stderr}`)
    gateway.kill('SIGTERM')
    await ended
    const [format, ...lines] = readFileSync(recorded, 'utf8').trimEnd().split('\n')
    writeFileSync(BYTECODE_ORDER, `${[format, ...lines.filter(line => FUNCTION.test(line))].join('\n')}\n`)
  } finally {
    gateway.kill('SIGKILL')
    rmSync(dir, { recursive: true, force: true })
  }
}

/** Everything `dev` says until it serves. */
async function welcomeOf(stderr: NodeJS.ReadableStream): Promise<string> {
  const late = setTimeout(() => stderr.emit('end'), START_MS)
  let text = ''
  try {
    for await (const piece of stderr) {
      text += piece
      if (text.includes('Ctrl-C')) return text
    }
  } finally {
    clearTimeout(late)
  }
  throw new Error(`dev never served:\n${text}`)
}

/** The indented lines, but for the one that needs OpenSSH and a terminal. */
function commandsIn(welcome: string): string {
  const lines = welcome.split('\n').filter(line => line.startsWith('  ') && !line.startsWith('  ssh '))
  return lines.join('\n')
}
