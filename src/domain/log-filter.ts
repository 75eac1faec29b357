/** Rank of a level; the lower, the graver. Unknown levels come last (spec/sandbox.md §6.3). */
const RANKS: ReadonlyMap<string, number> = new Map([
  ['ERROR', 0],
  ['WARN', 1],
  ['INFO', 2],
  ['OCSF', 2],
  ['DEBUG', 3],
  ['TRACE', 4],
])
const LAST_RANK = 5

const rank = (level: string): number => RANKS.get(level.toUpperCase()) ?? LAST_RANK

/** What of a line decides whether it is shown. */
export interface FilteredLine {
  readonly timestampMs: number
  readonly level: string
  readonly source: string
}

export interface LogFilter {
  /** 0 or less = no bound. */
  readonly sinceMs: number
  /** Exact; empty = every source. */
  readonly sources: readonly string[]
  /** Empty or unknown = every level. */
  readonly minLevel: string
}

/** Whether a line passes (spec/sandbox.md §5.1, §6.2, §6.3). A line without source is the gateway's. */
export function createLogFilter(filter: LogFilter): (line: FilteredLine) => boolean {
  const most = filter.minLevel === '' ? LAST_RANK : rank(filter.minLevel)
  const sources = filter.sources.length > 0 ? new Set(filter.sources) : null
  return line =>
    (filter.sinceMs <= 0 || line.timestampMs >= filter.sinceMs) &&
    (most === LAST_RANK || rank(line.level) <= most) &&
    (sources === null || sources.has(line.source === '' ? 'gateway' : line.source))
}
