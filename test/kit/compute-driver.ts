/**
 * A compute driver in its own process, told what to do by JSON lines on stdin and saying what it sees by JSON lines on
 * stdout: `{say:"ready"}`, `{say:"call", rpc, request}`, `{say:"cancelled", rpc}`, `{say:"done", id}` after a command.
 * Arguments: the socket path, and `stay` to go on when stdin ends. See `Command`.
 */
import { rmSync } from 'node:fs'
import type { ErrorKind } from '../../src/base/errors.ts'
import { type DriverHandler, type DriverStream, refuse, serveDriver } from '../../src/dev/driver-server.ts'
import type { ComputeDriverSandbox } from '../../src/wire/messages.generated.ts'

/** What an RPC does from now on. `ok` is what a good driver does. */
export type Behaviour =
  | { mode: 'ok' }
  | { mode: 'hang' }
  | { mode: 'slow'; ms: number }
  | { mode: 'fail'; code: ErrorKind; text: string }
  /** Dies while the call is in flight. */
  | { mode: 'die' }
  /** Answers with this many bytes of text where the RPC has any. */
  | { mode: 'huge'; bytes: number }

/** One line on stdin; `id` comes back in `done`. Bigints are written as decimal text. */
export type Command = { id: number } & (
  | { do: 'behave'; rpc: string; as: Behaviour }
  | { do: 'status'; sandbox: string; status: object | null }
  | { do: 'emit'; event: object }
  | { do: 'endWatches'; code: ErrorKind | null }
  | { do: 'forget'; sandbox: string }
  | { do: 'burst'; count: number }
)

interface Watch {
  readonly stream: DriverStream
  readonly end: (error: Error | null) => void
}

const say = (line: object) =>
  process.stdout.write(`${JSON.stringify(line, (_, v) => (typeof v === 'bigint' ? String(v) : v))}\n`)
const sandboxes = new Map<string, object>()
const behaviours = new Map<string, Behaviour>()
const watches = new Set<Watch>()

const emit = (event: object) => Promise.all([...watches].map(watch => watch.stream.write(event)))

const condition = (status: string, reason: string) => ({
  conditions: [{ type: 'Ready', status, reason, message: '', last_transition_time: '2026-01-01T00:00:00Z' }],
})

const behind: Record<string, DriverHandler> = {
  async GetCapabilities() {
    return {
      driver_name: 'scripted',
      driver_version: '1.2.3',
      default_image: 'registry.test/base:1',
      supports_gpu: false,
    }
  },
  async ValidateSandboxCreate() {
    return {}
  },
  async CreateSandbox(request: { sandbox: ComputeDriverSandbox | null }) {
    const asked = request.sandbox
    if (!asked) throw refuse('INVALID_ARGUMENT', 'sandbox is required')
    if (sandboxes.has(asked.id)) throw refuse('ALREADY_EXISTS', `sandbox ${asked.name} already exists`)
    const sandbox = {
      id: asked.id,
      name: asked.name,
      namespace: 'scripted',
      status: condition('False', 'DependenciesNotReady'),
    }
    sandboxes.set(asked.id, sandbox)
    void emit({ sandbox: { sandbox } })
    return {}
  },
  async GetSandbox(request: { sandbox_id: string; sandbox_name: string }) {
    const sandbox = sandboxes.get(request.sandbox_id)
    if (!sandbox) throw refuse('NOT_FOUND', `sandbox ${request.sandbox_name} not found`)
    return { sandbox }
  },
  async ListSandboxes() {
    return { sandboxes: [...sandboxes.values()] }
  },
  async DeleteSandbox(request: { sandbox_id: string }) {
    const deleted = sandboxes.delete(request.sandbox_id)
    if (deleted) void emit({ deleted: { sandbox_id: request.sandbox_id } })
    return { deleted }
  },
  async WatchSandboxes(_request: object, stream) {
    const { promise, resolve, reject } = Promise.withResolvers<undefined>()
    const watch: Watch = { stream, end: error => (error ? reject(error) : resolve(undefined)) }
    watches.add(watch)
    stream.signal.addEventListener('abort', () => resolve(undefined), { once: true })
    for (const sandbox of sandboxes.values()) await stream.write({ sandbox: { sandbox } })
    try {
      return await promise
    } finally {
      watches.delete(watch)
    }
  },
}

function huge(rpc: string, bytes: number): object {
  const text = 'x'.repeat(bytes)
  if (rpc === 'GetCapabilities') return { driver_name: text }
  return { sandbox: { name: text }, sandboxes: [{ name: text }] }
}

async function behave(rpc: string, request: never, stream: DriverStream): Promise<object | undefined> {
  say({ say: 'call', rpc, request })
  stream.signal.addEventListener('abort', () => say({ say: 'cancelled', rpc }), { once: true })
  const as = behaviours.get(rpc) ?? { mode: 'ok' }
  if (as.mode === 'hang') await new Promise(() => undefined)
  if (as.mode === 'slow') await new Promise(resolve => setTimeout(resolve, as.ms))
  if (as.mode === 'fail') throw refuse(as.code, as.text)
  if (as.mode === 'die') process.kill(process.pid, 'SIGKILL')
  if (as.mode === 'huge') return huge(rpc, as.bytes)
  return behind[rpc]?.(request, stream)
}

async function obey(command: Command): Promise<void> {
  if (command.do === 'behave') behaviours.set(command.rpc, command.as)
  if (command.do === 'forget') sandboxes.delete(command.sandbox)
  if (command.do === 'emit') await emit(command.event)
  if (command.do === 'endWatches') {
    const error = command.code ? refuse(command.code, 'watch ended by the script') : null
    for (const watch of [...watches]) watch.end(error)
  }
  if (command.do === 'status') {
    const sandbox = { ...sandboxes.get(command.sandbox), id: command.sandbox, status: command.status }
    sandboxes.set(command.sandbox, sandbox)
    await emit({ sandbox: { sandbox } })
  }
  if (command.do === 'burst')
    for (let n = 0; n < command.count; n++)
      await emit({ platform_event: { sandbox_id: `burst-${n}`, event: { reason: 'Burst' } } })
  say({ say: 'done', id: command.id })
}

const [socket, stay] = process.argv.slice(2)
if (!socket) throw new Error('usage: compute-driver.ts SOCKET [stay]')
rmSync(socket, { force: true })
const handlers = Object.fromEntries(
  Object.keys(behind).map(rpc => [rpc, (request: never, stream: DriverStream) => behave(rpc, request, stream)]),
)
await serveDriver(socket, 'openshell.compute.v1.ComputeDriver', handlers)
say({ say: 'ready' })
let rest = ''
for await (const chunk of process.stdin) {
  const lines = (rest + String(chunk)).split('\n')
  rest = lines.pop() ?? ''
  for (const line of lines) void obey(JSON.parse(line) as Command)
}
if (stay !== 'stay') process.exit(0)
