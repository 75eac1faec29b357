import type { LogLevel } from '../observe/log.ts'

/** What is shown of the log; `off` shows nothing. */
export type ShownLevel = LogLevel | 'off'

/** Spellings of a level, in any case (spec/gateway.md §13). */
const LEVELS: Readonly<Record<string, ShownLevel>> = {
  off: 'off',
  '0': 'off',
  error: 'error',
  '1': 'error',
  warn: 'warn',
  '2': 'warn',
  info: 'info',
  '3': 'info',
  debug: 'debug',
  '4': 'debug',
  trace: 'trace',
  '5': 'trace',
}

/** Targets of a directive `target=level` that mean this program. */
const OUR_TARGETS = new Set(['openshell_gateway', 'openshell_server', 'openshell-gateway'])

/** What a filter text asks of us, and the directives in it that mean nothing. */
export interface LogFilter {
  readonly level: ShownLevel | null
  readonly bad: readonly string[]
}

const levelOf = (text: string): ShownLevel | undefined => {
  const word = text.toLowerCase()
  return Object.hasOwn(LEVELS, word) ? LEVELS[word] : undefined
}

/**
 * Reads a filter of comma-separated directives: `level`, `target=level`, or the name of a target. A directive for us
 * beats a bare level; those for other targets are right and have no effect (spec/gateway.md §13).
 */
export function parseLogFilter(text: string): LogFilter {
  let bare: ShownLevel | null = null
  let ours: ShownLevel | null = null
  const bad: string[] = []
  for (const directive of text.split(',').map(part => part.trim())) {
    if (directive === '') continue
    const [target = '', level, ...rest] = directive.split('=')
    const meant = levelOf(level ?? target)
    if (meant === undefined || rest.length > 0) bad.push(directive)
    else if (level === undefined) bare = meant
    else if (OUR_TARGETS.has(target.split('::')[0]!)) ours = meant
  }
  return { level: ours ?? bare, bad }
}

/**
 * The level to use and what to say about it: `RUST_LOG` when every directive of it is understood, else the flag, else
 * `info`; never silence by mistake (W-27).
 */
export function resolveLogLevel(rustLog: string | null, flag: string): { level: ShownLevel; warnings: string[] } {
  const warnings: string[] = []
  if (rustLog !== null) {
    const filter = parseLogFilter(rustLog)
    if (filter.level !== null && filter.bad.length === 0) return { level: filter.level, warnings }
    warnings.push('RUST_LOG names no usable level and is ignored')
  }
  const filter = parseLogFilter(flag)
  if (filter.level === null) warnings.push('--log-level names no usable level; info is used')
  else if (filter.bad.length > 0) warnings.push('--log-level has directives that mean nothing here and are ignored')
  return { level: filter.level ?? 'info', warnings }
}
