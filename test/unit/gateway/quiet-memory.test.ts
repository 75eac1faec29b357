import { expect, test } from 'bun:test'
import { watchQuietMemory } from '../../../src/gateway/quiet-memory.ts'
import { LIMITS } from '../../../src/limits.ts'
import { createFakeClock } from '../../kit/clock.ts'

const MIB = 1 << 20
const WHILE_MS = LIMITS.quietLooks * LIMITS.quietLookMs
const BUSY_MS = WHILE_MS / 2

/** A process whose use is said for each while; how often it gave memory back, and how reluctantly it compiles. */
function startProcess() {
  const clock = createFakeClock()
  const now = { cpuMs: 0, ownBytes: (60 * MIB) as number | null }
  let given = 0
  const scales: number[] = []
  const watch = watchQuietMemory(clock, {
    cpuMs: () => now.cpuMs,
    ownBytes: () => now.ownBytes,
    giveBack: () => given++,
    setJitScale: scale => scales.push(scale),
  })
  return {
    watch,
    jitScale: () => scales.at(-1),
    /** Looks for a while, at the start of which so much was done, and with so much memory. */
    look(cpuMs: number, mib: number | null): number {
      now.cpuMs += cpuMs
      now.ownBytes = mib === null ? null : mib * MIB
      clock.advance(WHILE_MS)
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
  const looks = LIMITS.quietPauseMs / WHILE_MS - 1
  for (let i = 0; i < looks; i++) expect(look(0, 51)).toBe(1)
  expect(look(BUSY_MS, 90)).toBe(1)
  expect(look(0, 90)).toBe(2)
})

test('what it kept is the new measure: memory in use is not asked for again and again', () => {
  const { look } = startProcess()
  look(0, 70)
  for (let i = 0; i < 100; i++) expect(look(0, 66)).toBe(1)
})

test('functions are compiled as usual while it is busy, and hardly ever before and after', () => {
  const { look, jitScale } = startProcess()
  expect(jitScale()).toBe(LIMITS.quietJitScale)
  look(BUSY_MS, 70)
  expect(jitScale()).toBe(1)
  look(1, 70)
  expect(jitScale()).toBe(LIMITS.quietJitScale)
})

test('a look that cannot tell changes nothing, and a stopped watch looks no more', () => {
  const { look, watch, jitScale } = startProcess()
  expect(look(0, null)).toBe(0)
  watch.cancel()
  expect(jitScale()).toBe(1)
  expect(look(0, 500)).toBe(0)
})
