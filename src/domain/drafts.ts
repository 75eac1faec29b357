import { LIMITS } from '../limits.ts'
import { hasUnknownFields } from '../wire/codec.ts'
import type { NetworkEndpoint, NetworkPolicyRule, PolicyChunk } from '../wire/messages.generated.ts'
import { isInternal, isInternalNetwork, parseIp, parseNetwork } from './ip-address.ts'

/** Rules that a supervisor proposes and an administrator decides on (spec/policy.md §8). Pure. */

export type DraftState = 'pending' | 'approved' | 'rejected'
export type DraftAction = 'approve' | 'reject' | 'edit' | 'undo'

/** TABLE of actions: the states they may start from, and the state they lead to. Everything else is refused. */
const TRANSITIONS: Readonly<Record<DraftAction, { readonly from: readonly DraftState[]; readonly to: DraftState }>> = {
  approve: { from: ['pending', 'rejected'], to: 'approved' },
  reject: { from: ['pending', 'approved'], to: 'rejected' },
  edit: { from: ['pending'], to: 'pending' },
  undo: { from: ['approved'], to: 'pending' },
}

/** The state after `action`, or the text of the refusal. */
export function decideDraft(state: DraftState, action: DraftAction): { to: DraftState } | { refusal: string } {
  const { from, to } = TRANSITIONS[action]
  if (from.includes(state)) return { to }
  return { refusal: `chunk status is '${state}', expected ${from.map(one => `'${one}'`).join(' or ')}` }
}

/** What is stored of a proposal. */
export interface Proposal {
  readonly ruleName: string
  readonly rule: NetworkPolicyRule
  readonly rationale: string
  readonly host: string
  readonly port: number
  readonly binary: string
  readonly securityNotes: string
  readonly confidence: number
  readonly hitCount: number
  readonly firstSeenMs: number
  readonly lastSeenMs: number
}

/** Reads one proposed chunk, or says why it is rejected (spec/policy.md §8.1, W20, W21). */
export function parseProposal(chunk: PolicyChunk, nowMs: number): Proposal | { readonly reason: string } {
  if (chunk.rule_name === '') return { reason: 'chunk missing rule_name' }
  if (Buffer.byteLength(chunk.rule_name) > LIMITS.draftNameBytes) return { reason: 'chunk rule_name is too long' }
  if (chunk.rule_name.includes('\0')) return { reason: 'chunk rule_name contains a NUL character' }
  const about = `chunk '${chunk.rule_name}'`
  const rule = chunk.proposed_rule
  if (!rule) return { reason: `${about} missing proposed_rule` }
  if (hasUnknownFields(rule)) return { reason: `${about} proposed_rule has fields this gateway does not know` }
  if (rule.endpoints.length > LIMITS.draftRuleItems || rule.binaries.length > LIMITS.draftRuleItems)
    return { reason: `${about} has more than ${LIMITS.draftRuleItems} endpoints or binaries` }
  if (Buffer.byteLength(chunk.rationale) > LIMITS.draftRationaleBytes)
    return { reason: `${about} rationale exceeds maximum length (> ${LIMITS.draftRationaleBytes})` }
  if (chunk.rationale.includes('\0') || holdsNul(rule)) return { reason: `${about} contains a NUL character` }
  const endpoint = rule.endpoints[0]
  return {
    ruleName: chunk.rule_name,
    rule,
    rationale: chunk.rationale,
    host: endpoint?.host.toLowerCase() ?? '',
    port: endpoint && endpoint.port <= PORT_MOST ? endpoint.port : 0,
    binary: rule.binaries[0]?.path ?? '',
    securityNotes: securityNotes(rule),
    confidence: clampConfidence(chunk.confidence),
    hitCount: Math.min(Math.max(chunk.hit_count, 1), LIMITS.draftHitsPerCall),
    firstSeenMs: seenMs(chunk.first_seen_ms, nowMs),
    lastSeenMs: seenMs(chunk.last_seen_ms, nowMs),
  }
}

/** A time that was sent, or now; one that no number holds exactly becomes the last that does (spec/storage.md W18). */
const seenMs = (sent: bigint, nowMs: number): number =>
  sent > 0n ? Math.min(Number(sent), Number.MAX_SAFE_INTEGER) : nowMs

/** Whether a host or path holds what no host and no path has, and what PostgreSQL keeps in no text. */
export const holdsNul = ({ endpoints, binaries }: NetworkPolicyRule): boolean =>
  endpoints.some(({ host }) => host.includes('\0')) || binaries.some(({ path }) => path.includes('\0'))

/** 0..1; what is not a number is 0 (W20). */
export const clampConfidence = (value: number): number => (Number.isNaN(value) ? 0 : Math.min(Math.max(value, 0), 1))

const EPHEMERAL_FROM = 49_152
const PORT_MOST = 65_535
const SERVICE_PORTS = new Set([5432, 3306, 6379, 27017, 9200, 11211, 5672])

/**
 * What an approver should know about a rule, one sentence after another; empty when there is nothing. All endpoints
 * are looked at, by class of address (spec/policy.md §8.4, W22).
 */
export function securityNotes(rule: NetworkPolicyRule): string {
  return [...new Set(rule.endpoints.flatMap(endpointNotes))].join(' ')
}

function endpointNotes(endpoint: NetworkEndpoint): string[] {
  const notes: string[] = []
  const host = endpoint.host.toLowerCase()
  if (isInternalHost(host)) notes.push(`Destination '${host}' appears to be an internal/private address.`)
  for (const entry of endpoint.allowed_ips) {
    const network = parseNetwork(entry)
    if (network && isInternalNetwork(network))
      notes.push(`Destination '${entry}' appears to be an internal/private address.`)
  }
  if (host.includes('*')) notes.push(`Host '${host}' contains a wildcard — this may match unintended destinations.`)
  for (const port of new Set([endpoint.port, ...endpoint.ports])) {
    if (port > EPHEMERAL_FROM && port <= PORT_MOST)
      notes.push(`Port ${port} is in the ephemeral range — this may be a temporary service.`)
    if (SERVICE_PORTS.has(port)) notes.push(`Port ${port} is a well-known database/service port.`)
  }
  return notes
}

/** Addresses of private networks, patterns of such addresses, and the names of loopback. */
function isInternalHost(host: string): boolean {
  const name = host.endsWith('.') ? host.slice(0, -1) : host
  if (name === 'localhost' || name.endsWith('.localhost')) return true
  const bare = name.startsWith('[') && name.endsWith(']') ? name.slice(1, -1) : name
  // In a pattern such as `10.0.0.*` the stars stand for any octet.
  const address = parseIp(/^[\d.*]+$/.test(bare) ? bare.replaceAll('*', '0') : bare)
  return address !== null && isInternal(address)
}

/** One line of a chunk's history. */
export interface HistoryEntry {
  readonly timestampMs: number
  readonly eventType: string
  readonly description: string
  readonly chunkId: string
}

/** What GetDraftHistory needs of a chunk. */
export interface Decided {
  readonly id: string
  readonly status: DraftState
  readonly ruleName: string
  readonly confidence: number
  readonly createdAtMs: number
  readonly decidedAtMs: number | null
}

/** That a chunk was proposed, and what was decided about it. */
export function historyOf(chunk: Decided): HistoryEntry[] {
  const proposed = {
    timestampMs: chunk.createdAtMs,
    eventType: 'proposed',
    description: `Rule '${chunk.ruleName}' proposed (confidence: ${roundEven(chunk.confidence * 100)}%)`,
    chunkId: chunk.id,
  }
  if (chunk.decidedAtMs === null) return [proposed]
  const description = `Rule '${chunk.ruleName}' ${chunk.status}`
  return [proposed, { timestampMs: chunk.decidedAtMs, eventType: chunk.status, description, chunkId: chunk.id }]
}

/** Entries of chunks, the newest chunk first, into the order of their time, in place (spec/policy.md §8.2). */
export const sortHistory = (entries: HistoryEntry[]): HistoryEntry[] =>
  entries.sort((a, b) => a.timestampMs - b.timestampMs)

/** To a whole number, ties to the even one. */
function roundEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor
}
