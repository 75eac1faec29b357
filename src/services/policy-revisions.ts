import { GatewayError } from '../base/errors.ts'
import { encodePolicy } from '../domain/policy-bytes.ts'
import { hashPolicy } from '../domain/policy-hash.ts'
import { type MergeOperation, type MergeResult, mergePolicy } from '../domain/policy-merge.ts'
import { emptyPolicy } from '../domain/policy-normalize.ts'
import { policyViolations } from '../domain/policy-shape.ts'
import { POLICY_TEXTS } from '../domain/policy-texts.ts'
import { sizeViolation, staticViolation, unsafeText } from '../domain/policy-validate.ts'
import { LIMITS } from '../limits.ts'
import type { PolicyRevision, StoreTransaction } from '../store/store.ts'
import { codec } from '../wire/codec.ts'
import type { SandboxPolicy } from '../wire/messages.generated.ts'
import { globalPolicyOf, loadGlobal } from './settings-store.ts'

/** How a policy becomes a revision; every writer of policies goes through here (spec/policy.md §6.2, §7). */

const POLICY = codec('openshell.sandbox.v1.SandboxPolicy')

/** The id under which the gateway's own policy keeps its revisions. */
export const GLOBAL_POLICY_ID = '__global__'

export const decodePolicy = (payload: Uint8Array): SandboxPolicy => POLICY.decode(payload)

/** The state of a sandbox's policy after a write. `version` 0 = nothing is stored. */
export interface Committed {
  readonly version: number
  readonly hash: string
  readonly changed: boolean
}

/** Throws INVALID_ARGUMENT with every violation, or with the size. */
export function requireSafe(policy: SandboxPolicy, bytes: number): void {
  const violations = policyViolations(policy)
  if (violations.length > 0) throw new GatewayError('INVALID_ARGUMENT', unsafeText(violations))
  const size = sizeViolation(bytes)
  if (size) throw new GatewayError('INVALID_ARGUMENT', size)
}

/** Throws INVALID_ARGUMENT when `next` changes what a live sandbox cannot change. */
export function requireStatic(baseline: SandboxPolicy, next: SandboxPolicy): void {
  const violation = staticViolation(baseline, next)
  if (violation) throw new GatewayError('INVALID_ARGUMENT', violation)
}

/** Throws FAILED_PRECONDITION with `text` while a global policy is active. */
export async function refuseUnderGlobal(tx: StoreTransaction, text: string): Promise<void> {
  if (globalPolicyOf((await loadGlobal(tx)).blob)) throw new GatewayError('FAILED_PRECONDITION', text)
}

/** Same content, whatever order another program wrote its maps in; the hash alone may collide (W7). */
export const isSamePolicy = (stored: Pick<PolicyRevision, 'payload' | 'hash'>, hash: string, bytes: Buffer): boolean =>
  bytes.equals(stored.payload) || (stored.hash === hash && encodePolicy(decodePolicy(stored.payload)).equals(bytes))

/** A committed change with the policies around it. */
export interface Changed extends Committed {
  readonly before: SandboxPolicy
  readonly after: SandboxPolicy
}

/** A sandbox's newest policy inside a transaction: changed any number of times, written once. */
export interface PolicyEditor {
  /** The newest revision as it was found. */
  readonly latest: PolicyRevision | null
  /** Checks a change and takes it over; when it throws, nothing changed. */
  change(change: (before: SandboxPolicy) => MergeResult): Changed
  /** Makes a policy that the caller checked the newest, unless it already is. */
  replace(policy: SandboxPolicy, bytes: Buffer): Committed
  /**
   * Writes what was made: a revision for each change, of very many the newest ones only. The last one is pending; what
   * was loaded stays loaded (W8).
   */
  save(): Promise<void>
}

type Revision = Pick<PolicyRevision, 'version' | 'payload' | 'hash'>

/** Starts from a sandbox's newest policy, or `baseline`, or the empty one. */
export async function editPolicy(
  tx: StoreTransaction,
  sandboxId: string,
  baseline: SandboxPolicy | null,
): Promise<PolicyEditor> {
  const latest = await tx.latestPolicy(sandboxId)
  let newest: Revision | null = latest
  let policy: SandboxPolicy | null = null
  const made: Revision[] = []

  const replace = (next: SandboxPolicy, payload: Buffer): Committed => {
    const hash = hashPolicy(next)
    if (newest && isSamePolicy(newest, hash, payload)) return { version: newest.version, hash, changed: false }
    const version = (newest?.version ?? 0) + 1
    newest = { version, payload, hash }
    policy = next
    made.push(newest)
    if (made.length > LIMITS.policyRevisionsOfWrite) made.shift()
    return { version, hash, changed: true }
  }

  return {
    latest,
    replace,
    change(change) {
      const before = policy ?? (latest ? decodePolicy(latest.payload) : (baseline ?? emptyPolicy()))
      policy = before
      const result = change(before)
      if ('refusal' in result) throw new GatewayError(result.refusal.kind, result.refusal.text)
      const after = result.policy
      if (baseline) requireStatic(baseline, after)
      const bytes = encodePolicy(after)
      requireSafe(after, bytes.length)
      if (!newest && encodePolicy(before).equals(bytes))
        return { version: 0, hash: hashPolicy(after), changed: false, before, after }
      return { ...replace(after, bytes), before, after }
    },
    async save() {
      if (made.length === 0) return
      if (latest?.status === 'pending') await supersede(tx, sandboxId, latest.version, latest.loadedAtMs)
      for (const [index, { version, payload, hash }] of made.entries()) {
        if (index > 0) await new Promise<void>(resolve => setImmediate(resolve))
        await tx.insertPolicy({ sandboxId, version, payload, hash })
        if (index < made.length - 1) await supersede(tx, sandboxId, version, null)
      }
      await tx.prunePolicies(sandboxId, LIMITS.policyRevisionsKept)
    },
  }
}

const supersede = (tx: StoreTransaction, sandboxId: string, version: number, loadedAtMs: number | null) =>
  tx.setPolicyStatus(sandboxId, version, 'superseded', { loadError: null, loadedAtMs })

/** One change of a sandbox's policy; checks come before any write. */
export async function commitChange(
  tx: StoreTransaction,
  sandboxId: string,
  baseline: SandboxPolicy | null,
  change: (before: SandboxPolicy) => MergeResult,
): Promise<Changed> {
  const editor = await editPolicy(tx, sandboxId, baseline)
  const changed = editor.change(change)
  await editor.save()
  return changed
}

/** Merges operations into a sandbox's policy (spec/policy.md §6.2). */
export const commitMerge = (
  tx: StoreTransaction,
  sandboxId: string,
  baseline: SandboxPolicy | null,
  operations: readonly MergeOperation[],
): Promise<Changed> => commitChange(tx, sandboxId, baseline, before => mergePolicy(before, operations))

/** The refusal of policy writes while a global policy is active. */
export const refuseManaged = (tx: StoreTransaction): Promise<void> =>
  refuseUnderGlobal(tx, POLICY_TEXTS.managedGlobally)
