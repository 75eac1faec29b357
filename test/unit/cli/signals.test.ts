import { afterEach, expect, test } from 'bun:test'
import { listenToSignals, type Signals } from '../../../src/cli/signals.ts'
import { LIMITS } from '../../../src/limits.ts'

let signals: Signals | null = null
afterEach(() => signals?.close())

/** Listens with a clock that `pass` moves; `ended` is the code of an end at once. */
function listen() {
  let nowMs = 0
  const world = {
    ended: null as number | null,
    pass: (ms: number) => {
      nowMs += ms
    },
  }
  const exit = (code: number): never => {
    world.ended = code
    return undefined as never
  }
  signals = listenToSignals(exit, () => undefined, { monotonicMs: () => nowMs })
  return world
}

test('the first signal asks for the end, a second one ends at once with 130 (decision 23)', async () => {
  const world = listen()
  process.emit('SIGINT', 'SIGINT')
  expect(await signals!.ending).toBe('SIGINT')
  world.pass(LIMITS.signalEchoMs)
  expect(world.ended).toBeNull()
  process.emit('SIGINT', 'SIGINT')
  expect(world.ended).toBe(130)
})

test('the same signal passed on by a runner is no second one', () => {
  const world = listen()
  process.emit('SIGINT', 'SIGINT')
  world.pass(LIMITS.signalEchoMs - 1)
  process.emit('SIGINT', 'SIGINT')
  expect(world.ended).toBeNull()
})

test('another signal is a second one however soon', () => {
  const world = listen()
  process.emit('SIGINT', 'SIGINT')
  process.emit('SIGTERM', 'SIGTERM')
  expect(world.ended).toBe(130)
})
