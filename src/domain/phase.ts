import { LIMITS } from '../limits.ts'
import { amend, codec } from '../wire/codec.ts'
import type {
  ComputeDriverSandboxStatus,
  Sandbox,
  SandboxCondition,
  SandboxStatus,
} from '../wire/messages.generated.ts'
import { SandboxPhase } from '../wire/messages.generated.ts'

const PROVISIONING = SandboxPhase.SANDBOX_PHASE_PROVISIONING
const READY = SandboxPhase.SANDBOX_PHASE_READY
const ERROR = SandboxPhase.SANDBOX_PHASE_ERROR
const DELETING = SandboxPhase.SANDBOX_PHASE_DELETING
const UNKNOWN = SandboxPhase.SANDBOX_PHASE_UNKNOWN

/** Phases as logs name them. */
export const PHASE_NAMES: Readonly<Record<number, string>> = {
  [PROVISIONING]: 'Provisioning',
  [READY]: 'Ready',
  [ERROR]: 'Error',
  [DELETING]: 'Deleting',
  [UNKNOWN]: 'Unknown',
}

/** Reasons of a false `Ready` condition that pass by themselves, in lower case; the last two are W33. */
const TRANSIENT = new Set([
  'reconcilererror',
  'dependenciesnotready',
  'starting',
  'containerstarting',
  'healthcheckstarting',
  'inspectfailed',
  'containercreated',
  'supervisornotconnected',
])

const GPU_MESSAGE =
  'No GPU can be given to this sandbox at the moment: either another GPU sandbox holds it, or this gateway has no GPU to offer. Run `openshell doctor`, and see the documentation on GPU sandboxes.'

const equalsIgnoringCase = (text: string, lower: string): boolean => text.toLowerCase() === lower

const isFailing = (condition: SandboxCondition): boolean =>
  condition.type === 'Ready' && equalsIgnoringCase(condition.status, 'false')

/** Whether a false `Ready` condition says that the sandbox will not become ready by itself. */
function isTerminal(condition: SandboxCondition, ageMs: number): boolean {
  const reason = condition.reason.toLowerCase()
  if (reason === '') return ageMs >= LIMITS.youngSandboxMs
  return !TRANSIENT.has(reason)
}

/** The phase a driver's status means by itself (spec/sandbox.md §8, W33). `ageMs` is the sandbox's age. */
export function derivePhase(
  status: { readonly conditions: readonly SandboxCondition[]; readonly deleting: boolean } | null,
  ageMs: number,
): number {
  if (!status) return UNKNOWN
  if (status.deleting) return DELETING
  const ready = status.conditions.find(condition => condition.type === 'Ready')
  if (!ready) return PROVISIONING
  if (equalsIgnoringCase(ready.status, 'true')) return READY
  return isFailing(ready) && isTerminal(ready, ageMs) ? ERROR : PROVISIONING
}

/** The `Ready` conditions that say why a sandbox failed. */
export const failures = (sandbox: Sandbox, ageMs: number): SandboxCondition[] =>
  (sandbox.status?.conditions ?? []).filter(condition => isFailing(condition) && isTerminal(condition, ageMs))

/** What happened to a record because of a word about it. */
export interface Observed {
  readonly sandbox: Sandbox
  readonly changed: boolean
}

/** Facts beside the record on which its phase depends. */
export interface Surroundings {
  readonly isConnected: boolean
  readonly ageMs: number
  /** The word stood in a list, which may say less than the sandbox's own answer: what it leaves out stays as it was. */
  readonly isFromList?: boolean
}

/**
 * The record after a driver said `observed` about its sandbox (spec/sandbox.md §8, §9, §14). Name and spec are the
 * gateway's own and stay (W6). A word without status says nothing about a sandbox that is still being made or on its
 * way out (spec/drivers.md §2).
 */
export function observe(before: Sandbox, observed: ComputeDriverSandboxStatus | null, around: Surroundings): Observed {
  if (!observed && saysNothing(before.phase, around)) return { sandbox: before, changed: false }
  const told = observed ? publicStatus(observed, before.spec?.gpu === true) : null
  const status = told && around.isFromList ? filledIn(told, before.status) : told
  const derived = derivePhase(
    status && observed ? { conditions: status.conditions, deleting: observed.deleting } : null,
    around.ageMs,
  )
  const plain = amend(before, { status, phase: derived })
  const after = around.isConnected && (derived === PROVISIONING || derived === UNKNOWN) ? connected(plain) : plain
  return { sandbox: after, changed: !isSame(before, after) }
}

/** Whether a word without status leaves a record as it is: what is being made or deleted goes on being so. */
const saysNothing = (phase: number, { isConnected }: Surroundings): boolean =>
  phase === PROVISIONING || (phase === DELETING && !isConnected)

const isSame = (a: Sandbox, b: Sandbox): boolean => {
  const { encode } = codec('openshell.v1.Sandbox')
  return a.phase === b.phase && encode({ status: a.status }).equals(encode({ status: b.status }))
}

/** A driver's status as clients see it, bounded (W38); an unplaceable GPU sandbox gets a sentence that helps. */
function publicStatus(status: ComputeDriverSandboxStatus, isGpu: boolean): SandboxStatus {
  return {
    sandbox_name: clip(status.sandbox_name),
    agent_pod: clip(status.instance_id),
    agent_fd: clip(status.agent_fd),
    sandbox_fd: clip(status.sandbox_fd),
    conditions: status.conditions.slice(0, LIMITS.driverConditions).map(given => {
      const condition = {
        type: clip(given.type),
        status: clip(given.status),
        reason: clip(given.reason),
        message: clip(given.message),
        last_transition_time: clip(given.last_transition_time),
      }
      const isUnplaceable = isGpu && isFailing(condition) && equalsIgnoringCase(condition.reason, 'unschedulable')
      return isUnplaceable ? { ...condition, message: GPU_MESSAGE } : condition
    }),
  }
}

const filledIn = (status: SandboxStatus, known: SandboxStatus | null): SandboxStatus => ({
  sandbox_name: status.sandbox_name || (known?.sandbox_name ?? ''),
  agent_pod: status.agent_pod || (known?.agent_pod ?? ''),
  agent_fd: status.agent_fd || (known?.agent_fd ?? ''),
  sandbox_fd: status.sandbox_fd || (known?.sandbox_fd ?? ''),
  conditions: status.conditions,
})

const clip = (text: string): string =>
  text.length > LIMITS.driverTextChars ? `${text.slice(0, LIMITS.driverTextChars).toWellFormed()}…` : text

/** The record while a supervisor is connected (spec/sandbox.md §9). */
const connected = (sandbox: Sandbox): Sandbox =>
  withReady(amend(sandbox, { phase: READY }), {
    status: 'True',
    reason: 'DependenciesReady',
    message: 'Supervisor session connected',
  })

/** Puts a `Ready` condition in the place of the first one, or at the end. */
function withReady(sandbox: Sandbox, ready: Pick<SandboxCondition, 'status' | 'reason' | 'message'>): Sandbox {
  const condition: SandboxCondition = { type: 'Ready', ...ready, last_transition_time: '' }
  const status = sandbox.status ?? {
    sandbox_name: sandbox.metadata?.name ?? '',
    agent_pod: '',
    agent_fd: '',
    sandbox_fd: '',
    conditions: [],
  }
  const at = status.conditions.findIndex(({ type }) => type === 'Ready')
  const conditions = at < 0 ? [...status.conditions, condition] : status.conditions.with(at, condition)
  return amend(sandbox, { status: amend(status, { conditions }) })
}

/** The record once a supervisor connected, or null when that changes nothing (spec/sandbox.md §9). */
export function whenConnected(sandbox: Sandbox, ageMs: number): Sandbox | null {
  if (sandbox.phase === DELETING) return null
  // What counted as a failure may not any more: the sandbox was too young, or an older gateway knew fewer reasons (W33).
  if (sandbox.phase === ERROR && derivePhase(remembered(sandbox.status), ageMs) === ERROR) return null
  const after = connected(sandbox)
  return isSame(sandbox, after) ? null : after
}

const remembered = (status: SandboxStatus | null) => status && { conditions: status.conditions, deleting: false }

/** The record once its supervisor is gone, or null when that changes nothing (spec/sandbox.md §9). */
export function whenDisconnected(sandbox: Sandbox): Sandbox | null {
  if (sandbox.phase !== READY) return null
  return withReady(amend(sandbox, { phase: PROVISIONING }), {
    status: 'False',
    reason: 'DependenciesNotReady',
    message: 'Supervisor session disconnected',
  })
}

/** The record once its deletion was asked for. */
export const whenDeleting = (sandbox: Sandbox): Sandbox => amend(sandbox, { phase: DELETING })

/** Whether a watch that stops at an end state stops here (spec/sandbox.md §5.1, W19). */
export const isTerminalPhase = (phase: number): boolean => phase === READY || phase === ERROR
