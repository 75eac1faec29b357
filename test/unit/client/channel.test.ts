import { describe, expect, test } from 'bun:test'
import { watchPeer } from '../../../src/client/channel.ts'
import { LIMITS } from '../../../src/limits.ts'
import { createFakeClock } from '../../kit/clock.ts'

/** A connection whose other side answers pings until told otherwise. */
function createSession() {
  const session = {
    destroyed: false,
    answers: true,
    pings: 0,
    ping(done: () => void) {
      session.pings++
      if (session.answers) done()
      return true
    },
    destroy() {
      session.destroyed = true
    },
  }
  return session
}

describe('a connection to a gateway', () => {
  test('is kept while the gateway answers, and given up when it has been silent for three rounds', () => {
    const clock = createFakeClock()
    const session = createSession()
    const gone: string[] = []
    watchPeer(session as never, why => gone.push(why), clock)
    clock.advance(LIMITS.keepaliveMs * 10)
    expect([session.pings, session.destroyed]).toEqual([10, false])
    session.answers = false
    clock.advance(LIMITS.keepaliveMs * 2)
    expect(session.destroyed).toBe(false)
    clock.advance(LIMITS.keepaliveMs)
    expect([session.destroyed, gone, clock.pending]).toEqual([true, ['it no longer answers'], 0])
  })

  test('that is closed is pinged no more', () => {
    const clock = createFakeClock()
    const session = createSession()
    watchPeer(session as never, () => undefined, clock)
    session.destroyed = true
    clock.advance(LIMITS.keepaliveMs)
    expect([session.pings, clock.pending]).toEqual([0, 0])
  })
})
