/** UTF-16 code units of astral characters must sort after U+E000–U+FFFF, as their UTF-8 bytes do. */
const rank = (unit: number): number => (unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit)

/** Orders well-formed strings by their UTF-8 bytes; JavaScript's own order differs above U+FFFF. */
export function compareUtf8(a: string, b: string): number {
  const shared = Math.min(a.length, b.length)
  for (let at = 0; at < shared; at++) {
    const left = a.charCodeAt(at)
    const right = b.charCodeAt(at)
    if (left !== right) return rank(left) - rank(right)
  }
  return a.length - b.length
}

/** Entries of a map, keys in ascending UTF-8 byte order. */
export const sortedEntries = <V>(map: ReadonlyMap<string, V>): [string, V][] =>
  [...map].sort(([left], [right]) => compareUtf8(left, right))
