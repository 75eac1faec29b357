import type { Clock } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { assembleExecLine, type ExecCommand, findExecViolation } from '../domain/exec-command.ts'
import { RELAY_TEXTS } from '../domain/relay-texts.ts'
import { LIMITS } from '../limits.ts'
import { runExec } from '../live/exec.ts'
import { type PendingRelay, type Relays, Tally } from '../live/relays.ts'
import type { CallContext } from '../rpc/context.ts'
import type { Handler, Handlers } from '../rpc/handlers.ts'
import type { StoreReads } from '../store/store.ts'
import { readMap } from '../wire/maps.ts'
import { type ExecSandboxRequest, type Rpcs, SandboxPhase } from '../wire/messages.generated.ts'
import { sandboxById } from './sandbox-lookup.ts'
import { storing } from './store-errors.ts'

export interface ExecServiceDeps {
  readonly relays: Relays
  readonly store: Pick<StoreReads, 'get'>
  readonly clock: Clock
}

/** Checks in the order of spec/relay.md §6.1; the line is assembled before anything is opened (W18). */
async function prepare(request: ExecSandboxRequest, store: ExecServiceDeps['store']): Promise<string> {
  if (request.sandbox_id === '') throw new GatewayError('INVALID_ARGUMENT', RELAY_TEXTS.sandboxIdRequired)
  const exec: ExecCommand = {
    command: request.command,
    environment: readMap(request.environment),
    workdir: request.workdir,
  }
  const violation =
    findExecViolation(exec) ?? (request.stdin.length > LIMITS.execStdinBytes ? RELAY_TEXTS.stdinTooLong : null)
  if (violation) throw new GatewayError('INVALID_ARGUMENT', violation)
  const { sandbox } = await storing('fetch sandbox', () => sandboxById(store, request.sandbox_id))
  if (sandbox.phase !== SandboxPhase.SANDBOX_PHASE_READY)
    throw new GatewayError('FAILED_PRECONDITION', RELAY_TEXTS.sandboxNotReady)
  const assembled = assembleExecLine(exec)
  if ('violation' in assembled) throw new GatewayError('INVALID_ARGUMENT', assembled.violation)
  return assembled.line
}

/** Supervisors come back within 30 s; a caller with a shorter deadline hears of it in time (W12). */
function supervisorWaitMs(context: CallContext, clock: Clock): number {
  const spare = context.deadlineMs - clock.monotonicMs() - LIMITS.execSupervisorWaitMs / 3
  return Math.max(LIMITS.execSupervisorWaitMs, Math.min(LIMITS.execSupervisorWaitMostMs, spare))
}

/** A limit longer than timers can take (24.8 days) is none. */
const timeoutMs = (seconds: number): number => (seconds * 1000 > 0x7fffffff ? 0 : seconds * 1000)

/** Errors of the relay as clients know them; RESOURCE_EXHAUSTED stays what it is (W19). */
async function openRelay(relays: Relays, sandboxId: string, context: CallContext, clock: Clock): Promise<PendingRelay> {
  try {
    return await relays.open(sandboxId, supervisorWaitMs(context, clock), context.signal)
  } catch (error) {
    if (!(error instanceof GatewayError) || error.kind === 'CANCELLED') throw error
    const kind = error.kind === 'RESOURCE_EXHAUSTED' ? error.kind : 'UNAVAILABLE'
    throw new GatewayError(kind, `supervisor relay failed: ${error.publicText}`, { cause: error })
  }
}

/** ExecSandbox (spec/relay.md §6). */
export function createExecService(deps: ExecServiceDeps): Pick<Handlers, 'ExecSandbox'> {
  const running = new Tally()
  let total = 0

  const admit = (sandboxId: string): (() => void) => {
    if (total >= LIMITS.execsInAll || running.of(sandboxId) >= LIMITS.execsPerSandbox)
      throw new GatewayError('RESOURCE_EXHAUSTED', RELAY_TEXTS.execsBusy)
    total += 1
    running.add(sandboxId, 1)
    return () => {
      total -= 1
      running.add(sandboxId, -1)
    }
  }

  const exec: Handler<Rpcs['ExecSandbox']> = async (request, out, context) => {
    const line = await prepare(request, deps.store)
    const release = admit(request.sandbox_id)
    try {
      const pending = await openRelay(deps.relays, request.sandbox_id, context, deps.clock)
      out.open()
      const relay = await pending.claimed
      const job = { line, stdin: request.stdin, tty: request.tty, timeoutMs: timeoutMs(request.timeout_seconds) }
      await runExec(relay, job, { clock: deps.clock, signal: context.signal, write: event => out.write(event) })
    } finally {
      release()
    }
  }
  return { ExecSandbox: exec }
}
