/** Discriminator of a row in `objects` (spec/storage.md §5). */
export type ObjectType =
  | 'sandbox'
  | 'provider'
  | 'ssh_session'
  | 'inference_route'
  | 'gateway_settings'
  | 'sandbox_settings'

/** One row of `objects`. `payload` is the exact wire bytes and is what clients get back. */
export interface StoredObject {
  readonly type: ObjectType
  readonly id: string
  readonly name: string
  readonly payload: Uint8Array
  readonly labels: ReadonlyMap<string, string>
  readonly createdAtMs: number
  readonly updatedAtMs: number
}

export interface NewObject {
  readonly type: ObjectType
  readonly id: string
  readonly name: string
  readonly payload: Uint8Array
  readonly labels?: ReadonlyMap<string, string>
}

export interface Page {
  readonly limit: number
  readonly offset: number
}

/** A page of a list that may begin behind a row: `offset` counts from there, and what lies before costs nothing (S-14). */
export interface ObjectPage extends Page {
  readonly after?: Pick<StoredObject, 'createdAtMs' | 'name'> | undefined
}

export type PolicyStatusText = 'pending' | 'loaded' | 'failed' | 'superseded'

/** One row of `sandbox_policies`; `sandboxId` is `__global__` for the gateway's own policy. */
export interface PolicyRevision {
  readonly id: string
  readonly sandboxId: string
  readonly version: number
  readonly payload: Uint8Array
  readonly hash: string
  readonly status: PolicyStatusText
  readonly loadError: string | null
  readonly createdAtMs: number
  readonly loadedAtMs: number | null
}

/** A revision without its policy. */
export type PolicySummary = Omit<PolicyRevision, 'payload'>

export type DraftStatus = 'pending' | 'approved' | 'rejected'

/** One row of `draft_policy_chunks`. */
export interface DraftChunk {
  readonly id: string
  readonly sandboxId: string
  readonly draftVersion: number
  readonly status: DraftStatus
  readonly ruleName: string
  readonly proposedRule: Uint8Array
  readonly rationale: string
  readonly securityNotes: string
  readonly confidence: number
  readonly host: string
  readonly port: number
  readonly binary: string
  readonly hitCount: number
  readonly firstSeenMs: number
  readonly lastSeenMs: number
  readonly createdAtMs: number
  readonly decidedAtMs: number | null
  /**
   * What approving the chunk added to the policy (domain/draft-approval.ts), kept in a nullable column `approval` of
   * ours; null or absent when it is not approved or was approved by another program (spec/policy.md W13).
   */
  readonly approval?: string | null
}

/** Columns of a draft that may be rewritten; a member that is absent keeps its column. */
export interface DraftDetails {
  readonly draftVersion?: number
  readonly proposedRule?: Uint8Array
  readonly rationale?: string
  readonly securityNotes?: string
  readonly confidence?: number
  readonly approval?: string | null
}

/** A write that lost against what is stored. `what` says which promise would have broken. */
export class StoreConflict extends Error {
  override readonly name = 'StoreConflict'
  readonly what: 'id' | 'name' | 'changed' | 'version'

  constructor(what: StoreConflict['what']) {
    super(`store conflict: ${what}`)
    this.what = what
  }
}

/** The database could not answer. `kind`: it is away or full or locked, what it holds is damaged, or it was opened for reading only (`mode=ro`). The text never leaves the log (W14). */
export class StoreFailure extends Error {
  override readonly name = 'StoreFailure'
  readonly kind: 'unavailable' | 'damaged' | 'read-only'

  constructor(kind: StoreFailure['kind'], message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.kind = kind
  }
}

/** Reads see committed state only. */
export interface StoreReads {
  get(type: ObjectType, id: string): Promise<StoredObject | null>
  /** Exact and case-sensitive. */
  getByName(type: ObjectType, name: string): Promise<StoredObject | null>
  /** created_at ascending, then name; with a selector, offset and limit count matching rows (all pairs must match). */
  list(type: ObjectType, page: ObjectPage, selector?: ReadonlyMap<string, string>): Promise<StoredObject[]>
  /** Every object of the type in list order, page by page by key, so that rows added meanwhile neither repeat nor hide others. */
  scan(type: ObjectType, pageSize?: number): AsyncIterable<StoredObject>

  latestPolicy(sandboxId: string): Promise<PolicyRevision | null>
  policyVersion(sandboxId: string, version: number): Promise<PolicyRevision | null>
  /** Newest version first; no policy is read. */
  listPolicies(sandboxId: string, page: Page): Promise<PolicySummary[]>

  draft(id: string): Promise<DraftChunk | null>
  /** Newest first. */
  listDrafts(sandboxId: string, status?: DraftStatus): Promise<DraftChunk[]>
  /**
   * The same page by page, the event loop turning in between: every chunk that was there at the beginning and still is,
   * once, each page as it is when it is read. `approval` is not read.
   */
  scanDrafts(sandboxId: string, status?: DraftStatus): AsyncIterable<DraftChunk[]>
  countDrafts(sandboxId: string): Promise<number>
  /** Whether some chunk, whatever its status, stands for that endpoint. */
  hasDraftAt(sandboxId: string, endpoint: Pick<DraftChunk, 'host' | 'port' | 'binary'>): Promise<boolean>
  /** The id of the chunk that is the last of `listDrafts`. */
  oldestDraft(sandboxId: string, status: DraftStatus): Promise<string | null>
  /** The highest draft_version that the sandbox ever had, or 0; it never falls (spec/policy.md W20). */
  draftVersion(sandboxId: string): Promise<number>
}

/** Reads and writes inside one transaction; nothing of it is visible before it commits. */
export interface StoreTransaction extends StoreReads {
  /** Throws StoreConflict `id` or `name`. */
  insert(object: NewObject): Promise<StoredObject>
  /** Replaces payload (and labels, when given) of the row that still holds `before.payload`; else throws StoreConflict `changed`. */
  update(before: StoredObject, payload: Uint8Array, labels?: ReadonlyMap<string, string>): Promise<StoredObject>
  /** Whether a row was removed. */
  delete(type: ObjectType, id: string): Promise<boolean>
  /** The sandbox row, its settings, SSH sessions, policy revisions and drafts (decision 19). Whether the sandbox row existed. */
  deleteSandbox(sandboxId: string): Promise<boolean>
  /** SSH sessions of one sandbox. Returns how many went. */
  deleteSshSessions(sandboxId: string): Promise<number>

  /** Throws StoreConflict `version` when that version exists. Status `pending`. */
  insertPolicy(revision: Pick<PolicyRevision, 'sandboxId' | 'version' | 'payload' | 'hash'>): Promise<PolicyRevision>
  /** Whether the row existed. `loadedAtMs` and `loadError` null clear the column. */
  setPolicyStatus(
    sandboxId: string,
    version: number,
    status: PolicyStatusText,
    details: { loadError: string | null; loadedAtMs: number | null },
  ): Promise<boolean>
  /** Marks pending and loaded versions below `version` superseded; returns how many. */
  supersedePolicies(sandboxId: string, version: number): Promise<number>
  /** Keeps the newest `keep` revisions and every loaded one (W9); a bounded number go in one call, the oldest first. */
  prunePolicies(sandboxId: string, keep: number): Promise<number>

  /**
   * Inserts, or, when the same (sandbox, host, port, binary) is there in any status, adds `hitCount` to it and moves
   * `lastSeenMs`. Returns the row that holds the endpoint now.
   */
  putDraft(
    chunk: Omit<DraftChunk, 'status' | 'decidedAtMs'> & Partial<Pick<DraftChunk, 'status' | 'decidedAtMs'>>,
  ): Promise<DraftChunk>
  setDraftStatus(id: string, status: DraftStatus, decidedAtMs: number | null): Promise<boolean>
  /** Only while pending. */
  setDraftRule(id: string, proposedRule: Uint8Array): Promise<boolean>
  deleteDrafts(sandboxId: string, status: DraftStatus): Promise<number>
  /** Rewrites columns of one chunk in any status; whether the row existed (spec/policy.md W13, W19, W22). */
  setDraftDetails(id: string, details: DraftDetails): Promise<boolean>
  /** Whether the row existed. */
  deleteDraft(id: string): Promise<boolean>
}

/**
 * The gateway's memory. An acknowledged write survives kill -9 and power loss. Every method throws `StoreFailure`
 * when the database cannot answer. One process owns a SQLite file; a PostgreSQL database may be shared.
 */
export interface Store extends StoreReads {
  /**
   * Runs `work` in one transaction and commits when it resolves; rolls back when it throws. One RPC, one transaction
   * (W3). `work` reads and writes through `tx` only and waits for nothing else: it keeps all other writers out, and a
   * database in memory its readers too. After `storeTransactionMs` it is rolled back.
   */
  transaction<T>(work: (tx: StoreTransaction) => Promise<T>): Promise<T>
  /** SSH sessions that are revoked or past their expiry; all of them, in batches (W7). Returns how many went. */
  reapSshSessions(nowMs: number): Promise<number>
  /** Asks the database for a sign of life. */
  ping(): Promise<void>
  close(): Promise<void>
}
