import { join } from 'node:path'
import type { Behaviour, Command } from './compute-driver.ts'
import type { CredentialsCommand } from './credentials-driver.ts'

type Told<C> = C extends { id: number } ? Omit<C, 'id'> : never

/** One line a driver said. */
export interface Said {
  readonly say: string
  readonly rpc?: string
  readonly request?: Record<string, unknown>
  readonly id?: number
}

/** A scripted driver in its own process. */
export interface DriverProcess {
  readonly pid: number
  /** Everything it said since it started. */
  readonly said: readonly Said[]
  /** How often an RPC was called. */
  calls(rpc: string): number
  /** Gives a command and waits until it was carried out. */
  tell(command: Told<Command> | Told<CredentialsCommand>): Promise<void>
  behave(rpc: string, as: Behaviour): Promise<void>
  signal(name: NodeJS.Signals): void
  /** SIGKILL, and waits until it is gone. */
  kill(): Promise<void>
}

/** Starts `test/kit/<script>` at a socket and waits until it listens. */
export async function startDriver(
  script: 'compute-driver.ts' | 'credentials-driver.ts',
  socket: string,
): Promise<DriverProcess> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, script), socket], {
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'inherit',
  })
  const said: Said[] = []
  const listeners = new Set<() => void>()
  const reading = readLines(child.stdout, line => {
    said.push(JSON.parse(line) as Said)
    for (const listener of [...listeners]) listener()
  })
  const until = (condition: () => boolean) =>
    new Promise<void>((resolve, reject) => {
      const look = () => {
        if (!condition()) return
        listeners.delete(look)
        resolve()
      }
      listeners.add(look)
      void child.exited.then(code => reject(new Error(`driver exited with ${code}`)))
      look()
    })
  let lastId = 0
  await until(() => said.some(line => line.say === 'ready'))
  const driver: DriverProcess = {
    pid: child.pid,
    said,
    calls: rpc => said.filter(line => line.say === 'call' && line.rpc === rpc).length,
    async tell(command) {
      const id = ++lastId
      child.stdin.write(`${JSON.stringify({ ...command, id })}\n`)
      await child.stdin.flush()
      await until(() => said.some(line => line.say === 'done' && line.id === id))
    },
    behave: (rpc, as) => driver.tell({ do: 'behave', rpc, as }),
    signal: name => child.kill(name),
    async kill() {
      child.kill('SIGKILL')
      await child.exited
      await reading
    },
  }
  return driver
}

async function readLines(stream: ReadableStream<Uint8Array>, onLine: (line: string) => void): Promise<void> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) onLine(line)
  }
}

/** Looks every few milliseconds until `condition` holds; fails after `withinMs`. */
export async function eventually(what: string, condition: () => boolean, withinMs = 5000): Promise<number> {
  const beganMs = performance.now()
  while (!condition()) {
    if (performance.now() - beganMs > withinMs) throw new Error(`not within ${withinMs} ms: ${what}`)
    await Bun.sleep(5)
  }
  return performance.now() - beganMs
}
