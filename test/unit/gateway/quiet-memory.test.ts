import { expect, test } from 'bun:test'
import { watchQuietMemory } from '../../../src/gateway/quiet-memory.ts'
import { LIMITS } from '../../../src/limits.ts'
import { createFakeClock } from '../../kit/clock.ts'

const MIB = 1 << 20
const BUSY_MS = LIMITS.quietLookMs / 2

/** A process whose use is said for each look; how often it gave memory back. */
function startProcess() {
  const clock = createFakeClock()
  const now = { cpuMs: 0, ownBytes: (60 * MIB) as number | null }
  let given = 0
  const watch = watchQuietMemory(clock, {
    cpuMs: () => now.cpuMs,
    ownBytes: () => now.ownBytes,
    giveBack: () => given++,
  })
  return {
    watch,
    /** The next look, after so much work and with so much memory. */
    look(cpuMs: number, mib: number | null): number {
      now.cpuMs += cpuMs
      now.ownBytes = mib === null ? null : mib * MIB
      clock.advance(LIMITS.quietLookMs)
      return given
    },
  }
}

test('what the start left behind is given back at the first quiet moment, and not before', () => {
  const { look } = startProcess()
  expect(look(BUSY_MS, 70)).toBe(0)
  expect(look(0, 70)).toBe(1)
})

test('later it takes growth, quiet and a pause', () => {
  const { look } = startProcess()
  look(0, 70)
  expect(look(0, 50)).toBe(1)
  // Grown, but just given back.
  expect(look(0, 80)).toBe(1)
  const looks = LIMITS.quietPauseMs / LIMITS.quietLookMs
  for (let i = 0; i < looks; i++) expect(look(0, 51)).toBe(1)
  expect(look(BUSY_MS, 90)).toBe(1)
  expect(look(0, 90)).toBe(2)
})

test('what it kept is the new measure: memory in use is not asked for again and again', () => {
  const { look } = startProcess()
  look(0, 70)
  for (let i = 0; i < 100; i++) expect(look(0, 66)).toBe(1)
})

test('a look that cannot tell changes nothing, and a stopped watch looks no more', () => {
  const { look, watch } = startProcess()
  expect(look(0, null)).toBe(0)
  watch.cancel()
  expect(look(0, 500)).toBe(0)
})
