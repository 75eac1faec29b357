import { createBreather } from '../base/breather.ts'
import { GatewayError } from '../base/errors.ts'
import { auditLine, describeRule } from '../domain/audit-lines.ts'
import { decodeMemory, encodeMemory, takeBack } from '../domain/draft-approval.ts'
import { type DraftAction, type DraftState, decideDraft, holdsNul, securityNotes } from '../domain/drafts.ts'
import { encodeRule } from '../domain/policy-bytes.ts'
import { mergePolicy } from '../domain/policy-merge.ts'
import { POLICY_TEXTS } from '../domain/policy-texts.ts'
import { unknownInRule } from '../domain/policy-unknown.ts'
import { blockedViolation } from '../domain/policy-validate.ts'
import { LIMITS } from '../limits.ts'
import { describe } from '../observe/audit.ts'
import type { CallContext } from '../rpc/context.ts'
import type { Handlers } from '../rpc/handlers.ts'
import type { DraftChunk, StoreTransaction } from '../store/store.ts'
import { hasUnknownFields } from '../wire/codec.ts'
import { readMap } from '../wire/maps.ts'
import type { NetworkPolicyRule } from '../wire/messages.generated.ts'
import { approve, approveAll, baselineOf, decodeRule, lockOf } from './draft-approvals.ts'
import type { DraftServiceDeps } from './drafts.ts'
import { type Committed, commitChange, editPolicy, refuseUnderGlobal } from './policy-revisions.ts'
import { type FoundSandbox, sandboxByName } from './sandbox-lookup.ts'

type DecisionRpc =
  | 'ApproveDraftChunk'
  | 'RejectDraftChunk'
  | 'ApproveAllDraftChunks'
  | 'EditDraftChunk'
  | 'UndoDraftChunk'

const invalid = (text: string): GatewayError => new GatewayError('INVALID_ARGUMENT', text)

/** A chunk of the sandbox a request names. */
interface Target {
  readonly found: FoundSandbox
  readonly chunk: DraftChunk
}

/** What an administrator does with proposals: policy and chunk change in one transaction (spec/policy.md §8.3, W16). */
export function createDraftDecisions(deps: DraftServiceDeps): Pick<Handlers, DecisionRpc> {
  const { commit, clock } = deps
  const finish = (context: CallContext, action: string, { found, chunk }: Target, reason?: string) => {
    context.log.info('draft chunk decided', {
      sandbox: found.id,
      chunk: chunk.id,
      action,
      reason,
      ...describe(context.principal),
    })
    if (action !== 'edit') deps.notify(found.id)
  }

  return {
    async ApproveDraftChunk({ name, chunk_id }, context) {
      requireArguments(name, chunk_id)
      const done = await commit(lockOf(name), 'approve draft chunk', async tx => {
        await refuseUnderGlobal(tx, POLICY_TEXTS.approveUnderGlobal)
        const target = await findChunk(tx, name, chunk_id)
        requireState(target.chunk, 'approve')
        const editor = await editPolicy(tx, target.found.id, baselineOf(target.found))
        const committed = await approve(tx, editor, target.chunk, clock.nowMs())
        await editor.save()
        return { target, committed }
      })
      deps.auditLine(done.target.found.id, approvedLine(done.target.chunk, done.committed))
      finish(context, 'approve', done.target)
      return answer(done.committed)
    },

    async RejectDraftChunk({ name, chunk_id, reason }, context) {
      requireArguments(name, chunk_id)
      const done = await commit(lockOf(name), 'reject draft chunk', async tx => {
        const target = await findChunk(tx, name, chunk_id)
        requireState(target.chunk, 'reject')
        const committed = target.chunk.status === 'approved' ? await revoke(tx, target) : null
        await tx.setDraftStatus(chunk_id, 'rejected', clock.nowMs())
        return { target, committed }
      })
      if (done.committed)
        deps.auditLine(
          done.target.found.id,
          removedLine('removed previously approved', done.target.chunk, done.committed),
        )
      finish(context, 'reject', done.target, reason.slice(0, LIMITS.draftRationaleBytes))
      return {}
    },

    async UndoDraftChunk({ name, chunk_id }, context) {
      requireArguments(name, chunk_id)
      const done = await commit(lockOf(name), 'undo draft chunk', async tx => {
        const target = await findChunk(tx, name, chunk_id)
        requireState(target.chunk, 'undo')
        const committed = await revoke(tx, target)
        await tx.setDraftStatus(chunk_id, 'pending', null)
        return { target, committed }
      })
      deps.auditLine(done.target.found.id, removedLine('reverted approved', done.target.chunk, done.committed))
      finish(context, 'undo', done.target)
      return answer(done.committed)
    },

    async EditDraftChunk({ name, chunk_id, proposed_rule: rule }, context) {
      requireArguments(name, chunk_id)
      if (!rule) throw invalid(POLICY_TEXTS.ruleRequired)
      const target = await commit(lockOf(name), 'edit draft chunk', async tx => {
        const found = await findChunk(tx, name, chunk_id)
        requireState(found.chunk, 'edit')
        requireFit(rule)
        const approval = encodeMemory({ edited: true, approval: null })
        await tx.setDraftDetails(chunk_id, {
          proposedRule: encodeRule(rule),
          securityNotes: securityNotes(rule),
          approval,
        })
        return found
      })
      finish(context, 'edit', target)
      return {}
    },

    async ApproveAllDraftChunks({ name, include_security_flagged }, context) {
      if (name === '') throw invalid(POLICY_TEXTS.nameRequired)
      const { found, approved, skipped } = await approveAll(deps, name, include_security_flagged, context)
      const last = approved.at(-1)?.committed ?? NOTHING
      const breathe = createBreather(clock, LIMITS.draftTurnMs)
      for (const { chunk, committed } of approved) {
        await breathe()
        deps.auditLine(found.id, approvedLine(chunk, committed))
        context.log.info('draft chunk decided', {
          sandbox: found.id,
          chunk: chunk.id,
          action: 'approve',
          ...describe(context.principal),
        })
      }
      const detail = `gateway bulk-approved ${approved.length} draft chunk(s) and skipped ${skipped}`
      deps.auditLine(found.id, auditLine('MERGED', detail, last.version, last.hash))
      deps.notify(found.id)
      return { ...answer(last), chunks_approved: approved.length, chunks_skipped: skipped }
    },
  }
}

function requireArguments(name: string, chunkId: string): void {
  if (name === '') throw invalid(POLICY_TEXTS.nameRequired)
  if (chunkId === '') throw invalid(POLICY_TEXTS.chunkRequired)
}

/** The chunk, if it belongs to the sandbox that is named (W12). */
async function findChunk(tx: StoreTransaction, name: string, chunkId: string): Promise<Target> {
  const found = await sandboxByName(tx, name)
  const chunk = await tx.draft(chunkId)
  if (chunk?.sandboxId !== found.id) throw new GatewayError('NOT_FOUND', POLICY_TEXTS.chunkNotFound)
  return { found, chunk }
}

function requireState(chunk: { readonly status: DraftState }, action: DraftAction): void {
  const verdict = decideDraft(chunk.status, action)
  if ('refusal' in verdict) throw new GatewayError('FAILED_PRECONDITION', verdict.refusal)
}

/** Throws for a rule that could never work or that is larger than a proposal may be (W15, W21, W27). */
function requireFit(rule: NetworkPolicyRule): void {
  if (hasUnknownFields(rule)) throw invalid(POLICY_TEXTS.unknownFields(unknownInRule(rule, 'proposed_rule')))
  if (rule.endpoints.length > LIMITS.draftRuleItems || rule.binaries.length > LIMITS.draftRuleItems)
    throw invalid(`proposed_rule has more than ${LIMITS.draftRuleItems} endpoints or binaries`)
  if (holdsNul(rule)) throw invalid('proposed_rule contains a NUL character')
  const blocked = blockedViolation(rule)
  if (blocked) throw invalid(blocked)
}

/** Removes from the policy what approving the chunk added to it (W13, W14). */
async function revoke(tx: StoreTransaction, { found, chunk }: Target): Promise<Committed> {
  await refuseUnderGlobal(tx, POLICY_TEXTS.approveUnderGlobal)
  const memory = decodeMemory(chunk.approval)
  const { approval } = memory
  const impossible = { refusal: { kind: 'FAILED_PRECONDITION', text: POLICY_TEXTS.cannotTakeBack } } as const
  if (!approval) {
    // Approved by another program: all that is known is the rule's name and its first binary.
    const operation = { kind: 'remove_binary', ruleName: chunk.ruleName, path: chunk.binary } as const
    return commitChange(tx, found.id, baselineOf(found), before => {
      const result = mergePolicy(before, [operation])
      const hasBinary = readMap(before.network_policies)
        .get(chunk.ruleName)
        ?.binaries.some(binary => binary.path === chunk.binary)
      return hasBinary ? result : impossible
    })
  }
  const others = await otherApproved(tx, chunk)
  const committed = await commitChange(tx, found.id, baselineOf(found), before => {
    const policy = takeBack(before, approval, decodeRule, others)
    return policy ? { policy } : impossible
  })
  await tx.setDraftDetails(chunk.id, { approval: encodeMemory({ ...memory, approval: null }) })
  return committed
}

/** Rules of the sandbox's other approved chunks. One that cannot be read keeps no access alive. */
async function otherApproved(tx: StoreTransaction, { id, sandboxId }: DraftChunk): Promise<NetworkPolicyRule[]> {
  const rules: NetworkPolicyRule[] = []
  for await (const page of tx.scanDrafts(sandboxId, 'approved'))
    for (const other of page) {
      if (other.id === id) continue
      try {
        rules.push(decodeRule(other.proposedRule))
      } catch (error) {
        if (!(error instanceof GatewayError)) throw error
      }
    }
  return rules
}

/** What an approval of nothing answers. */
const NOTHING: Committed = { version: 0, hash: '', changed: false }

const answer = ({ version, hash }: Committed) => ({ policy_version: version, policy_hash: hash })

const approvedLine = (chunk: DraftChunk, { version, hash }: Committed): string => {
  const summary = describeRule(chunk.ruleName, decodeRule(chunk.proposedRule))
  return auditLine('APPROVED', `gateway approved draft chunk ${chunk.id}: add-rule ${summary}`, version, hash)
}

const removedLine = (how: string, chunk: DraftChunk, { version, hash }: Committed): string =>
  auditLine(
    'REMOVED',
    `gateway ${how} draft chunk ${chunk.id}: remove-binary ${chunk.ruleName} ${chunk.binary}`,
    version,
    hash,
  )
