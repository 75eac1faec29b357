import { rowFor } from '../auth/methods.ts'
import { GRPC_CODES } from '../base/errors.ts'
import { visibleJson } from '../base/unprintable.ts'
import { openSession } from '../client/channel.ts'
import { ClientFailure } from '../client/failure.ts'
import { CallFailed } from '../client/grpc-stream.ts'
import { callMethod, findMethod, METHOD_NAMES, requestFromText } from '../client/json-call.ts'
import type { Target } from '../client/target.ts'
import { nearestName } from '../config/nearest.ts'
import { LIMITS } from '../limits.ts'
import type { RpcMethod } from '../wire/codec.ts'
import { runClient } from './client-command.ts'
import { CLIENT_FLAGS, targetFrom } from './client-flags.ts'
import { type CommandIo, defineGatewayCommand } from './command.ts'

function methodNamed(name: string): RpcMethod {
  const method = findMethod(name)
  if (!method) {
    const near = nearestName(name, METHOD_NAMES)
    throw new ClientFailure('usage', `no method '${name}'${near === null ? '' : `; did you mean ${near}?`}`)
  }
  if (method.requestStream)
    throw new ClientFailure('usage', `${method.name} takes a stream of requests; only sandbox supervisors call it`)
  return method
}

async function requestText(given: string | undefined): Promise<string> {
  if (given !== '-') return given ?? '{}'
  let text = ''
  for await (const part of process.stdin.setEncoding('utf8') as AsyncIterable<string>) {
    text += part
    if (text.length > LIMITS.clientRequestChars) break
  }
  return text
}

interface Asked {
  readonly target: Target
  readonly method: RpcMethod
  readonly request: Buffer
  readonly timeoutMs: number
}

/** Counts what has been printed: after the first answer another try would print it twice. */
interface Printer {
  printed: number
  print(answer: Record<string, unknown>): Promise<void>
}

function createPrinter(indent: number | undefined, io: CommandIo): Printer {
  return {
    printed: 0,
    async print(answer) {
      this.printed++
      await io.out(`${visibleJson(answer, indent)}\n`)
    },
  }
}

/** Calls once, printing every answer until the call is over or nobody reads any more. */
async function callPrinting(
  asked: Asked,
  headers: Readonly<Record<string, string>>,
  printer: Printer,
): Promise<number> {
  const session = await openSession(asked.target.endpoint)
  try {
    for await (const answer of callMethod(session, asked.method, asked.request, headers, asked.timeoutMs)) {
      await printer.print(answer)
      if (process.stdout.destroyed || process.stdout.errored) break
    }
    return 0
  } finally {
    session.destroy()
  }
}

/** Calls, and once more with a fresh token when the gateway no longer knows the one it was shown. */
async function callTwice(asked: Asked, io: CommandIo): Promise<number> {
  const printer = createPrinter(io.isTerminal && !asked.method.responseStream ? 2 : undefined, io)
  try {
    const isOpen = rowFor(asked.method.path).class === 'unauthenticated'
    return await callPrinting(asked, isOpen ? {} : await asked.target.credential.headers(), printer)
  } catch (error) {
    const isRefused = error instanceof CallFailed && error.code === GRPC_CODES.UNAUTHENTICATED
    const headers = isRefused && printer.printed === 0 ? await asked.target.credential.renewed() : null
    if (headers === null) throw error
    return callPrinting(asked, headers, printer)
  }
}

/** `call METHOD [JSON]`: one RPC with JSON in and out; answers of a stream come one a line. */
export const command = defineGatewayCommand({
  flags: [
    ...CLIENT_FLAGS,
    {
      name: 'timeout',
      env: null,
      kind: 'u32',
      default: null,
      group: 'Call',
      help: `Seconds until the call is given up; 0 = never; unset = ${LIMITS.clientCallMs / 1000}, and never for a stream`,
    },
  ],
  positionals: [
    { name: 'method', help: 'Name of the RPC', suggestions: METHOD_NAMES },
    { name: 'json', help: 'The request in JSON; - reads it from standard input; left out = {}', optional: true },
  ],
  run: (values, io) =>
    runClient(io, async () => {
      const method = methodNamed(values.positionals[0] ?? '')
      const request = requestFromText(method, await requestText(values.positionals[1]))
      const target = targetFrom(values, io)
      const standard = method.responseStream ? 0 : LIMITS.clientCallMs
      const timeoutMs = values.optional('timeout') === null ? standard : values.number('timeout') * 1000
      return callTwice({ target, method, request, timeoutMs }, io)
    }),
})
