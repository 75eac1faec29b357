import { requireSandbox } from '../auth/sandbox-binding.ts'
import { createBreather } from '../base/breather.ts'
import type { Clock } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { decodeMemory } from '../domain/draft-approval.ts'
import { type Proposal, parseProposal } from '../domain/drafts.ts'
import { encodeRule } from '../domain/policy-bytes.ts'
import { POLICY_TEXTS } from '../domain/policy-texts.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import type { Handlers } from '../rpc/handlers.ts'
import type { DraftChunk, DraftStatus, Store, StoreTransaction } from '../store/store.ts'
import { codec } from '../wire/codec.ts'
import type { Commit } from './commit.ts'
import { encodeChunks, encodeHistory } from './draft-answers.ts'
import { createDraftDecisions } from './draft-decisions.ts'
import { type FoundSandbox, sandboxByName } from './sandbox-lookup.ts'
import { storing } from './store-errors.ts'

export interface DraftServiceDeps {
  readonly store: Store
  readonly commit: Commit
  readonly clock: Clock
  readonly log: Logger
  /** Watchers of the sandbox get a snapshot (`WatchBus.notify`). */
  readonly notify: (sandboxId: string) => void
  /** Puts a line of level and target OCSF into the sandbox's log stream (spec/policy.md §9). */
  readonly auditLine: (sandboxId: string, line: string) => void
}

const DRAFTS = codec('openshell.v1.GetDraftPolicyResponse')

async function* noPages(): AsyncGenerator<DraftChunk[]> {}

type DraftRpc =
  | 'SubmitPolicyAnalysis'
  | 'GetDraftPolicy'
  | 'ApproveDraftChunk'
  | 'RejectDraftChunk'
  | 'ApproveAllDraftChunks'
  | 'EditDraftChunk'
  | 'UndoDraftChunk'
  | 'ClearDraftChunks'
  | 'GetDraftHistory'

/** Proposed rules: submitting, reading and deciding (spec/policy.md §8). */
export function createDraftService(deps: DraftServiceDeps): Pick<Handlers, DraftRpc> {
  const { store } = deps
  return {
    ...createDraftDecisions(deps),

    async SubmitPolicyAnalysis({ name, proposed_chunks }, { principal }) {
      const found = await storing('fetch sandbox', () => sandboxByName(store, name))
      requireSandbox(principal, found.id)
      const nowMs = deps.clock.nowMs()
      const reasons: string[] = []
      const accepted: Proposal[] = []
      for (const [index, chunk] of proposed_chunks.entries()) {
        const parsed = index < LIMITS.draftsPerCall ? parseProposal(chunk, nowMs) : { reason: TOO_MANY_SENT }
        if ('reason' in parsed) reasons.push(parsed.reason)
        else accepted.push(parsed)
      }
      const stored = await deps.commit(`drafts:${found.id}`, 'persist draft chunk', tx =>
        storeProposals(tx, found, accepted, nowMs, createBreather(deps.clock, LIMITS.draftTurnMs)),
      )
      deps.notify(found.id)
      for (let left = accepted.length - stored; left > 0; left--) reasons.push(TOO_MANY_KEPT)
      return {
        accepted_chunks: stored,
        rejected_chunks: reasons.length,
        rejection_reasons: reasons.slice(0, LIMITS.draftsPerCall + 1),
      }
    },

    GetDraftPolicy: ({ name, status_filter }) =>
      storing('list draft chunks', async () => {
        const { id } = await sandboxByName(store, name)
        const wanted = parseFilter(status_filter)
        const { parts, newestMs } = await encodeChunks(wanted === null ? noPages() : store.scanDrafts(id, ...wanted))
        const rest = DRAFTS.encode({ draft_version: await store.draftVersion(id), last_analyzed_at_ms: newestMs })
        return Buffer.concat([...parts, rest])
      }),

    GetDraftHistory: ({ name }) =>
      storing('list draft chunks', async () => {
        const { id } = await sandboxByName(store, name)
        return Buffer.concat(await encodeHistory(store.scanDrafts(id)))
      }),

    async ClearDraftChunks({ name }) {
      const { id, cleared } = await deps.commit(`drafts-of:${name}`, 'clear draft chunks', async tx => {
        const found = await sandboxByName(tx, name)
        return { id: found.id, cleared: await tx.deleteDrafts(found.id, 'pending') }
      })
      deps.notify(id)
      return { chunks_cleared: cleared }
    },
  }
}

const TOO_MANY_SENT = `more than ${LIMITS.draftsPerCall} chunks in one call`
const TOO_MANY_KEPT = `the sandbox already has ${LIMITS.draftsPerSandbox} chunks`

/** The status to list as arguments; none = all; null = a status that no chunk has. */
function parseFilter(filter: string): [] | [DraftStatus] | null {
  if (filter === '') return []
  return filter === 'pending' || filter === 'approved' || filter === 'rejected' ? [filter] : null
}

/** Stores proposals under one new draft version; how many are stored or folded into known ones. */
async function storeProposals(
  tx: StoreTransaction,
  { id: sandboxId }: FoundSandbox,
  proposals: readonly Proposal[],
  nowMs: number,
  breathe: () => Promise<void>,
): Promise<number> {
  if (proposals.length === 0) return 0
  if (!(await tx.get('sandbox', sandboxId))) throw new GatewayError('NOT_FOUND', POLICY_TEXTS.sandboxNotFound)
  const draftVersion = (await tx.draftVersion(sandboxId)) + 1
  const room = await createRoom(tx, sandboxId)
  let stored = 0
  for (const { rule, ...proposal } of proposals) {
    await breathe()
    const chunk = {
      ...proposal,
      id: crypto.randomUUID(),
      sandboxId,
      draftVersion,
      proposedRule: encodeRule(rule),
      createdAtMs: nowMs,
    }
    if (!(await room.take(chunk))) continue
    const kept = await tx.putDraft(chunk)
    if (kept.id !== chunk.id) await refine(tx, kept, chunk)
    stored++
  }
  return stored
}

/** A pending proposal that nobody edited follows what the supervisor has learnt since (W19). */
async function refine(
  tx: StoreTransaction,
  kept: DraftChunk,
  chunk: Omit<DraftChunk, 'status' | 'decidedAtMs'>,
): Promise<void> {
  if (kept.status !== 'pending' || decodeMemory(kept.approval).edited) return
  if (Buffer.from(chunk.proposedRule).equals(kept.proposedRule)) return
  const { draftVersion, proposedRule, rationale, securityNotes, confidence } = chunk
  await tx.setDraftDetails(kept.id, { draftVersion, proposedRule, rationale, securityNotes, confidence })
}

/** Keeps the number of chunks of a sandbox bounded: the oldest rejected one goes first (W21). */
async function createRoom(tx: StoreTransaction, sandboxId: string) {
  let count = await tx.countDrafts(sandboxId)
  return {
    /** Whether the chunk may be put: it is known, or there is room for it now. */
    async take(chunk: Pick<DraftChunk, 'host' | 'port' | 'binary'>): Promise<boolean> {
      if (await tx.hasDraftAt(sandboxId, chunk)) return true
      if (count >= LIMITS.draftsPerSandbox) {
        const oldest = await tx.oldestDraft(sandboxId, 'rejected')
        if (oldest === null) return false
        await tx.deleteDraft(oldest)
        count--
      }
      count++
      return true
    },
  }
}
