import { describe, expect, setDefaultTimeout, test } from 'bun:test'
import fc from 'fast-check'
import { configRevision } from '../../../src/domain/config-revision.ts'
import {
  DEVELOPMENT_SETTINGS,
  decodeSettings,
  effectiveSettings,
  encodeSettings,
  NO_SETTINGS,
  parseSetting,
  SETTINGS,
  type SettingsBlob,
  SettingsError,
  type StoredValue,
  withoutSetting,
  withSetting,
} from '../../../src/domain/settings.ts'
import { codec } from '../../../src/wire/codec.ts'

// FC_RUNS may ask for many.
setDefaultTimeout(600_000)

const HASH = '21ca0b7c8c0ee3fe71660bb18960bdb2d572b6904f6a22338eba727ca26add43'
const blob = (...entries: [string, StoredValue][]): SettingsBlob => ({ revision: 1n, values: new Map(entries) })
const json = (value: StoredValue): [string, StoredValue] => ['ocsf_json_enabled', value]
const YES: StoredValue = { type: 'Bool', value: true }
const NO: StoredValue = { type: 'Bool', value: false }

const value: fc.Arbitrary<StoredValue> = fc.oneof(
  fc.string({ unit: 'binary' }).map(text => ({ type: 'String' as const, value: text.toWellFormed() })),
  fc.boolean().map(flag => ({ type: 'Bool' as const, value: flag })),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(number => ({ type: 'Int' as const, value: number })),
  fc.uint8Array({ maxLength: 20 }).map(bytes => ({ type: 'Bytes' as const, value: Buffer.from(bytes) })),
)

describe('stored settings (spec/storage.md §5)', () => {
  test('every blob comes back, to the last bit of a 64-bit integer', () => {
    const key = fc.oneof(fc.string(), fc.constantFrom('__proto__', 'constructor', 'é', '😀'))
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        fc.dictionary(fc.string(), value),
        fc.array(fc.tuple(key, value)),
        (revision, more, entries) => {
          const settings: SettingsBlob = {
            revision,
            values: new Map([...Object.entries(more), ...entries].map(([name, item]) => [name.toWellFormed(), item])),
          }
          const back = decodeSettings(Buffer.from(encodeSettings(settings)))
          expect(back.revision).toBe(revision)
          expect(new Map([...back.values].sort())).toEqual(new Map([...settings.values].sort()))
          expect(encodeSettings(back)).toBe(encodeSettings(settings))
        },
      ),
      { numRuns: Number(process.env['FC_RUNS'] ?? 200) },
    )
  })

  test('is the form that others write: no white space, keys ascending', () => {
    expect(encodeSettings({ revision: 2n, values: new Map([json(YES)]) })).toBe(
      '{"revision":2,"settings":{"ocsf_json_enabled":{"type":"Bool","value":true}}}',
    )
    const odd =
      '{ "settings" : {"z":{"type":"Int","value":-9223372036854775808},"a":{"value":"00FF","type":"Bytes"}}, "revision" : 18446744073709551615, "unknown" : [1] }'
    expect(encodeSettings(decodeSettings(Buffer.from(odd)))).toBe(
      '{"revision":18446744073709551615,"settings":{"a":{"type":"Bytes","value":"00ff"},"z":{"type":"Int","value":-9223372036854775808}}}',
    )
  })

  test.each([
    '',
    '[]',
    '{}',
    '{"revision":-1,"settings":{}}',
    '{"revision":1.5,"settings":{}}',
    '{"revision":18446744073709551616,"settings":{}}',
    '{"revision":1,"settings":{"a":{"type":"Int","value":9223372036854775808}}}',
    '{"revision":1,"settings":{"a":{"type":"Bytes","value":"0"}}}',
    '{"revision":1,"settings":{"a":1}}',
  ])('%p is damaged', text => expect(() => decodeSettings(Buffer.from(text))).toThrow())

  test.each([
    '{"__proto__":{"revision":1,"settings":{}}}',
    '{"revision":1,"__proto__":{"settings":{}}}',
    '{"revision":1,"settings":{"a":{"__proto__":{"type":"Bool","value":true}}}}',
    '{"revision":1,"settings":{"a":{"type":"constructor","value":true}}}',
    '{"revision":1e3,"settings":{}}',
    '{"revision":1e999,"settings":{}}',
    '['.repeat(100_000),
  ])('I-11 %.70p is damaged: only own members count, and only numbers written as integers', text =>
    expect(() => decodeSettings(Buffer.from(text))).toThrow(SettingsError),
  )

  test('I-11 of a member that is there twice the last one counts, as for every reader of the row', () => {
    const twice = '{"revision":1,"revision":2,"settings":{"a":{"type":"Int","value":1,"value":9007199254740993}}}'
    expect(encodeSettings(decodeSettings(Buffer.from(twice)))).toBe(
      '{"revision":2,"settings":{"a":{"type":"Int","value":9007199254740993}}}',
    )
  })

  test('a revision counts changes that have an effect, and wraps', () => {
    const one = withSetting(NO_SETTINGS, 'k', YES)
    expect([
      one.revision,
      withSetting(one, 'k', YES),
      withoutSetting(one, 'z'),
      withoutSetting(one, 'k').revision,
    ]).toEqual([1n, one, one, 2n])
    expect(withSetting({ revision: 2n ** 64n - 1n, values: new Map() }, 'k', YES).revision).toBe(0n)
  })
})

describe('values', () => {
  const sent = codec('openshell.sandbox.v1.SettingValue')
  test.each([
    [{}, 'setting_value.value is required'],
    [{ string_value: 'true' }, "setting 'ocsf_json_enabled' expects bool value"],
    [{ int_value: 1 }, "setting 'ocsf_json_enabled' expects bool value"],
    [
      { bytes_value: Buffer.of(1) },
      "setting 'ocsf_json_enabled' expects bool value; bytes are not supported for this key",
    ],
  ])('%p is refused', (init, violation) =>
    expect(parseSetting(SETTINGS[0]!, sent.decode(sent.encode(init as never)))).toEqual({ violation }),
  )
  test('the global value wins, unset keys are there, policy and strange keys are not', () => {
    const seen = effectiveSettings(
      DEVELOPMENT_SETTINGS,
      blob(json(NO), ['policy', YES]),
      blob(json(YES), ['dummy_int', { type: 'Int', value: 7n }], ['old', YES]),
    )
    expect([...seen]).toEqual([
      ['ocsf_json_enabled', { value: NO, scope: 2 }],
      ['dummy_int', { value: { type: 'Int', value: 7n }, scope: 1 }],
      ['dummy_bool', { value: null, scope: 0 }],
    ])
  })
})

describe('config revision (spec/policy.md §4.3)', () => {
  test.each([
    [1, null, SETTINGS, NO_SETTINGS, NO_SETTINGS, 9818314756715133604n],
    [1, HASH, SETTINGS, NO_SETTINGS, NO_SETTINGS, 259528162185947343n],
    [2, HASH, SETTINGS, NO_SETTINGS, NO_SETTINGS, 10812800958412754557n],
    [1, HASH, SETTINGS, NO_SETTINGS, blob(json(YES)), 11356195406912025973n],
    [1, HASH, SETTINGS, blob(json(YES)), NO_SETTINGS, 684633696164932318n],
    [1, null, SETTINGS, blob(json(NO)), NO_SETTINGS, 10699482075128679822n],
    [
      1,
      HASH,
      DEVELOPMENT_SETTINGS,
      blob(['dummy_int', { type: 'Int', value: 7n }] as [string, StoredValue]),
      blob(['dummy_bool', YES]),
      5246920157997256473n,
    ],
  ])('%#', (source, policyHash, rows, global, sandbox, expected) =>
    expect(configRevision({ source, policyHash, settings: effectiveSettings(rows, global, sandbox) })).toBe(expected),
  )
})
