import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import type { Clock } from '../../../src/base/clock.ts'
import { LIMITS } from '../../../src/limits.ts'
import { FrameMeter, type FrameViolation } from '../../../src/net/frame-meter.ts'
import { frame, http2Start } from '../../kit/raw-socket.ts'

function meterAt(): { meter: FrameMeter; pass(ms: number): void } {
  let now = 0
  const clock: Clock = { nowMs: () => now, monotonicMs: () => now, after: () => ({ cancel() {} }) }
  const meter = new FrameMeter(clock)
  expect(meter.inspect(http2Start())).toBeNull()
  return {
    meter,
    pass(ms) {
      now += ms
    },
  }
}

/** How many of `bytes` in a row pass, at most `most`. */
function countUntil(
  meter: FrameMeter,
  bytes: Uint8Array,
  most: number,
): { passed: number; violation: FrameViolation | null } {
  for (let passed = 0; passed < most; passed++) {
    const violation = meter.inspect(bytes)
    if (violation !== null) return { passed, violation }
  }
  return { passed: most, violation: null }
}

const DATA = frame(0, 0, 1, Buffer.alloc(100))
const EMPTY_DATA = frame(0, 0, 1)
const HEADERS_OPEN = frame(1, 0, 1, Buffer.from([0x82]))
const CONTINUATION = frame(9, 0, 1)
const PING = frame(6, 0, 0, Buffer.alloc(8))
const PRIORITY = frame(2, 0, 1, Buffer.alloc(5))
const UNKNOWN = frame(0x42, 0, 0, Buffer.from('x'))
const SETTINGS = frame(4, 0, 0)
const RESET = frame(3, 0, 1, Buffer.alloc(4))
const WINDOW = frame(8, 0, 0, Buffer.from([0, 0, 0, 1]))

describe('frame meter', () => {
  test('F-04: the ninth CONTINUATION of a header block ends the connection', () => {
    const { meter } = meterAt()
    meter.authenticated()
    expect(meter.inspect(HEADERS_OPEN)).toBeNull()
    expect(countUntil(meter, CONTINUATION, 100)).toEqual({ passed: 8, violation: 'continuation-flood' })
  })

  test('header blocks of eight CONTINUATION frames each are fine for ever', () => {
    const { meter } = meterAt()
    meter.authenticated()
    const block = Buffer.concat([HEADERS_OPEN, ...Array.from({ length: 7 }, () => CONTINUATION), frame(9, 4, 1)])
    expect(countUntil(meter, block, 1000).violation).toBeNull()
  })

  test.each([
    ['PRIORITY', PRIORITY],
    ['unknown', UNKNOWN],
    ['empty DATA', EMPTY_DATA],
    ['SETTINGS', SETTINGS],
    ['idle PING', PING],
  ])('F-05/F-06: %s frames end the connection after the burst', (_, bytes) => {
    const { meter } = meterAt()
    meter.authenticated()
    const { passed, violation } = countUntil(meter, bytes, 20_000)
    expect(violation).toBe('control-frame-flood')
    expect(passed).toBeGreaterThanOrEqual(LIMITS.controlFrameBurst - 1)
    expect(passed).toBeLessThanOrEqual(LIMITS.controlFrameBurst)
  })

  test('F-06: a PING every 10 s survives a day and more', () => {
    const { meter, pass } = meterAt()
    meter.authenticated()
    for (let n = 0; n < 20_000; n++) {
      pass(10_000)
      expect(meter.inspect(PING)).toBeNull()
    }
  })

  test('decision 30: bandwidth probes around data are never a flood, whichever way the data goes', () => {
    const { meter } = meterAt()
    meter.authenticated()
    expect(countUntil(meter, Buffer.concat([DATA, PING]), 30_000).violation).toBeNull()
    for (let n = 0; n < 30_000; n++) {
      meter.sent(LIMITS.sentBytesPerProbe)
      expect(meter.inspect(PING)).toBeNull()
    }
  })

  test('answers to PINGs do not pay for more PINGs', () => {
    const { meter } = meterAt()
    meter.authenticated()
    let passed = 0
    while (passed < 20_000 && meter.inspect(PING) === null) {
      meter.sent(17)
      passed++
    }
    expect(passed).toBeLessThanOrEqual(LIMITS.controlFrameBurst)
  })

  test('F-05: WINDOW_UPDATE frames have to be earned by bytes sent', () => {
    const { meter } = meterAt()
    meter.authenticated()
    expect(countUntil(meter, WINDOW, 5000)).toEqual({ passed: 2000, violation: 'window-update-flood' })
    const reader = meterAt().meter
    reader.authenticated()
    for (let n = 0; n < 100_000; n++) {
      reader.sent(LIMITS.sentBytesPerWindowUpdate)
      expect(reader.inspect(WINDOW)).toBeNull()
    }
  })

  test('a client that sends two WINDOW_UPDATE frames for each tiny message, as gRPC C clients do, is never cut', () => {
    const unary = meterAt().meter
    unary.authenticated()
    const call = Buffer.concat([frame(1, 4, 1, Buffer.from([0x82])), frame(0, 1, 1, Buffer.alloc(5)), WINDOW, WINDOW])
    expect(countUntil(unary, call, 20_000).violation).toBeNull()
    const stream = meterAt().meter
    stream.authenticated()
    for (let n = 0; n < 20_000; n++) {
      stream.sent(24)
      expect(stream.inspect(Buffer.concat([WINDOW, WINDOW]))).toBeNull()
    }
  })

  test('F-01: cancels at 25/s are never cut, 5 000 at once are', () => {
    const slow = meterAt()
    slow.meter.authenticated()
    for (let n = 0; n < 10_000; n++) {
      slow.pass(40)
      expect(slow.meter.inspect(RESET)).toBeNull()
    }
    const { meter } = meterAt()
    meter.authenticated()
    expect(countUntil(meter, RESET, 5000)).toEqual({ passed: 1000, violation: 'reset-flood' })
  })

  test('M4: a stranger gets 2 MiB, an authenticated peer any amount', () => {
    const { meter } = meterAt()
    const chunk = frame(0, 0, 1, Buffer.alloc(16_384))
    expect(countUntil(meter, chunk, 1000)).toEqual({ passed: 127, violation: 'unauthenticated-bytes' })
    const known = meterAt().meter
    known.authenticated()
    expect(countUntil(known, chunk, 10_000).violation).toBeNull()
  })

  test('a health check without a token goes on for ever: the budget for strangers fills up again', () => {
    const { meter, pass } = meterAt()
    const check = Buffer.concat([frame(1, 4, 1, Buffer.alloc(90)), frame(0, 1, 1, Buffer.alloc(5))])
    for (let n = 0; n < 100_000; n++) {
      expect(meter.inspect(check)).toBeNull()
      pass(1000)
    }
  })

  test.each([
    ['one octet at a time', frame(0, 0, 1, Buffer.alloc(1))],
    ['padding alone', frame(0, 8, 1, Buffer.from([255, ...Buffer.alloc(255)]))],
  ])('F-06: DATA of %s ends the connection, at a rate no caller needs', (_name, dribble) => {
    const { meter, pass } = meterAt()
    meter.authenticated()
    const first = countUntil(meter, dribble, 1_000_000)
    expect(first).toEqual({ passed: LIMITS.smallDataBurst, violation: 'data-dribble' })
    pass(1000)
    expect(countUntil(meter, dribble, 1_000_000).passed).toBe(LIMITS.smallDataPerSecond)
    expect(meter.inspect(frame(0, 0, 1, Buffer.alloc(LIMITS.smallDataBytes)))).toBeNull()
  })

  test('`authenticated` is announced once', () => {
    let times = 0
    const meter = new FrameMeter(undefined, () => times++)
    meter.authenticated()
    meter.authenticated()
    expect(times).toBe(1)
  })

  test('verdict and position do not depend on how the octets are cut into chunks', () => {
    const legal = fc.array(
      fc.constantFrom(DATA, HEADERS_OPEN, frame(9, 4, 1), PING, SETTINGS, UNKNOWN, RESET, WINDOW),
      { maxLength: 40 },
    )
    fc.assert(
      fc.property(legal, fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 200 }), (frames, cuts) => {
        // Ends in a flood: where it is noticed shows whether the meter still knows the frame boundaries.
        const flood = Array.from({ length: 9 }, () => CONTINUATION)
        const bytes = Buffer.concat([http2Start(), ...frames, HEADERS_OPEN, ...flood])
        const meter = new FrameMeter()
        let at = 0
        let violation: FrameViolation | null = null
        for (const cut of [...cuts, bytes.length]) {
          if (at >= bytes.length || violation !== null) break
          violation = meter.inspect(bytes.subarray(at, at + cut))
          at = Math.min(bytes.length, at + cut)
        }
        expect(violation).toBe('continuation-flood')
        expect(at).toBe(bytes.length)
      }),
      { numRuns: 200 },
    )
  })
})
