import type { ClientHttp2Session } from 'node:http2'
import type { Flag } from '../config/flags.ts'
import { methodsOf } from '../wire/codec.ts'
import type { Messages, Rpcs } from '../wire/messages.generated.ts'
import { type Endpoint, openSession, readEndpoint } from './channel.ts'
import { GrpcStream, openCall } from './grpc-stream.ts'

/** Flags of every command that talks to a gateway. */
export const CLIENT_FLAGS = [
  {
    name: 'gateway-endpoint',
    env: 'OPENSHELL_GATEWAY_ENDPOINT',
    kind: 'text',
    default: 'http://127.0.0.1:8080',
    group: 'Listeners',
    help: 'URL of the gateway',
  },
  {
    name: 'token',
    env: 'OPENSHELL_TOKEN',
    kind: 'text',
    default: null,
    secret: true,
    group: 'OIDC',
    help: 'Bearer token to present',
  },
] as const satisfies readonly Flag[]

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
  close(): void
}

/** Connects; rejects with a sentence when the gateway cannot be reached. */
export async function connectGateway(url: string, token: string | null): Promise<GatewayClient> {
  const endpoint = readEndpoint(url, process.env)
  const session: ClientHttp2Session = await openSession(endpoint)
  const headers: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` }
  return {
    endpoint,
    open(rpc) {
      const method = METHODS.get(rpc)!
      return new GrpcStream(openCall(session, method.path, headers), method.request, method.response) as never
    },
    close: () => session.destroy(),
  }
}
