import { LIMITS } from '../limits.ts'
import { amend } from '../wire/codec.ts'
import { readMap, writeMap } from '../wire/maps.ts'
import type { NetworkPolicyRule, SandboxPolicy } from '../wire/messages.generated.ts'
import { encodeRule } from './policy-bytes.ts'
import { overlapsAny } from './policy-endpoint.ts'
import { mergeTarget } from './policy-merge.ts'
import { sortedRules } from './policy-rules.ts'

/**
 * What approving a chunk did to a policy, so that taking the approval back removes exactly that: not a binary that
 * was there before, and not nothing while access stays (spec/policy.md W13).
 */
export interface Approval {
  /** The rule that was inserted or grown. */
  readonly key: string
  /** Its bytes before and after, base64; `before` null = the rule was new. */
  readonly before: string | null
  readonly after: string
}

/** What is remembered about a chunk beside its columns. */
export interface DraftMemory {
  /** An administrator changed the proposal: later submissions must not change it back. */
  readonly edited: boolean
  readonly approval: Approval | null
}

/** The text form for the store; null when there is nothing to remember. */
export const encodeMemory = (memory: DraftMemory): string | null =>
  memory.edited || memory.approval ? JSON.stringify(memory) : null

/** Reads the text form; what cannot be read counts as nothing remembered. */
export function decodeMemory(text: string | null | undefined): DraftMemory {
  const nothing: DraftMemory = { edited: false, approval: null }
  if (!text) return nothing
  try {
    const parsed = JSON.parse(text) as Partial<DraftMemory> | null
    const approval = parsed?.approval
    const isWhole =
      typeof approval?.key === 'string' &&
      typeof approval.after === 'string' &&
      (approval.before === null || typeof approval.before === 'string')
    return { edited: parsed?.edited === true, approval: isWhole ? approval : null }
  } catch {
    return nothing
  }
}

/**
 * Of a rule that thousands of approvals made large, each would keep a copy: such an approval cannot be taken back, the
 * policy itself can be edited.
 */
const FORGOTTEN = { before: null, after: '' } as const

const bytesOf = (rule: NetworkPolicyRule | undefined): Buffer | null => (rule ? encodeRule(rule) : null)

/** The record of merging `rule` under `name`, from the policy before and after. */
export function recordApproval(
  name: string,
  rule: NetworkPolicyRule,
  before: SandboxPolicy,
  after: SandboxPolicy,
): Approval {
  const old = new Map(sortedRules(before))
  const key = mergeTarget(old, name, rule) ?? name
  const was = bytesOf(old.get(key))
  const is = bytesOf(new Map(sortedRules(after)).get(key))!
  if ((was?.length ?? 0) + is.length > LIMITS.draftApprovalBytes) return { key, ...FORGOTTEN }
  return { key, before: was?.toString('base64') ?? null, after: is.toString('base64') }
}

/**
 * The policy without what an approval added; null when that is no longer possible. `others` are the rules of chunks
 * that stay approved: what they need is kept.
 */
export function takeBack(
  policy: SandboxPolicy,
  approval: Approval,
  decodeRule: (bytes: Uint8Array) => NetworkPolicyRule,
  others: readonly NetworkPolicyRule[],
): SandboxPolicy | null {
  if (approval.after === FORGOTTEN.after) return null
  if (approval.before === approval.after) return policy
  const rules = readMap(policy.network_policies)
  const current = rules.get(approval.key)
  if (!current) return policy
  const before = approval.before === null ? null : decodeRule(Buffer.from(approval.before, 'base64'))
  const after = decodeRule(Buffer.from(approval.after, 'base64'))
  if (encodeRule(current).toString('base64') === approval.after) {
    if (before) rules.set(approval.key, before)
    else rules.delete(approval.key)
  } else {
    const left = subtract(current, before, after, others)
    if (left === null) return null
    if (left.endpoints.length === 0 || (left.binaries.length === 0 && current.binaries.length > 0))
      rules.delete(approval.key)
    else rules.set(approval.key, left)
  }
  return amend(policy, { network_policies: writeMap(rules) })
}

/** A rule that changed since: the added binaries go, and added endpoints that nobody else needs. Null = nothing of it is there. */
function subtract(
  current: NetworkPolicyRule,
  before: NetworkPolicyRule | null,
  after: NetworkPolicyRule,
  others: readonly NetworkPolicyRule[],
): NetworkPolicyRule | null {
  const had = new Set(before?.binaries.map(binary => binary.path))
  const added = new Set(after.binaries.map(binary => binary.path).filter(path => !had.has(path)))
  const isHere = overlapsAny(current.endpoints)
  const sharing = others.filter(rule => rule.endpoints.some(isHere))
  const needed = new Set(sharing.flatMap(rule => rule.binaries.map(binary => binary.path)))
  const binaries = current.binaries.filter(binary => !added.has(binary.path) || needed.has(binary.path))
  const wasThere = overlapsAny(before?.endpoints ?? [])
  const cameThen = overlapsAny(after.endpoints)
  const isShared = overlapsAny(sharing.flatMap(rule => rule.endpoints))
  const endpoints = current.endpoints.filter(
    endpoint => wasThere(endpoint) || !cameThen(endpoint) || isShared(endpoint),
  )
  if (binaries.length === current.binaries.length && endpoints.length === current.endpoints.length) return null
  return { name: current.name, endpoints, binaries }
}
