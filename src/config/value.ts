import { type Flag, flagLabel } from './flags.ts'
import { nearestName } from './nearest.ts'
import { printable, type UsageProblem } from './problems.ts'

/** Largest value of each integer kind. */
export const INTEGER_MAX: Readonly<Partial<Record<Flag['kind'], bigint>>> = {
  u8: 255n,
  u16: 65_535n,
  u32: 4_294_967_295n,
  u64: 18_446_744_073_709_551_615n,
}

const I64_MAX = 9_223_372_036_854_775_807n

/** What is wrong with `text` as an integer of that kind; null = nothing (spec/gateway.md §2.1). */
function integerFault(kind: Flag['kind'], text: string): string | null {
  const max = INTEGER_MAX[kind]!
  const digits = kind === 'u64' ? /^\+?\d+$/ : /^[+-]?\d+$/
  if (text === '') return 'cannot parse integer from empty string'
  if (!digits.test(text)) return 'invalid digit found in string'
  const value = BigInt(text.startsWith('+') ? text.slice(1) : text)
  if (kind === 'u64') return value > max ? 'number too large to fit in target type' : null
  if (value > I64_MAX) return 'number too large to fit in target type'
  if (value < -I64_MAX - 1n) return 'number too small to fit in target type'
  return value < 0n || value > max ? `${value} is not in 0..=${max}` : null
}

const DRIVER_NAME = /^[a-z0-9_-]{1,64}$/

/** One item of `--drivers`, after trimming and lower-casing (spec/gateway.md §2.2, decision 6). */
const driverFault = (item: string): string | null =>
  DRIVER_NAME.test(item)
    ? null
    : `unsupported compute driver '${printable(item)}'. expected external, or a name of letters, digits, - and _`

/** The items of a list as written: separated by commas, trimmed; drivers also lower-cased. */
export function listItems(flag: Pick<Flag, 'name'>, text: string): string[] {
  const items = text.split(',').map(item => item.trim())
  return flag.name === 'drivers' ? items.map(item => item.toLowerCase()) : items
}

function listProblem(flag: Flag, text: string, from: string): UsageProblem | null {
  const written = text.split(',')
  for (const [index, item] of listItems(flag, text).entries()) {
    const fault = flag.name === 'drivers' ? driverFault(item) : item === '' ? 'an item of the list is empty' : null
    if (fault)
      return { text: `invalid value '${printable(written[index]!)}' for '${flagLabel(flag)}': ${fault}${from}` }
  }
  return null
}

function choiceProblem(flag: Flag, choices: readonly string[], text: string, from: string): UsageProblem | null {
  if (choices.includes(text)) return null
  const near = nearestName(text.trim(), choices)
  return {
    text: `invalid value '${printable(text)}' for '${flagLabel(flag)}'${from}`,
    details: [`[possible values: ${choices.join(', ')}]`],
    ...(near === null ? {} : { tip: `a similar value exists: '${near}'` }),
  }
}

/**
 * What is wrong with a value given to a flag; null = nothing. `variable` names the environment variable it came from,
 * null = the command line. The value itself is shown, unless the flag is a secret.
 */
export function valueProblem(flag: Flag, text: string, variable: string | null): UsageProblem | null {
  const from = variable === null ? '' : ` (from ${variable})`
  switch (flag.kind) {
    case 'switch':
      return choiceProblem(flag, ['true', 'false'], text, from)
    case 'choice':
      return choiceProblem(flag, flag.choices ?? [], text, from)
    case 'list':
      return listProblem(flag, text, from)
    case 'path':
      return text === '' ? { text: `a value is required for '${flagLabel(flag)}' but none was supplied` } : null
    case 'text':
      return null
    default: {
      const fault = integerFault(flag.kind, text)
      return fault === null
        ? null
        : { text: `invalid value '${printable(text)}' for '${flagLabel(flag)}': ${fault}${from}` }
    }
  }
}
