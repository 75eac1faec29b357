/**
 * Letters inserted, deleted, replaced or swapped with a neighbour to make `a` into `b`; more than `most` when it is
 * clear that it takes more than that.
 */
export function editDistance(a: string, b: string, most: number = Number.POSITIVE_INFINITY): number {
  const apart = Math.abs(a.length - b.length)
  if (apart > most) return apart
  let before: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const line = [row]
    let reached = row
    for (let column = 1; column <= b.length; column++) {
      const replaced = last[column - 1]! + (a[row - 1] === b[column - 1] ? 0 : 1)
      let least = Math.min(replaced, last[column]! + 1, line[column - 1]! + 1)
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]
      if (swapped) least = Math.min(least, before[column - 2]! + 1)
      line.push(least)
      if (least < reached) reached = least
    }
    // The least of a line grows by one at most, and a swap looks back two lines: no way back under the limit.
    if (reached > most + 1) return reached
    before = last
    last = line
  }
  return last[b.length]!
}

/** Longest input that is compared: what comes from argv or the environment may be of any length. */
const LONGEST = 64

/**
 * The candidate that was most likely meant, or null when none is near: a third of the letters may differ, case does
 * not count, and the beginning of exactly one candidate counts as an abbreviation of it.
 */
export function nearestName(typed: string, candidates: readonly string[]): string | null {
  if (typed === '' || typed.length > LONGEST) return null
  const wanted = typed.toLowerCase()
  const most = Math.max(1, Math.floor(wanted.length / 3))
  // Near ones first: most errors are one letter, and a small limit ends a comparison early.
  for (let distance = 0; distance <= most; distance++) {
    const best = candidates.find(candidate => editDistance(wanted, candidate.toLowerCase(), distance) <= distance)
    if (best !== undefined) return best
  }
  const begun = candidates.filter(candidate => candidate.toLowerCase().startsWith(wanted))
  return begun.length === 1 ? begun[0]! : null
}
