/** A text longer than `most` bytes, as the contract says it; null when it fits. */
export function lengthViolation(field: string, text: string, most: number): string | null {
  // No text has fewer bytes than a third of what its length allows, so most need no counting.
  if (text.length * 3 <= most) return null
  const bytes = Buffer.byteLength(text)
  return bytes > most ? `${field} exceeds maximum length (${bytes} > ${most})` : null
}

export interface MapLimits {
  readonly entries: number
  readonly keyBytes: number
  readonly valueBytes: number
}

/** The first bound a string map breaks: number of entries, then for each entry key before value; null when it fits. */
export function mapViolation(field: string, map: ReadonlyMap<string, string>, limits: MapLimits): string | null {
  if (map.size > limits.entries) return `${field} exceeds maximum entries (${map.size} > ${limits.entries})`
  for (const [key, value] of map) {
    const violation =
      lengthViolation(`${field} key`, key, limits.keyBytes) ??
      lengthViolation(`${field} value`, value, limits.valueBytes)
    if (violation) return violation
  }
  return null
}
