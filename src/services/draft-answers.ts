import { type HistoryEntry, historyOf, sortHistory } from '../domain/drafts.ts'
import { isPlainRule } from '../domain/policy-wellformed.ts'
import { LIMITS } from '../limits.ts'
import type { DraftChunk } from '../store/store.ts'
import { ByteWriter } from '../wire/byte-writer.ts'
import { codec, WireError } from '../wire/codec.ts'

/**
 * Answers of the draft reads, written page by page as the store reads them: a sandbox may have ten thousand chunks,
 * and neither objects of the wire nor one long turn of the event loop come of it.
 */

type Pages = AsyncIterable<readonly DraftChunk[]>

const RULE = codec('openshell.sandbox.v1.NetworkPolicyRule')

/** Field numbers of GetDraftPolicyResponse, PolicyChunk and DraftHistoryEntry. */
const LIST = 1
const CHUNK = {
  id: 1,
  status: 2,
  ruleName: 3,
  proposedRule: 4,
  rationale: 5,
  securityNotes: 6,
  confidence: 7,
  createdAtMs: 9,
  decidedAtMs: 10,
  hitCount: 13,
  firstSeenMs: 14,
  lastSeenMs: 15,
  binary: 16,
} as const
const ENTRY = { timestampMs: 1, eventType: 2, description: 3, chunkId: 4 } as const

/** The elements `chunks` of the answer, and the highest creation time among them. */
export async function encodeChunks(pages: Pages): Promise<{ readonly parts: Buffer[]; readonly newestMs: number }> {
  const parts: Buffer[] = []
  let newestMs = 0
  for await (const page of pages) {
    for (const chunk of page) newestMs = Math.max(newestMs, chunk.createdAtMs)
    parts.push(encodePage(page, writeChunk))
  }
  return { parts, newestMs }
}

/** The elements `entries` of the answer (spec/policy.md §8.2). */
export async function encodeHistory(pages: Pages): Promise<Buffer[]> {
  const entries: HistoryEntry[] = []
  for await (const page of pages) for (const chunk of page) entries.push(...historyOf(chunk))
  await turn()
  sortHistory(entries)
  const parts: Buffer[] = []
  for (let at = 0; at < entries.length; at += LIMITS.draftRowsPerTurn) {
    await turn()
    parts.push(encodePage(entries.slice(at, at + LIMITS.draftRowsPerTurn), writeEntry))
  }
  return parts
}

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

/** Encoding a page is synchronous, so one writer serves all. */
const writer = new ByteWriter()

function encodePage<T>(items: readonly T[], write: (item: T) => void): Buffer {
  writer.reset()
  for (const item of items) writer.nested(LIST, () => write(item))
  return writer.copy()
}

function text(field: number, value: string): void {
  if (value !== '') writer.text(field, value)
}

/** A signed field; what is below zero, which only a foreign row can hold, takes the ten bytes of the contract. */
function number(field: number, value: number): void {
  if (value === 0) return
  writer.varint(field << 3)
  writer.varint64(value)
}

/** The stored rule goes out as it is. One without any field, or damaged, is absent (spec/policy.md §8.2, spec/storage.md W17). */
function writeChunk(chunk: DraftChunk): void {
  text(CHUNK.id, chunk.id)
  text(CHUNK.status, chunk.status)
  text(CHUNK.ruleName, chunk.ruleName)
  if (isRule(chunk.proposedRule)) writer.bytes(CHUNK.proposedRule, chunk.proposedRule)
  text(CHUNK.rationale, chunk.rationale)
  text(CHUNK.securityNotes, chunk.securityNotes)
  if (chunk.confidence !== 0) writer.float(CHUNK.confidence, chunk.confidence)
  number(CHUNK.createdAtMs, chunk.createdAtMs)
  number(CHUNK.decidedAtMs, chunk.decidedAtMs ?? 0)
  number(CHUNK.hitCount, chunk.hitCount)
  number(CHUNK.firstSeenMs, chunk.firstSeenMs)
  number(CHUNK.lastSeenMs, chunk.lastSeenMs)
  text(CHUNK.binary, chunk.binary)
}

function writeEntry(entry: HistoryEntry): void {
  number(ENTRY.timestampMs, entry.timestampMs)
  text(ENTRY.eventType, entry.eventType)
  text(ENTRY.description, entry.description)
  text(ENTRY.chunkId, entry.chunkId)
}

function isRule(bytes: Uint8Array): boolean {
  if (bytes.length === 0) return false
  if (isPlainRule(bytes)) return true
  try {
    RULE.decode(bytes)
    return true
  } catch (error) {
    if (error instanceof WireError) return false
    throw error
  }
}
