import { describe, expect, test } from 'bun:test'
import type { Clock } from '../../../src/base/clock.ts'
import { StoreFailure } from '../../../src/store/store.ts'
import { createWriterQueue } from '../../../src/store/writer-queue.ts'

/** A clock whose timers run when `pass` is called. */
function manualClock() {
  const timers = new Set<() => void>()
  const clock: Clock = {
    nowMs: () => 0,
    monotonicMs: () => 0,
    after(_ms, fn) {
      timers.add(fn)
      return { cancel: () => void timers.delete(fn) }
    },
  }
  return { clock, timers, pass: () => [...timers].forEach(fn => void fn()) }
}

describe('writer queue', () => {
  test('one at a time, in order', async () => {
    const queue = createWriterQueue(manualClock().clock, 10, 1)
    const order: string[] = []
    const leave = await queue.enter()
    const waiting = ['a', 'b'].map(async name => {
      const done = await queue.enter()
      order.push(name)
      done()
    })
    expect(order).toEqual([])
    leave()
    leave()
    await Promise.all(waiting)
    expect(order).toEqual(['a', 'b'])
  })

  test('who waits too long is refused and the next goes on', async () => {
    const { clock, timers, pass } = manualClock()
    const queue = createWriterQueue(clock, 10, 1)
    const leave = await queue.enter()
    const late = queue.enter()
    pass()
    await expect(late).rejects.toBeInstanceOf(StoreFailure)
    leave()
    const again = await queue.enter()
    again()
    expect(timers.size).toBe(0)
  })

  test('no more than so many wait', async () => {
    const queue = createWriterQueue(manualClock().clock, 1, 1)
    const leave = await queue.enter()
    const second = queue.enter()
    await expect(queue.enter()).rejects.toBeInstanceOf(StoreFailure)
    leave()
    ;(await second)()
  })

  test('closing refuses those who wait and awaits the one who runs', async () => {
    const queue = createWriterQueue(manualClock().clock, 10, 1)
    const leave = await queue.enter()
    const waiting = queue.enter()
    let closed = false
    const closing = queue.close().then(() => (closed = true))
    await expect(waiting).rejects.toBeInstanceOf(StoreFailure)
    await expect(queue.enter()).rejects.toBeInstanceOf(StoreFailure)
    expect(closed).toBe(false)
    leave()
    await closing
  })
})
