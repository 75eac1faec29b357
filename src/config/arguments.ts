import { type Flag, flagLabel } from './flags.ts'
import { nearestName } from './nearest.ts'
import { printable, type UsageProblem } from './problems.ts'
import { valueProblem } from './value.ts'

/** An argument without dashes, in the order of the table. Only the last one may be optional or `rest`. */
export interface Positional {
  readonly name: string
  readonly help: string
  readonly optional?: true
  readonly choices?: readonly string[]
  /** What completions offer where anything may be given. */
  readonly suggestions?: readonly string[]
  /** Takes all that is left, also what begins with a dash after `--`. */
  readonly rest?: true
}

/** What a command takes. */
export interface ArgumentSpec {
  readonly flags: readonly Flag[]
  readonly positionals?: readonly Positional[]
}

/** What stood on the command line: texts by flag name (several for repeatable flags only), then the positionals. */
export interface GivenArguments {
  readonly flags: ReadonlyMap<string, readonly string[]>
  readonly positionals: readonly string[]
}

export type ArgumentsOutcome =
  | { readonly kind: 'given'; readonly given: GivenArguments }
  | { readonly kind: 'help'; readonly long: boolean }
  | { readonly kind: 'version' }
  | { readonly kind: 'refused'; readonly problems: readonly UsageProblem[] }

/** Flags every command has; they act where they stand (spec/gateway.md §1). */
const BUILT_IN = ['help', 'version']

/** Mutable state of one pass; `next` is the index of the argument to read. */
interface Pass {
  readonly spec: ArgumentSpec
  readonly argv: readonly string[]
  readonly flags: Map<string, string[]>
  readonly positionals: string[]
  readonly problems: UsageProblem[]
  next: number
  onlyPositionals: boolean
  /** What was just read belongs to a secret flag: a stray argument here may be a part of it (P-09). */
  afterSecret: boolean
  stopped: ArgumentsOutcome | null
}

const findFlag = (spec: ArgumentSpec, name: string): Flag | undefined =>
  spec.flags.find(flag => flag.name === name || flag.hiddenAlias === name)

const missingValue = (flag: Flag): UsageProblem => ({
  text: `a value is required for '${flagLabel(flag)}' but none was supplied`,
})

/** Beginning of a value that only the `--flag=value` form may carry. */
const isDashed = (argument: string): boolean => argument.startsWith('-') && argument !== '-'

function unknownFlag(pass: Pass, name: string, hasValue: boolean): void {
  const near = nearestName(name, [...pass.spec.flags.map(flag => flag.name), ...BUILT_IN])
  pass.problems.push({
    text: `unexpected argument '--${printable(name)}' found`,
    ...(near === null ? {} : { tip: `a similar argument exists: '--${near}'` }),
  })
  if (!hasValue) skipLikelyValue(pass)
}

/** What follows an unknown flag was most likely its value: one problem is enough. */
function skipLikelyValue(pass: Pass): void {
  const follower = pass.argv[pass.next]
  if (follower !== undefined && !isDashed(follower)) pass.next++
}

/** The value of `flag` from behind `=` or from the next argument; undefined after a reported problem. */
function takeValue(pass: Pass, flag: Flag, attached: string | undefined): string | undefined {
  if (attached !== undefined) return attached
  const follower = pass.argv[pass.next]
  if (follower !== undefined && !isDashed(follower)) {
    pass.next++
    return follower
  }
  if (follower === undefined || flag.secret || isKnownFlag(pass.spec, follower)) {
    pass.problems.push({
      ...missingValue(flag),
      ...(flag.secret && follower !== undefined ? { tip: `a value that begins with '-' needs '--${flag.name}='` } : {}),
    })
    if (flag.secret && follower !== undefined && !isKnownFlag(pass.spec, follower)) pass.next++
    return undefined
  }
  readDashed(pass, pass.argv[pass.next++]!)
  return undefined
}

function isKnownFlag(spec: ArgumentSpec, argument: string): boolean {
  const name = argument.slice(2).split('=')[0]!
  return argument === '-h' || argument === '-V' || argument === '--' || isBuiltInOrFlag(spec, argument, name)
}

const isBuiltInOrFlag = (spec: ArgumentSpec, argument: string, name: string): boolean =>
  argument.startsWith('--') && (BUILT_IN.includes(name) || findFlag(spec, name) !== undefined)

function readSwitch(pass: Pass, flag: Flag, attached: string | undefined): void {
  if (attached !== undefined)
    pass.problems.push({
      text: `unexpected value '${printable(attached)}' for '--${flag.name}' found; no more were expected`,
    })
  else store(pass, flag, 'true')
}

function store(pass: Pass, flag: Flag, value: string): void {
  const before = pass.flags.get(flag.name)
  if (before && !flag.repeatable) {
    pass.problems.push({ text: `the argument '${flagLabel(flag)}' cannot be used multiple times` })
    return
  }
  const problem = valueProblem(flag, value, null)
  if (problem) pass.problems.push(problem)
  else pass.flags.set(flag.name, [...(before ?? []), value])
}

function readLong(pass: Pass, argument: string): void {
  const equals = argument.indexOf('=')
  const name = equals < 0 ? argument.slice(2) : argument.slice(2, equals)
  const attached = equals < 0 ? undefined : argument.slice(equals + 1)
  if (BUILT_IN.includes(name)) {
    if (attached !== undefined)
      pass.problems.push({
        text: `unexpected value '${printable(attached)}' for '--${name}' found; no more were expected`,
      })
    else stop(pass, name === 'help' ? { kind: 'help', long: true } : { kind: 'version' })
    return
  }
  const flag = findFlag(pass.spec, name)
  if (flag) readFlag(pass, flag, attached)
  else unknownFlag(pass, name, attached !== undefined)
}

function readFlag(pass: Pass, flag: Flag, attached: string | undefined): void {
  pass.afterSecret = flag.secret === true
  if (flag.kind === 'switch') {
    readSwitch(pass, flag, attached)
    return
  }
  const value = takeValue(pass, flag, attached)
  if (value !== undefined) store(pass, flag, value)
}

/** Help and version act only when nothing before them was wrong. */
function stop(pass: Pass, outcome: ArgumentsOutcome): void {
  if (pass.problems.length === 0) pass.stopped = outcome
}

function readDashed(pass: Pass, argument: string): void {
  if (argument.startsWith('--')) readLong(pass, argument)
  else if (argument === '-h') stop(pass, { kind: 'help', long: false })
  else if (argument === '-V') stop(pass, { kind: 'version' })
  else readShort(pass, argument)
}

/** One letter by itself; its value is the next argument. */
function readShort(pass: Pass, argument: string): void {
  const flag = pass.spec.flags.find(row => row.short !== undefined && `-${row.short}` === argument)
  if (flag) readFlag(pass, flag, undefined)
  else unknownShort(pass, argument)
}

function unknownShort(pass: Pass, argument: string): void {
  const names = pass.spec.flags.map(flag => flag.name)
  const near = nearestName(argument.slice(1), names)
  pass.problems.push({
    text: `unexpected argument '${printable(argument.slice(0, 2))}' found`,
    ...(near === null ? {} : { tip: `a similar argument exists: '--${near}'` }),
  })
  skipLikelyValue(pass)
}

function positionalProblem(positional: Positional | undefined, text: string): UsageProblem | null {
  if (!positional?.choices || positional.choices.includes(text)) return null
  const near = nearestName(text, positional.choices)
  return {
    text: `invalid value '${printable(text)}' for '<${positional.name.toUpperCase()}>'`,
    details: [`[possible values: ${positional.choices.join(', ')}]`],
    ...(near === null ? {} : { tip: `a similar value exists: '${near}'` }),
  }
}

function readPositional(pass: Pass, argument: string): void {
  const wanted = pass.spec.positionals ?? []
  if (pass.positionals.length < wanted.length || wanted.at(-1)?.rest) {
    const problem = positionalProblem(wanted[pass.positionals.length], argument)
    if (problem) pass.problems.push(problem)
    pass.positionals.push(argument)
    return
  }
  const shown = pass.afterSecret ? '[not shown: it follows a secret]' : printable(argument)
  pass.problems.push({ text: `unexpected argument '${shown}' found` })
}

function readNext(pass: Pass): void {
  const argument = pass.argv[pass.next++]!
  if (pass.onlyPositionals || !isDashed(argument)) {
    readPositional(pass, argument)
    return
  }
  pass.afterSecret = false
  if (argument === '--') pass.onlyPositionals = true
  else readDashed(pass, argument)
}

/**
 * Reads a command line strictly against the table of a command: long flags only, no abbreviations, `--flag value` or
 * `--flag=value`, no repetition (spec/gateway.md §2.1). Reports every fault at once, with the nearest name (decision 8).
 */
export function readArguments(spec: ArgumentSpec, argv: readonly string[]): ArgumentsOutcome {
  const pass: Pass = {
    spec,
    argv,
    flags: new Map(),
    positionals: [],
    problems: [],
    next: 0,
    onlyPositionals: false,
    afterSecret: false,
    stopped: null,
  }
  while (pass.next < argv.length && pass.stopped === null) readNext(pass)
  if (pass.stopped) return pass.stopped
  const missing = (spec.positionals ?? []).slice(pass.positionals.length).filter(p => !p.optional)
  if (missing.length > 0)
    pass.problems.push({
      text: 'the following required arguments were not provided:',
      details: missing.map(p => `<${p.name.toUpperCase()}>`),
    })
  if (pass.problems.length > 0) return { kind: 'refused', problems: pass.problems }
  return { kind: 'given', given: { flags: pass.flags, positionals: pass.positionals } }
}
