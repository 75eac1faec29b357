import { UNPRINTABLE } from '../base/unprintable.ts'

/** What is wrong with a command line, in the words of spec/gateway.md §2.1. */
export interface UsageProblem {
  readonly text: string
  /** Lines under the text, indented when printed: possible values, missing flags. */
  readonly details?: readonly string[]
  readonly tip?: string
}

/** A configuration that was understood but cannot work; `exit` is the code that alone would end the process. */
export interface Violation {
  readonly exit: 1 | 2
  readonly text: string
}

const SHOWN_CHARS = 120

/** Text from outside made fit for a terminal: cut, and without control or bidirectional characters (I-01). */
export function printable(text: string): string {
  const cut = text.length > SHOWN_CHARS ? `${text.slice(0, SHOWN_CHARS)}…` : text
  return cut.replace(UNPRINTABLE, c => `\\u{${c.charCodeAt(0).toString(16)}}`)
}

const HELP_HINT = "\nFor more information, try '--help'.\n"

/** Everything wrong with the command line at once (exit 2, spec/gateway.md §5). */
export function formatUsageProblems(problems: readonly UsageProblem[]): string {
  const blocks = problems.map(problem => {
    const lines = [`error: ${problem.text}`, ...(problem.details ?? []).map(line => `  ${line}`)]
    if (problem.tip) lines.push('', `  tip: ${problem.tip}`)
    return `${lines.join('\n')}\n`
  })
  return blocks.join('') + HELP_HINT
}

/**
 * The exit code of a refused configuration: 2 when nothing but flag combinations is wrong (decision 25), 1 as soon as
 * a rule of the reference refuses (spec/gateway.md §5).
 */
export const exitCodeOf = (violations: readonly Violation[]): 1 | 2 =>
  violations.every(violation => violation.exit === 2) ? 2 : 1

/** All violations, one line each: `Error: …` for exit 1, `error: …` with the pointer to the help for exit 2. */
export function formatViolations(violations: readonly Violation[]): string {
  const usage = exitCodeOf(violations) === 2
  const lines = violations.map(violation => `${usage ? 'error' : 'Error'}: ${violation.text}\n`).join('')
  return usage ? lines + HELP_HINT : lines
}
