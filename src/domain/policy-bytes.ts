import { sortedEntries } from '../base/utf8-order.ts'
import { ByteWriter } from '../wire/byte-writer.ts'
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
import { FILESYSTEM, type Kind, L7, L7_RULE, LANDLOCK, POLICY, PROCESS, RULE, type Shape } from './policy-fields.ts'
import { sortedRules } from './policy-rules.ts'

/**
 * The one byte form of a policy: fields in ascending number, proto3 defaults left out, map keys in ascending UTF-8
 * byte order (spec/policy.md §4.2). Equal policies have equal bytes, so hashes and comparisons never flip (W6).
 */

function writeScalar(out: ByteWriter, field: number, kind: Kind, value: unknown): void {
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

function writeMap(out: ByteWriter, field: number, shape: Shape, value: unknown): void {
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

/** Like `writeMap`, with rules whose bytes may be known. */
function writeRules(out: ByteWriter, field: number, policy: SandboxPolicy): void {
  for (const [key, rule] of sortedRules(policy))
    out.nested(field, () => {
      if (key !== '') out.text(1, key)
      const bytes = encodeRule(rule)
      if (bytes.length > 0) out.bytes(2, bytes)
    })
}

function isEmptyRecord(record: object): boolean {
  for (const _ in record) return false
  return true
}

function writeMessage(out: ByteWriter, message: object, shape: Shape): void {
  const fields = message as Readonly<Record<string, unknown>>
  for (const [field, name, kind] of shape) {
    const value = fields[name]
    if (value === undefined || value === null) continue
    if (typeof kind === 'string') writeScalar(out, field, kind, value)
    else if ('one' in kind) out.nested(field, () => writeMessage(out, value, kind.one))
    else if ('map' in kind && kind.map === RULE) writeRules(out, field, message as SandboxPolicy)
    else if ('map' in kind) writeMap(out, field, kind.map, value)
    else for (const item of value as readonly object[]) out.nested(field, () => writeMessage(out, item, kind.many))
  }
}

/** Encoding is synchronous, so one writer serves all policies and one the rules inside. */
const writer = new ByteWriter()
const ruleWriter = new ByteWriter()

function encode(message: object, shape: Shape, out: ByteWriter = writer): Buffer {
  out.reset()
  writeMessage(out, message, shape)
  return out.copy()
}

/** Rules are never changed in place, and a merge leaves most as they are: each is written once. */
const written = new WeakMap<NetworkPolicyRule, Buffer>()

/** The bytes under which a policy is stored and measured. */
export const encodePolicy = (policy: SandboxPolicy): Buffer => encode(policy, POLICY)

/** Message bytes of one section or rule, without tag and length. */
export const encodeFilesystem = (section: FilesystemPolicy): Buffer => encode(section, FILESYSTEM)
export const encodeLandlock = (section: LandlockPolicy): Buffer => encode(section, LANDLOCK)
export const encodeProcess = (section: ProcessPolicy): Buffer => encode(section, PROCESS)
export function encodeRule(rule: NetworkPolicyRule): Buffer {
  const known = written.get(rule)
  if (known) return known
  const bytes = encode(rule, RULE, ruleWriter)
  written.set(rule, bytes)
  return bytes
}

/** Equal for deeply equal rules, different otherwise. */
export const allowRuleKey = (rule: L7Rule): string => encode(rule, L7_RULE).toString('latin1')
export const denyRuleKey = (rule: L7DenyRule): string => encode(rule, L7).toString('latin1')
