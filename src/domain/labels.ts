import { LIMITS } from '../limits.ts'

/** Which letters and digits count: ASCII for what is written (W30), any script for what older records may hold. */
export type Alphabet = 'ascii' | 'unicode'

const ALPHANUMERIC: Readonly<Record<Alphabet, RegExp>> = {
  ascii: /^[A-Za-z0-9]$/,
  unicode: /^[\p{Alphabetic}\p{N}]$/u,
}

/** What is wrong with a label key, or null (spec/sandbox.md §3.2). The split is at the first `/`. */
export function labelKeyViolation(key: string, alphabet: Alphabet = 'ascii'): string | null {
  if (key === '') return 'label key cannot be empty'
  if (Buffer.byteLength(key) > LIMITS.labelKeyBytes)
    return `label key exceeds ${LIMITS.labelKeyBytes} characters: '${key}'`
  const slash = key.indexOf('/')
  const name = key.slice(slash + 1)
  if (name === '') return `label key name segment cannot be empty: '${key}'`
  if (Buffer.byteLength(name) > LIMITS.labelTextBytes)
    return `label key name segment exceeds ${LIMITS.labelTextBytes} characters: '${key}'`
  const fault = textFault(name, alphabet)
  if (fault) return `label key name segment ${fault}: '${key}'`
  return slash < 0 ? null : prefixViolation(key.slice(0, slash), key)
}

function prefixViolation(prefix: string, key: string): string | null {
  if (prefix === '') return `label key prefix cannot be empty when '/' is present: '${key}'`
  if (!/^[a-z0-9.-]*$/.test(prefix))
    return `label key prefix must be a DNS subdomain (lowercase alphanumeric, '-', '.'): '${key}'`
  if (/^[-.]|[-.]$/.test(prefix)) return `label key prefix cannot start or end with '-' or '.': '${key}'`
  if (prefix.includes('..')) return `label key prefix cannot contain consecutive dots: '${key}'`
  return null
}

/** What is wrong with a label value, or null; the empty value is fine (spec/sandbox.md §3.2). */
export function labelValueViolation(value: string, alphabet: Alphabet = 'ascii'): string | null {
  if (value === '') return null
  if (Buffer.byteLength(value) > LIMITS.labelTextBytes)
    return `label value exceeds ${LIMITS.labelTextBytes} characters: '${value}'`
  const fault = textFault(value, alphabet)
  return fault ? `label value ${fault}: '${value}'` : null
}

/** The rule that a name segment and a value share. */
function textFault(text: string, alphabet: Alphabet): string | null {
  const alphanumeric = ALPHANUMERIC[alphabet]
  const characters = [...text]
  if (!characters.every(c => c === '-' || c === '_' || c === '.' || alphanumeric.test(c)))
    return "contains invalid characters (must be alphanumeric, '-', '_', or '.')"
  if (!alphanumeric.test(characters[0]!)) return 'must start with alphanumeric character'
  if (!alphanumeric.test(characters.at(-1)!)) return 'must end with alphanumeric character'
  return null
}

/** The first violation in a set of labels, each key before its value; null when all are fine. */
export function labelsViolation(labels: Iterable<readonly [string, string]>): string | null {
  for (const [key, value] of labels) {
    const violation = labelKeyViolation(key) ?? labelValueViolation(value)
    if (violation) return violation
  }
  return null
}

export type Selector =
  | { readonly ok: true; readonly pairs: ReadonlyMap<string, string> }
  | { readonly ok: false; readonly violation: string }

/**
 * Reads `key=value, …`: equality only, all pairs must match, the last of a repeated key wins, blank pairs are passed
 * over (spec/sandbox.md §3.3). Bounded by I-03.
 */
export function parseSelector(text: string): Selector {
  if (Buffer.byteLength(text) > LIMITS.selectorBytes)
    return refuse(`label selector exceeds maximum length (${Buffer.byteLength(text)} > ${LIMITS.selectorBytes})`)
  const pairs = new Map<string, string>()
  for (const part of text.split(',')) {
    const pair = part.trim()
    if (pair === '') continue
    const equals = pair.indexOf('=')
    if (equals < 0) return refuse(`invalid label selector: expected 'key=value', got '${pair}'`)
    const key = pair.slice(0, equals).trim()
    const value = pair.slice(equals + 1).trim()
    if (key === '') return refuse(`invalid label selector: key cannot be empty in '${pair}'`)
    const violation = labelKeyViolation(key, 'unicode') ?? labelValueViolation(value, 'unicode')
    if (violation) return refuse(violation)
    pairs.set(key, value)
    if (pairs.size > LIMITS.selectorPairs)
      return refuse(`label selector exceeds maximum pairs (${pairs.size} > ${LIMITS.selectorPairs})`)
  }
  return { ok: true, pairs }
}

const refuse = (violation: string): Selector => ({ ok: false, violation })
