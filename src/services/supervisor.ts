import type { Principal } from '../auth/principal.ts'
import type { Clock } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { RELAY_TEXTS } from '../domain/relay-texts.ts'
import { mayActFor, type SupervisorCaller } from '../domain/supervisor-identity.ts'
import { LIMITS } from '../limits.ts'
import type { Relays } from '../live/relays.ts'
import type { Supervisors } from '../live/supervisors.ts'
import type { CallContext, Peer } from '../rpc/context.ts'
import type { Handler, Handlers } from '../rpc/handlers.ts'
import type { RelayWireHandler } from '../rpc/relay-call.ts'
import type { StoreReads } from '../store/store.ts'
import type { Rpcs, SupervisorHello, SupervisorMessage } from '../wire/messages.generated.ts'
import { fromStore } from './from-store.ts'

export interface SupervisorServiceDeps {
  readonly supervisors: Supervisors
  readonly relays: Relays
  readonly store: Pick<StoreReads, 'get'>
  readonly clock: Clock
}

/** Who calls, as the registries compare it (spec/auth.md §8, decision 3). */
export function callerOf(principal: Principal, peer: Peer): SupervisorCaller {
  const proof =
    principal.kind === 'sandbox' ? principal.proof : peer.certificateFingerprint === null ? 'none' : 'certificate'
  return {
    proof,
    boundTo: principal.kind === 'sandbox' ? principal.sandboxId : null,
    fingerprint: peer.certificateFingerprint,
    address: peer.address,
    connection: peer.connection,
  }
}

/** `promise`, or the error after `ms`. */
async function within<T>(clock: Clock, ms: number, promise: Promise<T>, late: () => GatewayError): Promise<T> {
  let expire!: (error: GatewayError) => void
  const expired = new Promise<never>((_, reject) => (expire = reject))
  const timer = clock.after(ms, () => expire(late()))
  try {
    return await Promise.race([promise, expired])
  } finally {
    timer.cancel()
  }
}

/** The first message of a control stream, by the rules of spec/relay.md §3.1. */
async function readHello(requests: AsyncIterator<SupervisorMessage>, clock: Clock): Promise<SupervisorHello> {
  const late = () => new GatewayError('DEADLINE_EXCEEDED', RELAY_TEXTS.helloLate)
  const first = await within(clock, LIMITS.helloWaitMs, requests.next(), late)
  if (first.done) throw new GatewayError('INVALID_ARGUMENT', RELAY_TEXTS.closedBeforeHello)
  const { hello } = first.value
  if (!hello) throw new GatewayError('INVALID_ARGUMENT', RELAY_TEXTS.helloExpected)
  if (hello.sandbox_id === '') throw new GatewayError('INVALID_ARGUMENT', RELAY_TEXTS.sandboxIdRequired)
  return hello
}

/** ConnectSupervisor (spec/relay.md §3). */
export function createSupervisorService(deps: SupervisorServiceDeps): Pick<Handlers, 'ConnectSupervisor'> {
  const connect: Handler<Rpcs['ConnectSupervisor']> = async (requests, out, context) => {
    const iterator = requests[Symbol.asyncIterator]()
    const hello = await readHello(iterator, deps.clock)
    const caller = callerOf(context.principal, context.peer)
    if (!mayActFor(caller, hello.sandbox_id)) throw new GatewayError('PERMISSION_DENIED', RELAY_TEXTS.foreignSecret)
    const row = await fromStore(deps.store.get('sandbox', hello.sandbox_id))
    if (!row) throw new GatewayError('NOT_FOUND', RELAY_TEXTS.sandboxNotFound)
    await deps.supervisors.serve(
      { sandboxId: hello.sandbox_id, instanceId: hello.instance_id },
      caller,
      {
        requests: { [Symbol.asyncIterator]: () => iterator },
        send: message => out.write(message),
        signal: context.signal,
      },
      context.log,
    )
  }
  return { ConnectSupervisor: connect }
}

/** RelayStream (spec/relay.md §5): claims a pending relay and is its bytes until both directions are over. */
export function createRelayService(deps: Pick<SupervisorServiceDeps, 'relays' | 'clock'>): RelayWireHandler {
  return async (wire, accept, context: CallContext) => {
    const late = () => new GatewayError('DEADLINE_EXCEEDED', RELAY_TEXTS.relayFirstLate)
    const channelId = await within(deps.clock, LIMITS.helloWaitMs, wire.opening, late)
    const take = deps.relays.claim(channelId, callerOf(context.principal, context.peer))
    accept()
    const over = new Promise<void>(resolve => wire.once('close', resolve))
    take(wire)
    await over
  }
}
