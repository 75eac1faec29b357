/** The `labels` column: a JSON object of strings, keys ascending, `{}` when there are none (spec/storage.md §4.1). */
export function writeLabels(labels: ReadonlyMap<string, string> | undefined): string {
  if (labels === undefined || labels.size === 0) return '{}'
  const pairs = [...labels].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return `{${pairs.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`
}

const NONE: ReadonlyMap<string, string> = new Map()

/** What a `labels` column says. A column that is null or not a JSON object of strings holds no labels. */
export function readLabels(text: string | null): ReadonlyMap<string, string> {
  if (text === null || text === '{}' || text === '') return NONE
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    return NONE
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return NONE
  const entries = Object.entries(parsed)
  return entries.every((entry): entry is [string, string] => typeof entry[1] === 'string') ? new Map(entries) : NONE
}
