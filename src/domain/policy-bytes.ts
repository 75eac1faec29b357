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

/** Collects pieces and joins them once. */
class Bytes {
  readonly #parts: Uint8Array[] = []
  #size = 0

  add(part: Uint8Array): void {
    this.#parts.push(part)
    this.#size += part.length
  }

  varint(value: number): void {
    const bytes: number[] = []
    let rest = value >>> 0
    while (rest > 0x7f) {
      bytes.push((rest & 0x7f) | 0x80)
      rest >>>= 7
    }
    bytes.push(rest)
    this.add(Uint8Array.from(bytes))
  }

  delimited(field: number, body: Uint8Array): void {
    this.varint((field << 3) | 2)
    this.varint(body.length)
    this.add(body)
  }

  join(): Buffer {
    return Buffer.concat(this.#parts, this.#size)
  }
}

const utf8 = (text: string): Buffer => Buffer.from(text, 'utf8')

function encodeScalar(out: Bytes, field: number, kind: Kind, value: unknown): void {
  if (kind === 'string') {
    if (value !== '') out.delimited(field, utf8(value as string))
  } else if (kind === 'strings') {
    for (const item of value as readonly string[]) out.delimited(field, utf8(item))
  } else if (kind === 'packed') {
    const ports = value as readonly number[]
    if (ports.length === 0) return
    const body = new Bytes()
    for (const port of ports) body.varint(port)
    out.delimited(field, body.join())
  } else if (value) {
    out.varint(field << 3)
    out.varint(Number(value))
  }
}

function encodeMap(out: Bytes, field: number, shape: Shape, value: unknown): void {
  for (const [key, item] of sortedEntries(readMap(value as Record<string, object>))) {
    const entry = new Bytes()
    if (key !== '') entry.delimited(1, utf8(key))
    const body = encode(item, shape)
    if (body.length > 0) entry.delimited(2, body)
    out.delimited(field, entry.join())
  }
}

function encode(message: object, shape: Shape): Buffer {
  const out = new Bytes()
  const fields = message as Readonly<Record<string, unknown>>
  for (const [field, name, kind] of shape) {
    const value = fields[name]
    if (value === undefined || value === null) continue
    if (typeof kind === 'string') encodeScalar(out, field, kind, value)
    else if ('one' in kind) out.delimited(field, encode(value as object, kind.one))
    else if ('map' in kind) encodeMap(out, field, kind.map, value)
    else for (const item of value as readonly object[]) out.delimited(field, encode(item, kind.many))
  }
  return out.join()
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
