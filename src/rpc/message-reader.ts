import type { ServerHttp2Stream } from 'node:http2'
import type { ServerInterceptingCallInterface } from '@grpc/grpc-js'
import { type ErrorKind, errorText } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import type { GatewayCall } from './call.ts'
import type { SilentStreams } from './silent-streams.ts'
import { statusFor, TEXTS } from './status.ts'

/** The library's reader of the messages of one call. */
interface Decoder {
  maxReadMessageLength: number
  readPartialMessage: Buffer[]
  /** Complete messages, with their prefixes; throws when one is too large. */
  write(data: Buffer): Buffer[]
}

/** The largest first octet a message may have. */
const COMPRESSED = 1

/** Request bytes that calls hold, whole messages and parts of them (F-12). */
export interface ReadingBudget {
  /** Records that `call` holds so many bytes now; false = it is too much. */
  hold(call: GatewayCall, bytes: number): boolean
  release(call: GatewayCall): void
}

/** Calls of usual size never notice the budget: above it only large messages are refused, and small ones far above. */
export function createReadingBudget(): ReadingBudget {
  const held = new Map<GatewayCall, number>()
  let total = 0
  return {
    hold(call, bytes) {
      const before = held.get(call) ?? 0
      if (before === 0 && bytes <= LIMITS.heldUncountedBytes) return true
      total += bytes - before
      held.set(call, bytes)
      return total <= (bytes > LIMITS.heldSmallBytes ? LIMITS.heldBytes : 2 * LIMITS.heldBytes)
    },
    release(call) {
      total -= held.get(call) ?? 0
      held.delete(call)
    },
  }
}

/**
 * Reads the messages of a call within its own limit and the budget of all. Where one message is expected, nothing
 * behind it is looked at: three thousand empty ones fit into a frame, and each would cost a turn (F-20).
 */
export function guardReading(
  wire: ServerInterceptingCallInterface,
  call: GatewayCall,
  budget: ReadingBudget,
  silent: SilentStreams,
): void {
  const { decoder, stream } = wire as unknown as { decoder: Decoder; stream: ServerHttp2Stream }
  const write = decoder.write.bind(decoder)
  const isSingle = !call.row.requestStream
  let held = 0
  let isThrough = false
  // The library has one message limit for all RPCs; an exec carries its standard input (spec/relay.md §15 W28).
  if (call.row.rpc === 'ExecSandbox') decoder.maxReadMessageLength = LIMITS.execMessageBytes

  const refuse = (kind: ErrorKind, text: string): Buffer[] => {
    isThrough = true
    call.end(statusFor(kind, text))
    return []
  }
  const only = (message: Buffer): Buffer[] => {
    isThrough = true
    // The parts of which it was made would stay as long as the call.
    decoder.readPartialMessage = []
    return [message]
  }

  decoder.write = data => {
    if (isThrough || call.ended) return []
    try {
      const messages = write(data)
      const first = messages[0]
      if (first !== undefined) silent.heard(stream)
      held = first === undefined ? held + data.length : isSingle ? first.length : 0
      if (!budget.hold(call, held)) return refuse('RESOURCE_EXHAUSTED', TEXTS.tooMuchAtOnce)
      const odd = messages.find(message => message[0]! > COMPRESSED)
      if (odd) return refuse('INTERNAL', TEXTS.compressionFlag(odd[0]!))
      return first !== undefined && isSingle ? only(first) : messages
    } catch (error) {
      return refuse('RESOURCE_EXHAUSTED', errorText(error))
    }
  }
}
