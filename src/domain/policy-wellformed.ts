import { isUtf8 } from 'node:buffer'
import { POLICY, RULE, type Shape } from './policy-fields.ts'

/**
 * Tells from the bytes alone that a stored policy or rule is one, without making objects of it: a list of ten
 * thousand proposals, or a policy of 256 KiB, is looked through in a few milliseconds. False says nothing but that a
 * decoder has to judge: fields of later contracts, for one.
 */
export const isPlainPolicy = (bytes: Uint8Array): boolean => walk(new Cursor(bytes), bytes.length, POLICY)
export const isPlainRule = (bytes: Uint8Array): boolean => walk(new Cursor(bytes), bytes.length, RULE)

type Expect = 'text' | 'number' | 'numbers' | { readonly message: Shape } | { readonly entry: Shape }

/** What each field number of a shape holds. */
const tables = new Map<Shape, readonly (Expect | undefined)[]>()

function tableOf(shape: Shape): readonly (Expect | undefined)[] {
  const known = tables.get(shape)
  if (known) return known
  const table: (Expect | undefined)[] = []
  for (const [field, , kind] of shape) {
    if (kind === 'string' || kind === 'strings') table[field] = 'text'
    else if (kind === 'packed') table[field] = 'numbers'
    else if (typeof kind === 'string') table[field] = 'number'
    else if ('map' in kind) table[field] = { entry: kind.map }
    else table[field] = { message: 'one' in kind ? kind.one : kind.many }
  }
  tables.set(shape, table)
  return table
}

/** A place in the bytes. */
class Cursor {
  readonly bytes: Uint8Array
  at = 0

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  /** A varint of at most 32 bits before `end`; -1 for anything else. */
  varint(end: number): number {
    let value = 0
    for (let shift = 0; shift < 28; shift += 7) {
      if (this.at >= end) return -1
      const byte = this.bytes[this.at++]!
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
    const last = this.at < end ? this.bytes[this.at++]! : 0xff
    return last <= 0x0f ? value + last * 2 ** 28 : -1
  }

  /** Moves behind a text of `size` bytes; whether it is one. */
  text(size: number): boolean {
    const start = this.at
    this.at += size
    for (let i = start; i < this.at; i++) if (this.bytes[i]! >= 0x80) return isUtf8(this.bytes.subarray(start, this.at))
    return true
  }
}

const LENGTH_DELIMITED = 2

function walk(cursor: Cursor, end: number, shape: Shape): boolean {
  const table = tableOf(shape)
  while (cursor.at < end) {
    const tag = cursor.varint(end)
    const expected = tag < 0 ? undefined : table[tag >>> 3]
    if (expected === undefined) return false
    if (expected === 'number') {
      if ((tag & 7) !== 0 || cursor.varint(end) < 0) return false
      continue
    }
    if ((tag & 7) !== LENGTH_DELIMITED) return false
    const size = cursor.varint(end)
    if (size < 0 || cursor.at + size > end) return false
    if (!inside(cursor, cursor.at + size, expected)) return false
  }
  return true
}

/** One length-delimited field up to `end`. */
function inside(cursor: Cursor, end: number, expected: Exclude<Expect, 'number'>): boolean {
  if (expected === 'text') return cursor.text(end - cursor.at)
  if (expected === 'numbers') {
    while (cursor.at < end) if (cursor.varint(end) < 0) return false
    return true
  }
  return 'message' in expected ? walk(cursor, end, expected.message) : entry(cursor, end, expected.entry)
}

/** A map entry: a text as key, a message as value. */
function entry(cursor: Cursor, end: number, value: Shape): boolean {
  while (cursor.at < end) {
    const tag = cursor.varint(end)
    const size = cursor.varint(end)
    if ((tag !== KEY && tag !== VALUE) || size < 0 || cursor.at + size > end) return false
    const stop = cursor.at + size
    if (tag === KEY ? !cursor.text(size) : !walk(cursor, stop, value)) return false
  }
  return true
}

const KEY = (1 << 3) | LENGTH_DELIMITED
const VALUE = (2 << 3) | LENGTH_DELIMITED
