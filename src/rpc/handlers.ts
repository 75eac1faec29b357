import type { Init } from '../wire/codec.ts'
import type { Rpcs } from '../wire/messages.generated.ts'
import type { CallContext } from './context.ts'

/** An answer: the message, or its bytes already encoded (stored bytes are passed through, platform.md §1). */
export type Reply<T> = Init<T> | Uint8Array

/** The sending side of a stream. */
export interface Outbound<T> {
  /**
   * Sends one message. Resolves when the stream may take another: await it and a slow reader slows the producer.
   * Rejects with CANCELLED once the call is over.
   */
  write(message: Reply<T>): Promise<void>
  /** Sends the response headers without waiting for a first message: some clients wait for them (spec/relay.md §2). */
  open(): void
}

/**
 * What implements one RPC. It runs after authentication and authorization; it ends the call OK by resolving and
 * with a status by throwing a `GatewayError`. Anything else thrown is a bug and becomes INTERNAL.
 */
export type Handler<Spec> = Spec extends { request: infer Request; response: infer Response; kind: infer Kind }
  ? Kind extends 'unary'
    ? (request: Request, context: CallContext) => Promise<Reply<Response>>
    : Kind extends 'serverStream'
      ? (request: Request, out: Outbound<Response>, context: CallContext) => Promise<void>
      : (requests: AsyncIterable<Request>, context: CallContext) => Promise<Reply<Response>>
  : never

/**
 * The RPCs one service implements, by RPC name. An RPC without a handler answers UNIMPLEMENTED after authorization.
 * The streams of supervisors are served past the gRPC library (relay-call.ts, control-call.ts).
 */
export type Handlers = {
  readonly [Name in Exclude<keyof Rpcs, 'RelayStream' | 'ConnectSupervisor'>]?: Handler<Rpcs[Name]>
}
