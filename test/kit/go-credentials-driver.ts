import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const SOURCE = join(import.meta.dir, 'foreign/credentials-driver')

/** What a name does from now on; see the driver's source. */
export type GoMode = 'ok' | `slow ${number}` | `expires ${number}` | `text ${string}` | 'bytes' | `fail ${number}`

/** Compiles the driver written in Go to `outfile`; null, or why there is none, in one plain sentence. */
export function buildGoDriver(outfile: string): string | null {
  if (Bun.which('go') === null) return 'the credentials driver in another language needs Go; it was not found'
  const built = Bun.spawnSync(['go', 'build', '-o', outfile, '.'], { cwd: SOURCE, stderr: 'pipe' })
  if (built.exitCode === 0) return null
  return `the credentials driver in Go could not be built: ${built.stderr.toString().trim().split('\n').at(-1)}`
}

/** The driver in its own process. */
export interface GoDriver {
  /** Names asked for so far, in order. */
  readonly asked: readonly string[]
  /** How long each call lasted that its caller gave up, milliseconds. */
  readonly givenUpMs: readonly number[]
  set(name: string, mode: GoMode): Promise<void>
  /** SIGKILL, and waits until it is gone. */
  kill(): Promise<void>
}

/** Starts a built driver at `socket` and waits until it serves. */
export async function startGoDriver(
  executable: string,
  socket: string,
  client: { readonly endpoint: string; readonly id: string; readonly secret: string },
): Promise<GoDriver> {
  const child = spawn(executable, [socket, client.endpoint, client.id], {
    env: { CLIENT_SECRET: client.secret },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const asked: string[] = []
  const givenUpMs: number[] = []
  const waiting = new Map<string, () => void>()
  const gone = new Promise<void>(resolve => child.once('exit', () => resolve()))
  const heard = (line: string) => new Promise<void>(resolve => waiting.set(line, resolve))
  const ready = heard('ready')
  createInterface({ input: child.stdout }).on('line', line => {
    const [word, name = '', ms] = line.split(' ')
    if (word === 'resolve') asked.push(name)
    if (word === 'ended') givenUpMs.push(Number(ms))
    waiting.get(line)?.()
  })
  await Promise.race([ready, gone.then(() => Promise.reject(new Error('the driver in Go ended')))])
  return {
    asked,
    givenUpMs,
    async set(name, mode) {
      const line = `as ${name} ${mode}`
      const done = heard(`done ${line}`)
      child.stdin.write(`${line}\n`)
      await done
    },
    kill() {
      child.kill('SIGKILL')
      return gone
    },
  }
}
