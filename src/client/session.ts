import type { ClientHttp2Session } from 'node:http2'
import { methodsOf } from '../wire/codec.ts'
import type { Messages, Rpcs } from '../wire/messages.generated.ts'
import { type Endpoint, openSession } from './channel.ts'
import { GrpcStream, openCall } from './grpc-stream.ts'
import type { Target } from './target.ts'

const METHODS = new Map(methodsOf('openshell.v1.OpenShell').map(method => [method.name, method]))

type Spec<Name extends keyof Rpcs> = Rpcs[Name]
/** A stream of the RPC with its own message types. */
export type RpcStream<Name extends keyof Rpcs> = GrpcStream<
  NameOf<Spec<Name>['request']>,
  NameOf<Spec<Name>['response']>
>
type NameOf<Message> = {
  [N in keyof Messages]: Messages[N] extends Message ? (Message extends Messages[N] ? N : never) : never
}[keyof Messages]

/** A connection to a gateway, as one caller. */
export interface GatewayClient {
  readonly endpoint: Endpoint
  open<Name extends keyof Rpcs>(rpc: Name): RpcStream<Name>
  /** Looks for a fresh proof for the calls to come; those of a long session may outlive the first one. */
  prove(): Promise<void>
  close(): void
}

/** Connects; rejects with a `ClientFailure` when the gateway cannot be reached or there is no usable token. */
export async function connectGateway({ endpoint, credential }: Target): Promise<GatewayClient> {
  let headers = await credential.headers()
  const session: ClientHttp2Session = await openSession(endpoint)
  return {
    endpoint,
    open(rpc) {
      const method = METHODS.get(rpc)!
      return new GrpcStream(openCall(session, method.path, headers), method.request, method.response) as never
    },
    async prove() {
      headers = await credential.headers()
    },
    close: () => session.destroy(),
  }
}
