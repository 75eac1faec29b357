import type { Clock, Timer } from '../../src/base/clock.ts'

/** A clock that moves only when told to. */
export interface FakeClock extends Clock {
  /** Moves both clocks and runs what falls due, in order of its time; timers set meanwhile too. */
  advance(ms: number): void
  /** Moves on to the timer that is due first and runs it alone; false when there is none. */
  runNext(): boolean
  /** Moves both clocks and runs nothing, as for a process that is stopped; what fell due runs late, at the next `advance`. */
  stall(ms: number): void
  /** Moves the wall clock alone, as an administrator or a virtual machine does (T-01). */
  jumpWall(ms: number): void
  /** Timers that have neither run nor been cancelled. */
  readonly pending: number
}

/** Starts at `nowMs` of wall time. */
export function createFakeClock(nowMs: number = Date.UTC(2026, 0, 1)): FakeClock {
  const timers = new Map<Timer, { dueMs: number; fn: () => void }>()
  let wallMs = nowMs
  let monotonicMs = 1000

  const nextDue = (limitMs: number) => {
    let found: [Timer, { dueMs: number; fn: () => void }] | undefined
    for (const entry of timers)
      if (entry[1].dueMs <= limitMs && (!found || entry[1].dueMs < found[1].dueMs)) found = entry
    return found
  }

  const run = ([timer, { dueMs, fn }]: [Timer, { dueMs: number; fn: () => void }]) => {
    timers.delete(timer)
    wallMs += Math.max(0, dueMs - monotonicMs)
    monotonicMs = Math.max(monotonicMs, dueMs)
    fn()
  }

  return {
    nowMs: () => wallMs,
    monotonicMs: () => monotonicMs,
    after(ms, fn) {
      const timer: Timer = { cancel: () => void timers.delete(timer) }
      timers.set(timer, { dueMs: monotonicMs + ms, fn })
      return timer
    },
    advance(ms) {
      const endMs = monotonicMs + ms
      for (let due = nextDue(endMs); due; due = nextDue(endMs)) run(due)
      wallMs += endMs - monotonicMs
      monotonicMs = endMs
    },
    runNext() {
      const due = nextDue(Number.POSITIVE_INFINITY)
      if (due) run(due)
      return due !== undefined
    },
    stall(ms) {
      wallMs += ms
      monotonicMs += ms
    },
    jumpWall(ms) {
      wallMs += ms
    },
    get pending() {
      return timers.size
    },
  }
}

/** Waits in real time until `isTrue`, at most `timeoutMs`; for work that sockets or other threads do. */
export async function until(isTrue: () => boolean, timeoutMs = 2000): Promise<void> {
  const endMs = performance.now() + timeoutMs
  while (!isTrue()) {
    if (performance.now() > endMs) throw new Error('waited in vain')
    await new Promise(resolve => setTimeout(resolve, 2))
  }
}
