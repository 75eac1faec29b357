import { LIMITS } from '../limits.ts'

/** The `labels` column: a JSON object of strings, keys ascending, `{}` when there are none (spec/storage.md §4.1). */
export function writeLabels(labels: ReadonlyMap<string, string> | undefined): string {
  if (labels === undefined || labels.size === 0) return '{}'
  const pairs = [...labels].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return `{${pairs.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`
}

const NONE: ReadonlyMap<string, string> = new Map()

/** Rows repeat few texts; reading each anew is a third of the cost of a list. */
const recent = new Map<string, ReadonlyMap<string, string>>()

/** What a `labels` column says. A column that is null or not a JSON object of strings holds no labels. */
export function readLabels(text: string | null): ReadonlyMap<string, string> {
  if (text === null || text === '{}' || text === '') return NONE
  const known = recent.get(text)
  if (known !== undefined) return known
  const labels = parseLabels(text)
  if (text.length > LIMITS.storeLabelsChars) return labels
  if (recent.size >= LIMITS.storeLabelsKept) recent.clear()
  recent.set(text, labels)
  return labels
}

function parseLabels(text: string): ReadonlyMap<string, string> {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    return NONE
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return NONE
  const labels = new Map<string, string>()
  for (const [key, value] of Object.entries(parsed)) {
    if (typeof value !== 'string') return NONE
    labels.set(key, value)
  }
  return labels
}
