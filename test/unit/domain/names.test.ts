import { expect, test } from 'bun:test'
import { randomLetters, twoWordName } from '../../../src/domain/names.ts'

test('every generated name is two lower-case ASCII words, short enough for a host name', () => {
  for (let n = 0; n < 200; n++) {
    const name = twoWordName(below => n % below)
    expect(name).toMatch(/^[a-z]+-[a-z]+$/)
    expect(name.length).toBeLessThanOrEqual(20)
  }
})

test('there are more than ten thousand, and none of the words comes twice', () => {
  const words = (part: 0 | 1) => {
    const seen = new Set<string>()
    const counts: number[] = []
    twoWordName(below => {
      counts.push(below)
      return 0
    })
    for (let at = 0; at < counts[part]!; at++) {
      let call = 0
      seen.add(twoWordName(() => (call++ === part ? at : 0)).split('-')[part]!)
    }
    expect(seen.size).toBe(counts[part]!)
    return seen.size
  }
  expect(words(0) * words(1)).toBeGreaterThan(10_000)
})

test('letters are lower-case, as many as asked for', () => {
  let n = 0
  expect(randomLetters(6, below => n++ % below)).toBe('abcdef')
})
