import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { encodeData, encodeInit, FrameReader, type FrameSink } from '../../../src/live/relay-frame.ts'
import { codec } from '../../../src/wire/codec.ts'

const frames = codec('openshell.v1.RelayFrame')

function reader() {
  const seen: string[] = []
  const data: Buffer[] = []
  const sink: FrameSink = {
    init: id => seen.push(`init ${id}`),
    data: bytes => data.push(bytes),
    odd: reason => seen.push(`odd ${reason}`),
  }
  return { reader: new FrameReader(sink), seen, bytes: () => Buffer.concat(data), pieces: data }
}

const prefixed = (message: Uint8Array): Buffer => {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(message.length, 1)
  return Buffer.concat([head, message])
}

/** Cuts bytes at the given places. */
const cut = (bytes: Buffer, sizes: readonly number[]): Buffer[] => {
  const pieces: Buffer[] = []
  let at = 0
  for (let i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length]!
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  return pieces
}

test('frames of any size in pieces of any size give the bytes that went in (R-12)', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
      (parts, sizes) => {
        const r = reader()
        const wire = Buffer.concat(parts.map(data => prefixed(frames.encode({ data }))))
        for (const piece of cut(wire, sizes)) r.reader.push(piece)
        expect(r.bytes().equals(Buffer.concat(parts))).toBe(true)
        expect(r.reader.midFrame).toBe(false)
      },
    ),
    { numRuns: 200 },
  )
})

test.each([0, 1, 127, 128, 16_383, 16_384, 16_385, 100_000])(
  '%d bytes leave as frames of at most 16 KiB that others can read',
  size => {
    const bytes = Buffer.alloc(size, 'x')
    const wire = encodeData(bytes)
    const parts: Buffer[] = []
    for (let at = 0; at < wire.length; ) {
      const length = wire.readUInt32BE(at + 1)
      const frame = frames.decode(wire.subarray(at + 5, at + 5 + length))
      expect(frame.payload).toBe('data')
      expect(frame.data.length).toBeGreaterThan(0)
      expect(frame.data.length).toBeLessThanOrEqual(16_384)
      parts.push(Buffer.from(frame.data))
      at += 5 + length
    }
    expect(Buffer.concat(parts).equals(bytes)).toBe(true)
  },
)

test('init is what the codec writes', () => {
  const id = 'd7e1f1aa-0000-4000-8000-000000000000'
  expect(encodeInit(id).equals(prefixed(frames.encode({ init: { channel_id: id } })))).toBe(true)
  const r = reader()
  for (const piece of cut(encodeInit(id), [3])) r.reader.push(piece)
  expect(r.seen).toEqual([`init ${id}`])
})

test('data passes through before its frame is complete, and is not copied', () => {
  const r = reader()
  const wire = prefixed(frames.encode({ data: Buffer.alloc(1000, 'y') }))
  r.reader.push(wire.subarray(0, 500))
  expect(r.bytes().length).toBe(500 - 8)
  expect(r.pieces[0]!.buffer).toBe(wire.buffer)
  expect(r.reader.midFrame).toBe(true)
})

test.each([
  ['an empty message', prefixed(Buffer.alloc(0)), 'odd empty'],
  ['an unknown field alone', prefixed(Buffer.from([0x1a, 1, 7])), 'odd empty'],
  ['a message over the limit', Buffer.from([0, 0, 0x10, 0, 1]), 'odd too large'],
  ['a compressed message', Buffer.from([1, 0, 0, 0, 1, 0]), 'odd compressed'],
  ['a field past the end', prefixed(Buffer.from([0x1a, 9, 7])), 'odd malformed'],
  ['a channel id that is not UTF-8', prefixed(Buffer.from([0x0a, 4, 0x0a, 2, 0xff, 0xfe])), 'odd malformed'],
])('%s ends the direction and nothing after it counts', (_name, wire, event) => {
  const r = reader()
  r.reader.push(Buffer.concat([encodeData(Buffer.from('ok')), wire, encodeData(Buffer.from('never'))]))
  expect(r.seen).toEqual([event])
  expect(r.bytes().toString()).toBe('ok')
})

test('unknown fields around data are passed over; of init and data the last counts', () => {
  const r = reader()
  r.reader.push(prefixed(Buffer.from([0x1a, 1, 7, 0x12, 2, 0x61, 0x62, 0x20, 5])))
  r.reader.push(
    prefixed(
      Buffer.concat([frames.encode({ data: Buffer.from('lost') }), frames.encode({ init: { channel_id: 'c' } })]),
    ),
  )
  expect(r.bytes().toString()).toBe('ab')
  expect(r.seen).toEqual(['init c'])
})

test('no bytes whatever make it throw or hold more than a message (F-19)', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 10 }), pieces => {
      const r = reader()
      for (const piece of pieces) r.reader.push(Buffer.from(piece))
    }),
    { numRuns: 500 },
  )
})
