import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { FrameReader, type FrameSink } from '../../../src/live/relay-frame.ts'
import { MessageReader } from '../../../src/wire/message-reader.ts'

const MIB = 1 << 20

function prefixed(message: Uint8Array, flag = 0, length = message.length): Buffer {
  const head = Buffer.alloc(5)
  head[0] = flag
  head.writeUInt32BE(length, 1)
  return Buffer.concat([head, message])
}

test('messages of any size in pieces of any size come out as they went in', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1 }),
      (messages, sizes) => {
        const reader = new MessageReader(MIB)
        const wire = Buffer.concat(messages.map(message => prefixed(message)))
        const got: Buffer[] = []
        for (let at = 0, n = 0; at < wire.length; n++) {
          const size = sizes[n % sizes.length]!
          got.push(...reader.push(wire.subarray(at, at + size)))
          at += size
        }
        expect(got.map(message => message.toString('hex'))).toEqual(
          messages.map(message => Buffer.from(message).toString('hex')),
        )
        expect(reader.fault).toBeNull()
      },
    ),
    { numRuns: 200 },
  )
})

test.each([
  ['a compressed message', prefixed(Buffer.from('x'), 1), 'compressed'],
  ['a message over the limit', prefixed(Buffer.alloc(0), 0, MIB + 1), { bytes: MIB + 1 }],
] as const)('%s is the end: what came before counts, nothing after it does', (_what, wire, fault) => {
  const reader = new MessageReader(MIB)
  const good = prefixed(Buffer.from('ok'))
  expect(reader.push(Buffer.concat([good, wire, good])).map(String)).toEqual(['ok'])
  expect(reader.fault).toEqual(fault)
  expect(reader.push(good)).toEqual([])
})

describe('a message of 1 MiB whose end comes byte by byte costs what it weighs (F-06)', () => {
  const HEAD = prefixed(Buffer.concat([Buffer.from([0x1a, 0xbc, 0xff, 0x3f]), Buffer.alloc(MIB - 100_000)]), 0, MIB)
  const BYTE = Buffer.from([0])
  const sink: FrameSink = { init() {}, data() {}, odd() {} }
  test.each([
    ['on a control stream', new MessageReader(MIB)],
    ['on a relay', new FrameReader(sink)],
  ])('%s', (_where, reader) => {
    const begun = performance.now()
    reader.push(HEAD)
    for (let n = 0; n < 20_000; n++) reader.push(BYTE)
    // With every byte a copy of all that is held it would be 20 GB.
    expect(performance.now() - begun).toBeLessThan(1000)
  })
})
