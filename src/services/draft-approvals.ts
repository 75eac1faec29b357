import { createBreather } from '../base/breather.ts'
import { errorText, GatewayError } from '../base/errors.ts'
import { decodeMemory, encodeMemory, recordApproval } from '../domain/draft-approval.ts'
import { mergePolicy } from '../domain/policy-merge.ts'
import { POLICY_TEXTS } from '../domain/policy-texts.ts'
import { blockedViolation } from '../domain/policy-validate.ts'
import { LIMITS } from '../limits.ts'
import type { CallContext } from '../rpc/context.ts'
import type { DraftChunk, StoreTransaction } from '../store/store.ts'
import { codec } from '../wire/codec.ts'
import type { NetworkPolicyRule, SandboxPolicy } from '../wire/messages.generated.ts'
import type { DraftServiceDeps } from './drafts.ts'
import { type Committed, editPolicy, type PolicyEditor, refuseUnderGlobal } from './policy-revisions.ts'
import { type FoundSandbox, sandboxByName } from './sandbox-lookup.ts'
import { storeError } from './store-errors.ts'

/** How proposals are merged into the policy, one or all of them (spec/policy.md §8.3). */

const RULE = codec('openshell.sandbox.v1.NetworkPolicyRule')

/** A proposed rule as it is stored; INTERNAL when it cannot be read. */
export function decodeRule(bytes: Uint8Array): NetworkPolicyRule {
  try {
    return RULE.decode(bytes)
  } catch (error) {
    throw storeError('read draft chunk', error)
  }
}

/** Decisions about the chunks of one sandbox queue up under this key. */
export const lockOf = (name: string): string => `drafts-of:${name}`

/** The policy with which the sandbox was made. */
export const baselineOf = ({ sandbox }: FoundSandbox): SandboxPolicy | null => sandbox.spec?.policy ?? null

/** Merges the chunk's rule under its own name and remembers what that added. Nothing is written when it throws. */
export async function approve(tx: StoreTransaction, editor: PolicyEditor, chunk: DraftChunk, nowMs: number) {
  const rule = decodeRule(chunk.proposedRule)
  const blocked = blockedViolation(rule)
  if (blocked) throw new GatewayError('INVALID_ARGUMENT', blocked)
  const operation = { kind: 'add_rule', ruleName: chunk.ruleName, rule } as const
  const committed = editor.change(before => mergePolicy(before, [operation]))
  const approval = recordApproval(chunk.ruleName, rule, committed.before, committed.after)
  await tx.setDraftStatus(chunk.id, 'approved', nowMs)
  await tx.setDraftDetails(chunk.id, { approval: encodeMemory({ ...decodeMemory(chunk.approval), approval }) })
  return committed
}

/** What became of the pending chunks of a sandbox. */
export interface AllApproved {
  readonly found: FoundSandbox
  readonly approved: readonly { readonly chunk: DraftChunk; readonly committed: Committed }[]
  readonly skipped: number
}

/**
 * Every pending chunk, newest first; flagged ones only when asked for, and one that cannot be merged is left out (W23).
 * Very many are approved some at a time, so that other writers wait for none but these.
 */
export async function approveAll(
  deps: DraftServiceDeps,
  name: string,
  withFlagged: boolean,
  context: CallContext,
): Promise<AllApproved> {
  const { found, pending } = await deps.commit(lockOf(name), 'approve draft chunks', tx => listPending(tx, name))
  const breathe = createBreather(deps.clock, LIMITS.draftTurnMs)
  const approved: { chunk: DraftChunk; committed: Committed }[] = []
  const wanted = pending.filter(chunk => withFlagged || !chunk.isFlagged)
  for (let at = 0; at < wanted.length; at += LIMITS.draftsPerWrite) {
    const some = wanted.slice(at, at + LIMITS.draftsPerWrite)
    approved.push(
      ...(await deps.commit(lockOf(name), 'approve draft chunks', async tx => {
        await refuseUnderGlobal(tx, POLICY_TEXTS.approveUnderGlobal)
        return approveSome(deps, tx, await sandboxByName(tx, name), some, breathe, context)
      })),
    )
  }
  return { found, approved, skipped: pending.length - approved.length }
}

interface Pending {
  readonly id: string
  readonly isFlagged: boolean
}

async function listPending(tx: StoreTransaction, name: string) {
  await refuseUnderGlobal(tx, POLICY_TEXTS.approveUnderGlobal)
  const found = await sandboxByName(tx, name)
  const pending: Pending[] = []
  for await (const page of tx.scanDrafts(found.id, 'pending'))
    for (const { id, securityNotes: notes } of page) pending.push({ id, isFlagged: notes !== '' })
  if (pending.length === 0) throw new GatewayError('FAILED_PRECONDITION', POLICY_TEXTS.nothingPending)
  return { found, pending }
}

async function approveSome(
  { clock }: DraftServiceDeps,
  tx: StoreTransaction,
  found: FoundSandbox,
  some: readonly Pending[],
  breathe: () => Promise<void>,
  context: CallContext,
) {
  const editor = await editPolicy(tx, found.id, baselineOf(found))
  const approved: { chunk: DraftChunk; committed: Committed }[] = []
  for (const { id } of some) {
    await breathe()
    const chunk = await tx.draft(id)
    if (chunk?.sandboxId !== found.id || chunk.status !== 'pending') continue
    try {
      const { version, hash, changed } = await approve(tx, editor, chunk, clock.nowMs())
      approved.push({ chunk, committed: { version, hash, changed } })
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      context.log.warn('draft chunk skipped', { sandbox: found.id, chunk: id, reason: errorText(error) })
    }
  }
  await editor.save()
  return approved
}
