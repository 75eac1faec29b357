/**
 * A credentials driver in its own process; same manner as compute-driver.ts. Commands: `{do:"set", name, answer}` with
 * the literal answer of ResolveCredential (`expires_at_ms` as decimal text), `{do:"behave", rpc, as}`.
 */
import { rmSync } from 'node:fs'
import { type DriverHandler, type DriverStream, refuse, serveDriver } from '../../src/dev/driver-server.ts'
import type { Behaviour } from './compute-driver.ts'

/** One line on stdin. */
export type CredentialsCommand = { id: number } & (
  | { do: 'behave'; rpc: string; as: Behaviour }
  | { do: 'set'; name: string; answer: { token: string; expires_at_ms: string; token_type: string } }
)

const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`)
const credentials = new Map<string, { token: string; expires_at_ms: string; token_type: string }>()
const behaviours = new Map<string, Behaviour>()

const behind: Record<string, DriverHandler> = {
  async ResolveCredential(request: { name: string }) {
    if (request.name === '') throw refuse('INVALID_ARGUMENT', 'name is required')
    const answer = credentials.get(request.name)
    if (!answer) throw refuse('NOT_FOUND', `credential "${request.name}" not configured`)
    return { token: answer.token, expires_at_ms: BigInt(answer.expires_at_ms), token_type: answer.token_type }
  },
  async ListCredentials() {
    return { credentials: [...credentials.keys()].toSorted().map(name => ({ name, scopes: ['repo'] })) }
  },
}

async function behave(rpc: string, request: never, stream: DriverStream): Promise<object | undefined> {
  say({ say: 'call', rpc, request })
  const as = behaviours.get(rpc) ?? { mode: 'ok' }
  if (as.mode === 'hang') await new Promise(() => undefined)
  if (as.mode === 'slow') await new Promise(resolve => setTimeout(resolve, as.ms))
  if (as.mode === 'fail') throw refuse(as.code, as.text)
  if (as.mode === 'die') process.kill(process.pid, 'SIGKILL')
  return behind[rpc]?.(request, stream)
}

const [socket] = process.argv.slice(2)
if (!socket) throw new Error('usage: credentials-driver.ts SOCKET')
rmSync(socket, { force: true })
const handlers = Object.fromEntries(
  Object.keys(behind).map(rpc => [rpc, (request: never, stream: DriverStream) => behave(rpc, request, stream)]),
)
await serveDriver(socket, 'openshell.credentials.v1.CredentialsDriver', handlers)
say({ say: 'ready' })
let rest = ''
for await (const chunk of process.stdin) {
  const lines = (rest + String(chunk)).split('\n')
  rest = lines.pop() ?? ''
  for (const line of lines) {
    const command = JSON.parse(line) as CredentialsCommand
    if (command.do === 'set') credentials.set(command.name, command.answer)
    if (command.do === 'behave') behaviours.set(command.rpc, command.as)
    say({ say: 'done', id: command.id })
  }
}
process.exit(0)
