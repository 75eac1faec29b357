import { type ArgumentSpec, readArguments } from './arguments.ts'
import { FLAGS, type Flag, type FlagName, FOREIGN_VARIABLES, flagLabel } from './flags.ts'
import { nearestName } from './nearest.ts'
import { printable, type UsageProblem } from './problems.ts'
import { listItems, valueProblem } from './value.ts'

/** The environment as this module sees it: what `process.env` is. */
export type Environment = Readonly<Record<string, string | undefined>>

export type ValueSource = 'flag' | 'variable' | 'default'

/** The values of a command, checked for form and not yet for sense. Names come from its flag table. */
export interface RawValues<Name extends string = string> {
  /** The text of a value, `''` when unset. */
  text(name: Name): string
  /** The text of a value, null when unset. */
  optional(name: Name): string | null
  /** An integer flag; values beyond 2^53−1 are clamped to it. */
  number(name: Name): number
  /** A list, `[]` when unset. */
  list(name: Name): readonly string[]
  /** A switch. */
  on(name: Name): boolean
  source(name: Name): ValueSource
  readonly positionals: readonly string[]
  /** Sentences for the log: nothing is wrong enough to end the start. */
  readonly warnings: readonly string[]
  /** `RUST_LOG`, when it is set to something. */
  readonly rustLog: string | null
}

export type ReadOutcome<Name extends string = string> =
  | { readonly kind: 'values'; readonly values: RawValues<Name> }
  | { readonly kind: 'help'; readonly long: boolean }
  | { readonly kind: 'version' }
  | { readonly kind: 'refused'; readonly problems: readonly UsageProblem[]; readonly warnings: readonly string[] }

interface Value {
  readonly texts: readonly string[]
  readonly source: ValueSource
}

/** A Service of a fitting name makes the kubelet set `…_PORT=tcp://ADDRESS:PORT` in every pod (W-3). */
const SERVICE_LINK = /^(tcp|udp|sctp):\/\//
const isServiceLink = (name: string, value: string): boolean => name.endsWith('_PORT') && SERVICE_LINK.test(value)
/** The other variables the kubelet sets for the same Service. */
const SERVICE_LINK_NAME = /_SERVICE_(HOST|PORT)(_|$)|_PORT_\d+_(TCP|UDP|SCTP)(_|$)/

/** Notes collected while the environment is read. */
interface Notes {
  readonly problems: UsageProblem[]
  readonly empty: string[]
  readonly warnings: string[]
}

function readVariable(flag: Flag, env: Environment, notes: Notes): Value | null {
  const value = flag.env === null ? undefined : env[flag.env]
  if (flag.env === null || value === undefined) return null
  if (value === '') {
    notes.empty.push(flag.env)
    return null
  }
  if (isServiceLink(flag.env, value)) {
    notes.warnings.push(
      `${flag.env} holds a Kubernetes service link and is ignored: a Service in this namespace has a name that makes ` +
        `this variable; set enableServiceLinks: false on the pod, or pass --${flag.name}`,
    )
    return null
  }
  const problem = valueProblem(flag, value, flag.env)
  if (problem) notes.problems.push(problem)
  return { texts: [value], source: 'variable' }
}

/** How many unknown variables are named before the rest is only counted. */
const UNKNOWN_NAMED = 10

/** Warnings for variables that look like ours and are nobody's: most likely typing errors (P-03). */
function unknownVariables(env: Environment): string[] {
  const known = FLAGS.map((flag: Flag) => flag.env).filter(name => name !== null)
  const all = new Set([...known, ...FOREIGN_VARIABLES])
  const unknown = Object.keys(env)
    .filter(name => name.startsWith('OPENSHELL_') && !all.has(name))
    .filter(name => !SERVICE_LINK_NAME.test(name) && !isServiceLink(name, env[name] ?? ''))
    .sort()
  const lines = unknown.slice(0, UNKNOWN_NAMED).map(name => {
    const near = nearestName(
      name.slice('OPENSHELL_'.length),
      known.map(other => other.slice('OPENSHELL_'.length)),
    )
    const hint = near === null ? '' : `; did you mean OPENSHELL_${near}?`
    return `unknown variable ${printable(name)} is ignored${hint}`
  })
  const more = unknown.length - lines.length
  return more > 0 ? [...lines, `${more} more unknown OPENSHELL_* variables are ignored`] : lines
}

/** Variables that make the runtime run other code than ours, or write a file, before we can refuse (P-02). */
const INJECTION = /^(BUN_OPTIONS|BUN_BE_BUN|BUN_BYTECODE_ORDER_OUT|BUN_INSPECT.*|BUN_JSC_.*|NODE_OPTIONS)$/

const injectionWarnings = (env: Environment): string[] => {
  const set = Object.keys(env).filter(name => INJECTION.test(name) && env[name] !== '')
  return set.length === 0
    ? []
    : [
        `${set.sort().map(printable).join(', ')} can make the runtime run foreign code or write files; unset in production`,
      ]
}

const emptyWarnings = (empty: readonly string[]): string[] =>
  empty.length === 0 ? [] : [`empty variables are treated as unset: ${empty.join(', ')}`]

function requiredProblem(flags: readonly Flag[], values: ReadonlyMap<string, Value>): UsageProblem[] {
  const missing = flags.filter(flag => flag.required && !values.has(flag.name))
  if (missing.length === 0) return []
  return [{ text: 'the following required arguments were not provided:', details: missing.map(flagLabel) }]
}

function rawValues<Name extends string>(
  flags: readonly Flag[],
  values: ReadonlyMap<string, Value>,
  rest: Pick<RawValues<Name>, 'positionals' | 'warnings' | 'rustLog'>,
): RawValues<Name> {
  const optional = (name: Name): string | null => values.get(name)?.texts.join(',') ?? null
  return {
    ...rest,
    optional,
    text: name => optional(name) ?? '',
    number: name => {
      const value = BigInt((optional(name) ?? '0').replace('+', ''))
      return Number(value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : value)
    },
    list: name => {
      const flag = flags.find(row => row.name === name)
      return flag ? (values.get(name)?.texts ?? []).flatMap(text => listItems(flag, text)) : []
    },
    on: name => optional(name) === 'true',
    source: name => values.get(name)?.source ?? 'default',
  }
}

/**
 * Reads a command's flags from the command line, then its variables, then its defaults, in that precedence
 * (spec/gateway.md §2.1). A variable that the command line replaces is not looked at. Empty variables are unset and
 * said so once (decision 8, W-4). The only reader of the environment for configuration.
 */
export function readCommand<Name extends string>(
  spec: ArgumentSpec,
  argv: readonly string[],
  env: Environment = process.env,
): ReadOutcome<Name> {
  const outcome = readArguments(spec, argv)
  if (outcome.kind === 'help' || outcome.kind === 'version') return outcome
  const notes: Notes = { problems: outcome.kind === 'refused' ? [...outcome.problems] : [], empty: [], warnings: [] }
  const given = outcome.kind === 'given' ? outcome.given : null
  const values = new Map<string, Value>()
  for (const flag of spec.flags) {
    const texts = given?.flags.get(flag.name)
    const value = texts ? { texts, source: 'flag' as const } : given && readVariable(flag, env, notes)
    if (value) values.set(flag.name, value)
    else if (flag.default !== null) values.set(flag.name, { texts: [flag.default], source: 'default' })
  }
  const warnings = [
    ...notes.warnings,
    ...emptyWarnings(notes.empty),
    ...unknownVariables(env),
    ...injectionWarnings(env),
  ]
  if (notes.problems.length === 0) notes.problems.push(...requiredProblem(spec.flags, values))
  if (notes.problems.length > 0) return { kind: 'refused', problems: notes.problems, warnings }
  const rest = { positionals: given?.positionals ?? [], warnings, rustLog: env['RUST_LOG'] || null }
  return { kind: 'values', values: rawValues<Name>(spec.flags, values, rest) }
}

/** The gateway's own flags (the command `serve`). */
export const readConfig = (argv: readonly string[], env: Environment = process.env): ReadOutcome<FlagName> =>
  readCommand<FlagName>({ flags: FLAGS }, argv, env)
