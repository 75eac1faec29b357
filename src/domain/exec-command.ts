import { LIMITS } from '../limits.ts'

/** What ExecSandbox is asked to run. */
export interface ExecCommand {
  readonly command: readonly string[]
  readonly environment: ReadonlyMap<string, string>
  /** Empty = where the daemon starts. */
  readonly workdir: string
}

const KEY = /^[A-Za-z_][A-Za-z0-9_]*$/
const KEY_RULE = '^[A-Za-z_][A-Za-z0-9_]*$'

/** The first rule of spec/relay.md §6.1 (2–9) that is broken, as the public text; null = none. */
export function findExecViolation(exec: ExecCommand): string | null {
  if (exec.command.length === 0) return 'command is required'
  for (const key of exec.environment.keys()) if (!KEY.test(key)) return `environment keys must match ${KEY_RULE}`
  if (exec.command.length > LIMITS.execArguments) return `command array exceeds ${LIMITS.execArguments} argument limit`
  for (const [index, argument] of exec.command.entries()) {
    const violation = findTextViolation(`command argument ${index}`, argument, LIMITS.execArgumentBytes)
    if (violation) return violation
  }
  for (const [key, value] of exec.environment) {
    const violation = findTextViolation(`environment value for '${key}'`, value, LIMITS.execArgumentBytes)
    if (violation) return violation
  }
  return findTextViolation('workdir', exec.workdir, LIMITS.execWorkdirBytes)
}

function findTextViolation(what: string, text: string, mostBytes: number): string | null {
  if (Buffer.byteLength(text) > mostBytes) return `${what} exceeds ${mostBytes} byte limit`
  if (text.includes('\0')) return `${what} contains null bytes`
  if (/[\r\n]/.test(text)) return `${what} contains newline or carriage return characters`
  return null
}

/** The line the sandbox's shell runs, or why there is none. */
export type ExecLine = { readonly line: string } | { readonly violation: string }

/** Assembles a command without violations (spec/relay.md §6.2): environment sorted by key, every word quoted. */
export function assembleExecLine(exec: ExecCommand): ExecLine {
  const keys = [...exec.environment.keys()].sort()
  const assignments = keys.map(key => `${key}=${quote(exec.environment.get(key)!)}`)
  const line = [...assignments, ...exec.command.map(quote)].join(' ')
  const whole = exec.workdir === '' ? line : `cd ${quote(exec.workdir)} && ${line}`
  if (Buffer.byteLength(whole) <= LIMITS.execLineBytes) return { line: whole }
  return {
    violation: `command construction failed: assembled command string exceeds ${LIMITS.execLineBytes} byte limit`,
  }
}

/** One word for a POSIX shell: nothing in it is expanded, split or globbed. */
export function quote(word: string): string {
  if (word === '') return "''"
  if (/^[A-Za-z0-9./_-]+$/.test(word)) return word
  return `'${word.replaceAll("'", `'"'"'`)}'`
}

/** An SSH exit status (unsigned) as the contract's signed number. */
export const exitCodeOf = (status: number): number => Math.min(status, 0x7fffffff)

/** Numbers of the signals an SSH server names in `exit-signal`, as on Linux. */
const SIGNALS: Readonly<Record<string, number>> = {
  HUP: 1,
  INT: 2,
  QUIT: 3,
  ILL: 4,
  ABRT: 6,
  FPE: 8,
  KILL: 9,
  USR1: 10,
  SEGV: 11,
  USR2: 12,
  PIPE: 13,
  ALRM: 14,
  TERM: 15,
}

/** What a shell reports for a command that a signal ended; 128 for one it does not know. */
export const exitCodeOfSignal = (name: string): number => 128 + (SIGNALS[name.replace(/^SIG/, '')] ?? 0)
