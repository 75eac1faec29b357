import { describe, expect, test } from 'bun:test'
import { createSizeViolation, reservedNames, withDefaults } from '../../../src/domain/sandbox-spec.ts'
import { codec, type Init } from '../../../src/wire/codec.ts'
import type { SandboxSpec, Struct, Value } from '../../../src/wire/messages.generated.ts'

const specCodec = codec('openshell.v1.SandboxSpec')
const spec = (given: Init<SandboxSpec>): SandboxSpec => specCodec.decode(specCodec.encode(given))
const text = (length: number) => 'x'.repeat(length)
const many = (count: number, keyLength = 8, valueLength = 1) =>
  Object.fromEntries(Array.from({ length: count }, (_, n) => [String(n).padStart(keyLength, 'k'), text(valueLength)]))

/** A struct of exactly `bytes` encoded bytes. */
function structOf(bytes: number): { fields: { k: { stringValue: string } } } {
  for (let length = bytes; ; length--) {
    const struct = { fields: { k: { stringValue: text(length) } } }
    if (codec('google.protobuf.Struct').encode(struct).length <= bytes) return struct
  }
}
function policyOf(bytes: number): { network_policies: { r: { name: string } } } {
  for (let length = bytes; ; length--) {
    const policy = { network_policies: { r: { name: text(length) } } }
    if (codec('openshell.sandbox.v1.SandboxPolicy').encode(policy).length <= bytes) return policy
  }
}

/** Objects, or lists in an object, inside each other: `depth` levels in all. */
const nested = (depth: number, wrap: (inner: Init<Value>) => Init<Value>): Init<Struct> => {
  let inner: Init<Value> = { stringValue: 'x' }
  for (let level = 1; level < depth; level++) inner = wrap(inner)
  return { fields: { k: inner } }
}

type Build = (size: number) => Init<SandboxSpec>
const MAPS: [string, (map: Record<string, string>) => Init<SandboxSpec>][] = [
  ['spec.environment', map => ({ environment: map })],
  ['template.labels', map => ({ template: { labels: map } })],
  ['template.annotations', map => ({ template: { annotations: map } })],
  ['template.environment', map => ({ template: { environment: map } })],
]

/** Field, limit, builder, and the text of one over the limit. */
const ROWS: [string, number, Build, string][] = [
  ['providers', 32, n => ({ providers: Array(n).fill('p') }), 'providers list exceeds maximum (33 > 32)'],
  ['log_level', 32, n => ({ log_level: text(n) }), 'log_level exceeds maximum length (33 > 32)'],
  ...(['image', 'runtime_class_name', 'agent_socket'] as const).map((field): [string, number, Build, string] => [
    field,
    1024,
    n => ({ template: { [field]: text(n) } }),
    `template.${field} exceeds maximum length (1025 > 1024)`,
  ]),
  ...MAPS.flatMap(([field, build]): [string, number, Build, string][] => [
    [`${field} entries`, 128, n => build(many(n)), `${field} exceeds maximum entries (129 > 128)`],
    [`${field} key`, 256, n => build(many(1, n)), `${field} key exceeds maximum length (257 > 256)`],
    [`${field} value`, 8192, n => build(many(1, 8, n)), `${field} value exceeds maximum length (8193 > 8192)`],
  ]),
  ...(['resources', 'volume_claim_templates'] as const).map((field): [string, number, Build, string] => [
    field,
    65_536,
    n => ({ template: { [field]: structOf(n) } }),
    `template.${field} serialized size exceeds maximum (65537 > 65536)`,
  ]),
  ...(['resources', 'volume_claim_templates'] as const).flatMap((field): [string, number, Build, string][] => [
    [
      `I-07 ${field}, objects in each other`,
      32,
      n => ({ template: { [field]: nested(n, inner => ({ structValue: { fields: { k: inner } } })) } }),
      `template.${field} nesting exceeds maximum (33 > 32)`,
    ],
    [
      `I-07 ${field}, lists in each other`,
      32,
      n => ({ template: { [field]: nested(n, inner => ({ listValue: { values: [{ boolValue: true }, inner] } })) } }),
      `template.${field} nesting exceeds maximum (33 > 32)`,
    ],
  ]),
  ['policy', 262_144, n => ({ policy: policyOf(n) }), 'policy serialized size exceeds maximum (262145 > 262144)'],
]

describe('sizes: at the limit accepted, one over refused (spec/sandbox.md §3.1)', () => {
  test.each(ROWS)('%s', (_, limit, build, violation) => {
    expect(createSizeViolation('', spec(build(limit)))).toBeNull()
    expect(createSizeViolation('', spec(build(limit + 1)))).toBe(violation)
  })

  test('a name counts in bytes', () => {
    expect(createSizeViolation('é'.repeat(126), spec({}))).toBeNull()
    expect(createSizeViolation('é'.repeat(127), spec({}))).toBe('name exceeds maximum length (254 > 253)')
  })

  test('a name has no NUL', () => {
    expect(createSizeViolation('a\0b', spec({}))).toBe('name contains a NUL character')
  })

  test('the first broken row of the table wins', () => {
    const all = spec({
      providers: Array(33).fill('p'),
      log_level: text(33),
      environment: many(129),
      template: { image: text(1025) },
    })
    expect(createSizeViolation(text(254), all)).toStartWith('name')
    expect(createSizeViolation('', all)).toStartWith('providers')
  })
})

describe('defaults', () => {
  test('a template with the image of the driver, unless one was asked for', () => {
    expect(withDefaults(spec({}), 'base').template?.image).toBe('base')
    expect(withDefaults(spec({ template: { image: 'own' } }), 'base').template?.image).toBe('own')
    expect(withDefaults(spec({}), '').template?.image).toBe('')
  })

  test('a policy gets its process identity, no policy stays none', () => {
    expect(withDefaults(spec({}), '').policy).toBeNull()
    expect(withDefaults(spec({ policy: {} }), '').policy?.process).toMatchObject({
      run_as_user: 'sandbox',
      run_as_group: 'sandbox',
    })
    expect(withDefaults(spec({ policy: { process: { run_as_user: 'root' } } }), '').policy?.process?.run_as_user).toBe(
      'root',
    )
  })
})

test('reserved variables are found in both environments', () => {
  const found = spec({ environment: { OPENSHELL_B: '1', A: '1' }, template: { environment: { OPENSHELL_A: '1' } } })
  expect(reservedNames(found)).toEqual(['OPENSHELL_A', 'OPENSHELL_B'])
})
