import type { Clock } from '../base/clock.ts'
import { createTokenBucket, type TokenBucket } from '../base/token-bucket.ts'
import type { FilteredLine } from '../domain/log-filter.ts'
import { LIMITS } from '../limits.ts'
import type { SandboxLine } from '../observe/log.ts'
import { codec } from '../wire/codec.ts'
import { readMap, writeMap } from '../wire/maps.ts'
import type { SandboxLogLine } from '../wire/messages.generated.ts'
import { Ring, type RingItem } from './ring.ts'
import type { WatchBus } from './watch-bus.ts'

/** A line as it is kept: what filters look at, and the `SandboxLogLine` it is sent as. */
export interface StoredLine extends FilteredLine, RingItem {
  readonly encoded: Uint8Array
}

/**
 * The last log lines of every live sandbox, in memory (spec/sandbox.md §6.1): bounded in lines, in bytes for each line
 * and sandbox, and in all. Only sandboxes known to exist have a tail (W20, W21).
 */
export interface SandboxLogs {
  /** Says that a sandbox exists. */
  open(id: string): void
  has(id: string): boolean
  /** Takes a gateway line; the logger's hook. Of an id nobody knows, it is held until the store says whether it exists. */
  onLine(line: SandboxLine): void
  /** Takes lines a supervisor pushed for a sandbox that exists; more than its rate are dropped and counted (W22). */
  push(id: string, lines: readonly SandboxLogLine[]): void
  /** The newest lines, oldest first. */
  tail(id: string, count: number): StoredLine[]
  /** The tail itself, for a reader that follows it. */
  ring(id: string): Ring<StoredLine> | null
  /** Forgets a sandbox; who follows its tail may read it to the end. */
  remove(id: string): void
  readonly bytes: number
  /** Pushed lines that were dropped. */
  readonly dropped: number
}

export interface SandboxLogsDeps {
  readonly clock: Clock
  readonly bus: Pick<WatchBus, 'arrived'>
  /** Whether a sandbox of that id is stored. */
  readonly exists: (id: string) => Promise<boolean>
}

interface Entry {
  readonly ring: Ring<StoredLine>
  readonly bucket: TokenBucket
}

/** Levels of gateway lines that are for operators only, whatever the process log shows (spec/gateway.md W-18). */
const HIDDEN_LEVELS = new Set(['DEBUG', 'TRACE'])

const MARK = '… [truncated]'
const SHORT_BYTES = 256

export function createSandboxLogs(deps: SandboxLogsDeps): SandboxLogs {
  const entries = new Map<string, Entry>()
  const unproven = new Map<string, SandboxLine[]>()
  let bytes = 0
  let dropped = 0

  const open = (id: string): Entry => {
    const known = entries.get(id)
    if (known) return known
    const bucket = createTokenBucket(LIMITS.pushLineBurst, LIMITS.pushLinesPerSecond, () => deps.clock.monotonicMs())
    const entry = { ring: new Ring<StoredLine>(LIMITS.logLines), bucket }
    entries.set(id, entry)
    return entry
  }

  const append = ({ ring }: Entry, line: StoredLine) => {
    const before = ring.bytes
    ring.push(line)
    while (ring.bytes > LIMITS.logSandboxBytes) ring.shift()
    bytes += ring.bytes - before
    if (bytes > LIMITS.logTotalBytes) relieve()
  }

  /** Takes from whoever holds most, a good part at once, so that it is rarely needed. */
  const relieve = () => {
    let largest: Ring<StoredLine> | null = null
    for (const { ring } of entries.values()) if (!largest || ring.bytes > largest.bytes) largest = ring
    const goal = (largest?.bytes ?? 0) / 2
    while (largest && largest.bytes > goal) bytes -= largest.shift()
  }

  const appendOwn = (id: string, line: SandboxLine) => append(open(id), ownLine(line))

  /** Holds a line of an unknown id while the store is asked. */
  const hold = (line: SandboxLine) => {
    const held = unproven.get(line.sandboxId)
    if (held) {
      if (held.length < LIMITS.logUnprovenLines) held.push(line)
      return
    }
    if (unproven.size >= LIMITS.logUnproven) return
    unproven.set(line.sandboxId, [line])
    const settle = (exists: boolean) => {
      const lines = unproven.get(line.sandboxId) ?? []
      unproven.delete(line.sandboxId)
      if (!exists) return
      for (const each of lines) appendOwn(each.sandboxId, each)
      deps.bus.arrived(line.sandboxId)
    }
    deps.exists(line.sandboxId).then(settle, () => settle(false))
  }

  return {
    open: id => void open(id),
    has: id => entries.has(id),
    onLine(line) {
      if (line.sandboxId === '' || HIDDEN_LEVELS.has(line.level)) return
      if (!entries.has(line.sandboxId)) return hold(line)
      appendOwn(line.sandboxId, line)
      deps.bus.arrived(line.sandboxId)
    },
    push(id, lines) {
      const entry = open(id)
      const taken = entry.bucket.take(lines.length)
      dropped += lines.length - taken
      const latestMs = deps.clock.nowMs() + LIMITS.pushAheadMs
      for (const line of lines.slice(0, taken)) append(entry, pushedLine(id, line, latestMs))
      if (taken > 0) deps.bus.arrived(id)
    },
    tail: (id, count) => entries.get(id)?.ring.tail(count) ?? [],
    ring: id => entries.get(id)?.ring ?? null,
    remove(id) {
      bytes -= entries.get(id)?.ring.bytes ?? 0
      entries.delete(id)
      unproven.delete(id)
    },
    get bytes() {
      return bytes
    },
    get dropped() {
      return dropped
    },
  }
}

const OVERHEAD_BYTES = 96

const stored = (line: SandboxLogLine): StoredLine => {
  const encoded = codec('openshell.v1.SandboxLogLine').encode(line)
  return {
    timestampMs: Number(line.timestamp_ms),
    level: line.level,
    source: line.source,
    encoded,
    bytes: encoded.length + OVERHEAD_BYTES,
  }
}

const ownLine = (line: SandboxLine): StoredLine =>
  stored({
    sandbox_id: line.sandboxId,
    timestamp_ms: BigInt(Math.trunc(line.timestampMs)),
    level: line.level,
    target: line.target,
    message: cut(line.message, LIMITS.logLineBytes),
    source: 'gateway',
    fields: {},
  })

/** A supervisor's line: its id and source are ours, its time is not far ahead, and it fits (W21, W22). */
function pushedLine(id: string, line: SandboxLogLine, latestMs: number): StoredLine {
  const level = cut(line.level, SHORT_BYTES)
  const target = cut(line.target, SHORT_BYTES)
  const message = cut(line.message, LIMITS.logLineBytes)
  let room = LIMITS.logLineBytes - Buffer.byteLength(message)
  const fields = new Map<string, string>()
  for (const [key, value] of readMap(line.fields)) {
    room -= Buffer.byteLength(key) + Buffer.byteLength(value)
    if (room < 0) break
    fields.set(key, value)
  }
  const isAhead = line.timestamp_ms > BigInt(Math.trunc(latestMs))
  const timestamp_ms = isAhead ? BigInt(Math.trunc(latestMs - LIMITS.pushAheadMs)) : line.timestamp_ms
  return stored({ sandbox_id: id, timestamp_ms, level, target, message, source: 'sandbox', fields: writeMap(fields) })
}

/** At most `most` bytes, cut at a character and marked. */
function cut(text: string, most: number): string {
  if (text.length * 3 <= most) return text
  const bytes = Buffer.from(text)
  if (bytes.length <= most) return text
  let end = most - Buffer.byteLength(MARK)
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end--
  return bytes.subarray(0, end).toString() + MARK
}
