/** What is wrong with a JSON text beside its syntax. */
export type JsonFlaw = 'duplicate' | 'deep' | 'surrogate'

/**
 * Looks through a JSON text for what `JSON.parse` lets pass: a member named twice in one object (J-27), nesting over
 * `maxDepth`, and text that is no Unicode (J-42). One pass without recursion, so it is safe to run before parsing;
 * syntax errors are left to the parser.
 */
export function findJsonFlaw(text: string, maxDepth: number): JsonFlaw | null {
  /** Names seen in each open object; null for an open array. */
  const open: (Set<string> | null)[] = []
  let expectsName = false
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x7b: // {
        open.push(new Set())
        expectsName = true
        break
      case 0x5b: // [
        open.push(null)
        expectsName = false
        break
      case 0x7d: // }
      case 0x5d: // ]
        open.pop()
        expectsName = false
        break
      case 0x2c: // ,
        expectsName = open.at(-1) instanceof Set
        break
      case 0x22: {
        const end = stringEnd(text, i)
        const value = unescapeString(text.slice(i, end + 1))
        if (!value.isWellFormed()) return 'surrogate'
        const names = open.at(-1)
        if (expectsName && names) {
          if (names.has(value)) return 'duplicate'
          names.add(value)
          expectsName = false
        }
        i = end
        break
      }
    }
    if (open.length > maxDepth) return 'deep'
  }
  return null
}

/** Index of the quote that closes the string opened at `start`, or the end of the text. */
function stringEnd(text: string, start: number): number {
  let i = start + 1
  while (i < text.length && text.charCodeAt(i) !== 0x22) i += text.charCodeAt(i) === 0x5c ? 2 : 1
  return i
}

function unescapeString(quoted: string): string {
  if (!quoted.includes('\\')) return quoted.slice(1, -1)
  try {
    return JSON.parse(quoted) as string
  } catch {
    return quoted
  }
}
