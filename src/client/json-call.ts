import type { ClientHttp2Session } from 'node:http2'
import { LIMITS } from '../limits.ts'
import { codec, type MessageName, methodsOf, type RpcMethod, WireError } from '../wire/codec.ts'
import { JsonError, messageFromJson, messageToJson } from '../wire/json.ts'
import { ClientFailure } from './failure.ts'
import { CallFailed, callEnd, openCall, tooLate } from './grpc-stream.ts'

/** Services of the contract, the one with the bare names first. */
const SERVICES = ['openshell.v1.OpenShell', 'openshell.inference.v1.Inference'] as const
const METHODS: readonly RpcMethod[] = SERVICES.flatMap(service => methodsOf(service))

/** Names that `findMethod` knows, for completion and for hints. */
export const METHOD_NAMES: readonly string[] = METHODS.map(method => method.name)

/** A method by its name (`CreateSandbox`) or its path (`openshell.v1.OpenShell/CreateSandbox`). */
export function findMethod(name: string): RpcMethod | undefined {
  const path = name.startsWith('/') ? name : `/${name}`
  return METHODS.find(method => method.name === name || method.path === path)
}

/**
 * The request that a JSON text describes, in bytes. Throws a `ClientFailure` that says where the text is no JSON, or
 * which field does not fit.
 */
export function requestFromText(method: RpcMethod, text: string): Buffer {
  if (text.length > LIMITS.clientRequestChars)
    throw new ClientFailure('usage', `the request is longer than ${LIMITS.clientRequestChars} characters`)
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new ClientFailure('usage', `the request is not JSON: ${(error as Error).message}`, { cause: error })
  }
  try {
    return messageFromJson(method.request, json)
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    throw new ClientFailure('usage', shortPath(method.request, error.message), { cause: error })
  }
}

/** `CreateSandboxRequest.spec` rather than the full name of the package. */
const shortPath = (request: MessageName, text: string): string =>
  text.startsWith(request) ? text.slice(request.lastIndexOf('.') + 1) : text

const PREFIX_BYTES = 5
const CANCEL = 8
/** The header has eight digits. */
const TIMEOUT_MOST_MS = 99_999_999

/**
 * Sends one request and yields the answers as JSON until the call is over. `timeoutMs` 0 = none. Throws `CallFailed`
 * when the status is not OK.
 */
export async function* callMethod(
  session: ClientHttp2Session,
  method: RpcMethod,
  request: Buffer,
  headers: Readonly<Record<string, string>>,
  timeoutMs: number,
): AsyncGenerator<Record<string, unknown>> {
  const deadline = timeoutMs > 0 ? { 'grpc-timeout': `${Math.min(Math.ceil(timeoutMs), TIMEOUT_MOST_MS)}m` } : {}
  const stream = openCall(session, method.path, { ...deadline, ...headers })
  const ended = callEnd(stream)
  let isLate = false
  const timer =
    timeoutMs > 0
      ? setTimeout(() => {
          isLate = true
          stream.close(CANCEL)
        }, timeoutMs)
      : null
  const head = Buffer.alloc(PREFIX_BYTES)
  head.writeUInt32BE(request.length, 1)
  stream.end(Buffer.concat([head, request]))
  try {
    for await (const bytes of frames(stream)) {
      yield answerFrom(method, bytes)
    }
    const end = await ended
    if (isLate) throw new CallFailed(tooLate(timeoutMs))
    if (end.code !== 0) throw new CallFailed(end)
  } finally {
    if (timer) clearTimeout(timer)
    if (!stream.closed) stream.close(CANCEL)
  }
}

function answerFrom(method: RpcMethod, bytes: Buffer): Record<string, unknown> {
  try {
    return messageToJson(method.response, codec(method.response).decode(bytes))
  } catch (error) {
    if (!(error instanceof WireError)) throw error
    throw new ClientFailure('failed', `the answer is no ${method.response}; is that a gateway?`, { cause: error })
  }
}

/** The messages of a stream; a stream that breaks off just ends, its status says why. */
async function* frames(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const parts: Buffer[] = []
  let held = 0
  let wanted = PREFIX_BYTES
  try {
    for await (const part of stream) {
      parts.push(part)
      held += part.length
      if (held < wanted) continue
      let buffer = Buffer.concat(parts)
      for (;;) {
        wanted = PREFIX_BYTES + (buffer.length >= PREFIX_BYTES ? buffer.readUInt32BE(1) : 0)
        if (wanted > LIMITS.clientAnswerBytes)
          throw new ClientFailure('failed', `an answer is larger than ${LIMITS.clientAnswerBytes} bytes`)
        if (buffer.length < wanted || buffer.length < PREFIX_BYTES) break
        yield buffer.subarray(PREFIX_BYTES, wanted)
        buffer = buffer.subarray(wanted)
      }
      parts.splice(0, parts.length, buffer)
      held = buffer.length
    }
  } catch (error) {
    if (error instanceof ClientFailure) throw error
  }
}
