import { compareUtf8, sortedEntries } from '../base/utf8-order.ts'
import { type EffectiveSetting, SettingScope, type SettingValue } from '../wire/messages.generated.ts'

/** Runtime settings of the gateway and of sandboxes, and the JSON in which they are stored (spec/policy.md §3, spec/storage.md §5). */

export type SettingKind = 'string' | 'bool' | 'int'

/** One key that may be set. */
export interface SettingRow {
  readonly key: string
  readonly kind: SettingKind
}

/** TABLE of keys, in the order in which refusals list them. */
export const SETTINGS: readonly SettingRow[] = [{ key: 'ocsf_json_enabled', kind: 'bool' }]

/** The table of builds that test the settings themselves. */
export const DEVELOPMENT_SETTINGS: readonly SettingRow[] = [
  ...SETTINGS,
  { key: 'dummy_int', kind: 'int' },
  { key: 'dummy_bool', kind: 'bool' },
]

/** The key under which the global policy stands in the global settings; never a registered key. */
export const POLICY_KEY = 'policy'

export type StoredValue =
  | { readonly type: 'String'; readonly value: string }
  | { readonly type: 'Bool'; readonly value: boolean }
  | { readonly type: 'Int'; readonly value: bigint }
  /** Hexadecimal in JSON. */
  | { readonly type: 'Bytes'; readonly value: Uint8Array }

/** What one settings row holds. `revision` grows by one, modulo 2^64, with each change that has an effect. */
export interface SettingsBlob {
  readonly revision: bigint
  readonly values: ReadonlyMap<string, StoredValue>
}

export const NO_SETTINGS: SettingsBlob = { revision: 0n, values: new Map() }

const KINDS: Readonly<Record<SettingKind, StoredValue['type']>> = { string: 'String', bool: 'Bool', int: 'Int' }

/** The row of a key, by exact name. */
export const settingRow = (rows: readonly SettingRow[], key: string): SettingRow | undefined =>
  rows.find(row => row.key === key)

/** The text for a key that is not registered. */
export const unknownKey = (rows: readonly SettingRow[], key: string): string =>
  `unknown setting key '${key}'. Allowed keys: ${rows.map(row => row.key).join(', ')}`

/** The value a caller wants stored under `row`, or the text of the violation. */
export function parseSetting(
  row: SettingRow,
  sent: SettingValue | null,
): { value: StoredValue } | { violation: string } {
  if (!sent) return { violation: 'setting_value is required' }
  const value = toStored(sent)
  if (!value) return { violation: 'setting_value.value is required' }
  const expects = `setting '${row.key}' expects ${row.kind} value`
  if (value.type === 'Bytes') return { violation: `${expects}; bytes are not supported for this key` }
  return value.type === KINDS[row.kind] ? { value } : { violation: expects }
}

/** A value as the contract carries it, as it is stored; null when none is set. */
export function toStored(sent: SettingValue): StoredValue | null {
  switch (sent.value) {
    case 'string_value':
      return { type: 'String', value: sent.string_value }
    case 'bool_value':
      return { type: 'Bool', value: sent.bool_value }
    case 'int_value':
      return { type: 'Int', value: sent.int_value }
    case 'bytes_value':
      return { type: 'Bytes', value: sent.bytes_value }
    default:
      return null
  }
}

/** The one member of `SettingValue` that is set. */
export type SettingMember =
  | { string_value: string }
  | { bool_value: boolean }
  | { int_value: bigint }
  | { bytes_value: Uint8Array }

/** The reverse of `toStored`. */
export function toWire(stored: StoredValue): SettingMember {
  switch (stored.type) {
    case 'String':
      return { string_value: stored.value }
    case 'Bool':
      return { bool_value: stored.value }
    case 'Int':
      return { int_value: stored.value }
    case 'Bytes':
      return { bytes_value: stored.value }
  }
}

const sameValue = (a: StoredValue | undefined, b: StoredValue): boolean =>
  a?.type === b.type && (b.type === 'Bytes' ? Buffer.from(a.value as Uint8Array).equals(b.value) : a.value === b.value)

const next = (blob: SettingsBlob, values: ReadonlyMap<string, StoredValue>): SettingsBlob => ({
  revision: BigInt.asUintN(64, blob.revision + 1n),
  values,
})

/** The blob with `key` set; the same object when nothing changes. */
export const withSetting = (blob: SettingsBlob, key: string, value: StoredValue): SettingsBlob =>
  sameValue(blob.values.get(key), value) ? blob : next(blob, new Map(blob.values).set(key, value))

/** The blob without `key`; the same object when it was not there. */
export function withoutSetting(blob: SettingsBlob, key: string): SettingsBlob {
  if (!blob.values.has(key)) return blob
  const values = new Map(blob.values)
  values.delete(key)
  return next(blob, values)
}

/** One setting as a sandbox sees it. */
export interface Effective {
  readonly value: StoredValue | null
  readonly scope: EffectiveSetting['scope']
}

/** Registered keys with the value in force: the global one wins over the sandbox's; unset keys are there without value. */
export function effectiveSettings(
  rows: readonly SettingRow[],
  global: SettingsBlob,
  sandbox: SettingsBlob,
): Map<string, Effective> {
  const merged = new Map<string, Effective>()
  for (const { key } of rows) {
    const ours = global.values.get(key)
    const own = sandbox.values.get(key)
    if (ours) merged.set(key, { value: ours, scope: SettingScope.SETTING_SCOPE_GLOBAL })
    else if (own) merged.set(key, { value: own, scope: SettingScope.SETTING_SCOPE_SANDBOX })
    else merged.set(key, { value: null, scope: SettingScope.SETTING_SCOPE_UNSPECIFIED })
  }
  return merged
}

/** The stored form: keys ascending, no white space, integers exact. */
export function encodeSettings(blob: SettingsBlob): string {
  const entries = sortedEntries(blob.values).map(([key, stored]) => {
    const value = stored.type === 'Bytes' ? Buffer.from(stored.value).toString('hex') : stored.value
    const text = typeof value === 'bigint' ? value.toString() : JSON.stringify(value)
    return `${JSON.stringify(key)}:{"type":"${stored.type}","value":${text}}`
  })
  return `{"revision":${blob.revision},"settings":{${entries.join(',')}}}`
}

/** Stored settings that cannot be read. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError'
}

const U64_MOST = 2n ** 64n - 1n
const I64_MOST = 2n ** 63n - 1n

/** Reads the stored form; members it does not know are ignored. Throws `SettingsError`. */
export function decodeSettings(payload: Uint8Array): SettingsBlob {
  const root = member(parseExact(Buffer.from(payload).toString('utf8')), 'document')
  const revision = root['revision']
  if (typeof revision !== 'bigint' || revision < 0n || revision > U64_MOST)
    throw new SettingsError('revision is not a u64')
  const values = new Map<string, StoredValue>()
  for (const [key, item] of Object.entries(member(root['settings'], 'settings'))) values.set(key, readValue(key, item))
  return { revision, values: new Map([...values].sort(([a], [b]) => compareUtf8(a, b))) }
}

/** JSON with integers as bigint: settings hold the full 64-bit range. */
function parseExact(text: string): unknown {
  try {
    return JSON.parse(text, (_key, value, context?: { readonly source?: string }) =>
      typeof value === 'number' && context?.source !== undefined && /^-?\d+$/.test(context.source)
        ? BigInt(context.source)
        : value,
    )
  } catch (cause) {
    throw new SettingsError('not JSON', { cause })
  }
}

function member(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new SettingsError(`${what} is not an object`)
  return value as Readonly<Record<string, unknown>>
}

function readValue(key: string, item: unknown): StoredValue {
  const { type, value } = member(item, `setting '${key}'`)
  if (type === 'String' && typeof value === 'string') return { type, value }
  if (type === 'Bool' && typeof value === 'boolean') return { type, value }
  if (type === 'Int' && typeof value === 'bigint' && value <= I64_MOST && value >= -I64_MOST - 1n)
    return { type, value }
  if (type === 'Bytes' && typeof value === 'string') {
    // Decoding stops at what is no hexadecimal digit; a global policy is half a megabyte of them.
    const bytes = Buffer.from(value, 'hex')
    if (bytes.length * 2 === value.length) return { type, value: bytes }
  }
  throw new SettingsError(`setting '${key}' has a malformed value`)
}
