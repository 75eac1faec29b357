import type { Principal } from '../auth/principal.ts'
import type { Clock } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { RELAY_TEXTS } from '../domain/relay-texts.ts'
import { mayActFor, type SupervisorCaller } from '../domain/supervisor-identity.ts'
import { LIMITS } from '../limits.ts'
import type { Relays } from '../live/relays.ts'
import type { ControlStream } from '../live/supervisor-session.ts'
import type { Supervisors } from '../live/supervisors.ts'
import type { CallContext, Peer } from '../rpc/context.ts'
import type { ControlHandler } from '../rpc/control-call.ts'
import type { RelayWireHandler } from '../rpc/relay-call.ts'
import type { StoreReads } from '../store/store.ts'
import type { SupervisorHello, SupervisorMessage } from '../wire/messages.generated.ts'
import { storing } from './store-errors.ts'

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
async function readHello(control: ControlStream, clock: Clock): Promise<SupervisorHello> {
  const first = new Promise<SupervisorMessage>((resolve, reject) =>
    control.listen(
      message => {
        control.pause()
        resolve(message)
      },
      error => reject(error ?? new GatewayError('INVALID_ARGUMENT', RELAY_TEXTS.closedBeforeHello)),
    ),
  )
  const late = () => new GatewayError('DEADLINE_EXCEEDED', RELAY_TEXTS.helloLate)
  const { hello } = await within(clock, LIMITS.helloWaitMs, first, late)
  if (!hello) throw new GatewayError('INVALID_ARGUMENT', RELAY_TEXTS.helloExpected)
  if (hello.sandbox_id === '') throw new GatewayError('INVALID_ARGUMENT', RELAY_TEXTS.sandboxIdRequired)
  return hello
}

/** ConnectSupervisor (spec/relay.md §3). */
export function createSupervisorService(deps: SupervisorServiceDeps): ControlHandler {
  return async (control, context) => {
    const hello = await readHello(control, deps.clock)
    const caller = callerOf(context.principal, context.peer)
    if (!mayActFor(caller, hello.sandbox_id)) throw new GatewayError('PERMISSION_DENIED', RELAY_TEXTS.foreignSecret)
    const row = await storing('fetch sandbox', () => deps.store.get('sandbox', hello.sandbox_id))
    if (!row) throw new GatewayError('NOT_FOUND', RELAY_TEXTS.sandboxNotFound)
    const { sandbox_id: sandboxId, instance_id: instanceId } = hello
    await deps.supervisors.serve({ sandboxId, instanceId }, caller, control, context.log)
  }
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
