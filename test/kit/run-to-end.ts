import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EXECUTABLE, SECRET } from './gateway.ts'

/** What a run of the executable that ends by itself left. */
export interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
  /** Files it left in its working directory. */
  readonly files: readonly string[]
}

export interface RunOptions {
  /** Joined to PATH and the handshake secret; an undefined value takes one away. */
  readonly env?: Record<string, string | undefined>
  /** Working directory; a new and empty one, removed afterwards, when absent. */
  readonly cwd?: string
  readonly timeoutMs?: number
}

/** Runs the executable until it ends; one that runs on is ended and reported as a failure of the test. */
export async function runToEnd(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const cwd = options.cwd ?? mkdtempSync(join(tmpdir(), 'run-'))
  try {
    const child = Bun.spawn([EXECUTABLE, ...args], {
      cwd,
      env: { PATH: process.env['PATH'], OPENSHELL_SSH_HANDSHAKE_SECRET: SECRET, ...options.env },
      stdin: 'ignore',
      stdout: 'pipe',
      stderr: 'pipe',
      timeout: options.timeoutMs ?? 10_000,
      killSignal: 'SIGKILL',
    })
    const [stdout, stderr, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ])
    if (child.signalCode !== null) throw new Error(`it did not end by itself: ${args.join(' ')}\n${stdout}${stderr}`)
    return { code, stdout, stderr, files: readdirSync(cwd) }
  } finally {
    if (options.cwd === undefined) rmSync(cwd, { recursive: true, force: true })
  }
}
