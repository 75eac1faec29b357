import { sortedEntries } from '../base/utf8-order.ts'
import { readMap } from '../wire/maps.ts'
import type {
  FilesystemPolicy,
  L7DenyRule,
  L7Rule,
  LandlockPolicy,
  NetworkPolicyRule,
  ProcessPolicy,
  SandboxPolicy,
} from '../wire/messages.generated.ts'

/**
 * The one byte form of a policy: fields in ascending number, proto3 defaults left out, map keys in ascending UTF-8
 * byte order (spec/policy.md §4.2). Equal policies have equal bytes, so hashes and comparisons never flip (W6).
 */

type Kind = 'string' | 'strings' | 'bool' | 'uint32' | 'packed'
type Nested = { readonly one: Shape } | { readonly many: Shape } | { readonly map: Shape }
type Row = readonly [field: number, name: string, kind: Kind | Nested]
type Shape = readonly Row[]

const MATCHER: Shape = [
  [1, 'glob', 'string'],
  [2, 'any', 'strings'],
]
/** L7Allow and L7DenyRule have the same fields. */
const L7: Shape = [
  [1, 'method', 'string'],
  [2, 'path', 'string'],
  [3, 'command', 'string'],
  [4, 'query', { map: MATCHER }],
]
const L7_RULE: Shape = [[1, 'allow', { one: L7 }]]
const ENDPOINT: Shape = [
  [1, 'host', 'string'],
  [2, 'port', 'uint32'],
  [3, 'protocol', 'string'],
  [4, 'tls', 'string'],
  [5, 'enforcement', 'string'],
  [6, 'access', 'string'],
  [7, 'rules', { many: L7_RULE }],
  [8, 'allowed_ips', 'strings'],
  [9, 'ports', 'packed'],
  [10, 'deny_rules', { many: L7 }],
  [11, 'allow_encoded_slash', 'bool'],
]
const BINARY: Shape = [
  [1, 'path', 'string'],
  [2, 'harness', 'bool'],
]
const RULE: Shape = [
  [1, 'name', 'string'],
  [2, 'endpoints', { many: ENDPOINT }],
  [3, 'binaries', { many: BINARY }],
]
const FILESYSTEM: Shape = [
  [1, 'include_workdir', 'bool'],
  [2, 'read_only', 'strings'],
  [3, 'read_write', 'strings'],
]
const LANDLOCK: Shape = [[1, 'compatibility', 'string']]
const PROCESS: Shape = [
  [1, 'run_as_user', 'string'],
  [2, 'run_as_group', 'string'],
]
const POLICY: Shape = [
  [1, 'version', 'uint32'],
  [2, 'filesystem', { one: FILESYSTEM }],
  [3, 'landlock', { one: LANDLOCK }],
  [4, 'process', { one: PROCESS }],
  [5, 'network_policies', { map: RULE }],
]

const FIRST_BYTES = 65_536
/** A varint of 32 bits. */
const VARINT_MOST = 5
/** Texts up to this are written without asking the engine how long their bytes are; one length byte suffices. */
const SHORT_CHARS = 100

/** One growing buffer, written from front to back and used again: a policy of a thousand endpoints has no thousand pieces. */
class Writer {
  #bytes = Buffer.allocUnsafe(FIRST_BYTES)
  #at = 0

  reset(): void {
    this.#at = 0
  }

  get length(): number {
    return this.#at
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return
    const larger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#at + bytes))
    this.#bytes.copy(larger, 0, 0, this.#at)
    this.#bytes = larger
  }

  varint(value: number): void {
    this.#reserve(VARINT_MOST)
    let rest = value >>> 0
    while (rest > 0x7f) {
      this.#bytes[this.#at++] = (rest & 0x7f) | 0x80
      rest >>>= 7
    }
    this.#bytes[this.#at++] = rest
  }

  text(field: number, value: string): void {
    this.varint((field << 3) | 2)
    if (value.length <= SHORT_CHARS && this.#ascii(value)) return
    const size = Buffer.byteLength(value)
    this.varint(size)
    this.#reserve(size)
    this.#bytes.write(value, this.#at, 'utf8')
    this.#at += size
  }

  /** Length and bytes of a short text; false, and nothing written, when it is not plain ASCII. */
  #ascii(value: string): boolean {
    this.#reserve(value.length + 1)
    const bytes = this.#bytes
    const start = this.#at
    bytes[start] = value.length
    for (let i = 0; i < value.length; i++) {
      const unit = value.charCodeAt(i)
      if (unit > 0x7f) return false
      bytes[start + 1 + i] = unit
    }
    this.#at = start + 1 + value.length
    return true
  }

  /** A length-delimited field; its length takes one byte until it shows to need more. */
  nested(field: number, write: () => void): void {
    this.varint((field << 3) | 2)
    this.#reserve(VARINT_MOST)
    const start = ++this.#at
    write()
    const size = this.#at - start
    if (size <= 0x7f) {
      this.#bytes[start - 1] = size
      return
    }
    let lengthBytes = 1
    for (let rest = size >>> 7; rest > 0; rest >>>= 7) lengthBytes++
    this.#reserve(lengthBytes)
    this.#bytes.copyWithin(start - 1 + lengthBytes, start, this.#at)
    this.#at = start - 1
    this.varint(size)
    this.#at += size
  }

  /** Forgets what was written behind `length`. */
  cut(length: number): void {
    this.#at = length
  }

  copy(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#at))
  }
}

function writeScalar(out: Writer, field: number, kind: Kind, value: unknown): void {
  if (kind === 'string') {
    if (value !== '') out.text(field, value as string)
  } else if (kind === 'strings') {
    for (const item of value as readonly string[]) out.text(field, item)
  } else if (kind === 'packed') {
    const ports = value as readonly number[]
    if (ports.length > 0)
      out.nested(field, () => {
        for (const port of ports) out.varint(port)
      })
  } else if (value) {
    out.varint(field << 3)
    out.varint(Number(value))
  }
}

function writeMap(out: Writer, field: number, shape: Shape, value: unknown): void {
  if (isEmptyRecord(value as object)) return
  for (const [key, item] of sortedEntries(readMap(value as Record<string, object>)))
    out.nested(field, () => {
      if (key !== '') out.text(1, key)
      const before = out.length
      let isEmpty = true
      out.nested(2, () => {
        const start = out.length
        writeMessage(out, item, shape)
        isEmpty = out.length === start
      })
      if (isEmpty) out.cut(before)
    })
}

function isEmptyRecord(record: object): boolean {
  for (const _ in record) return false
  return true
}

function writeMessage(out: Writer, message: object, shape: Shape): void {
  const fields = message as Readonly<Record<string, unknown>>
  for (const [field, name, kind] of shape) {
    const value = fields[name]
    if (value === undefined || value === null) continue
    if (typeof kind === 'string') writeScalar(out, field, kind, value)
    else if ('one' in kind) out.nested(field, () => writeMessage(out, value, kind.one))
    else if ('map' in kind) writeMap(out, field, kind.map, value)
    else for (const item of value as readonly object[]) out.nested(field, () => writeMessage(out, item, kind.many))
  }
}

/** Encoding is synchronous, so one writer serves all. */
const writer = new Writer()

function encode(message: object, shape: Shape): Buffer {
  writer.reset()
  writeMessage(writer, message, shape)
  return writer.copy()
}

/** The bytes under which a policy is stored and measured. */
export const encodePolicy = (policy: SandboxPolicy): Buffer => encode(policy, POLICY)

/** Message bytes of one section or rule, without tag and length. */
export const encodeFilesystem = (section: FilesystemPolicy): Buffer => encode(section, FILESYSTEM)
export const encodeLandlock = (section: LandlockPolicy): Buffer => encode(section, LANDLOCK)
export const encodeProcess = (section: ProcessPolicy): Buffer => encode(section, PROCESS)
export const encodeRule = (rule: NetworkPolicyRule): Buffer => encode(rule, RULE)

/** Equal for deeply equal rules, different otherwise. */
export const allowRuleKey = (rule: L7Rule): string => encode(rule, L7_RULE).toString('latin1')
export const denyRuleKey = (rule: L7DenyRule): string => encode(rule, L7).toString('latin1')
