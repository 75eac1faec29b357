import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import {
  createViolation,
  credentialReference,
  dangerousKeys,
  mergeProvider,
  redact,
} from '../../../src/domain/provider.ts'
import { codec, type Init } from '../../../src/wire/codec.ts'
import { readMap } from '../../../src/wire/maps.ts'
import type { Provider } from '../../../src/wire/messages.generated.ts'

const providerCodec = codec('openshell.datamodel.v1.Provider')
const provider = (given: Init<Provider> = {}): Provider =>
  providerCodec.decode(
    providerCodec.encode({ metadata: { id: 'i', name: 'n' }, type: 'generic', credentials: { K: 'v' }, ...given }),
  )
const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, n) => [`k${n}`, 'v']))
const text = (length: number) => 'k'.repeat(length)

describe('create: limits and order (spec/providers.md §3)', () => {
  const rows: [string, Init<Provider>, string | null][] = [
    ['fine', {}, null],
    [
      'bad label before type',
      { metadata: { id: 'i', name: 'n', labels: { '-x': 'y' } }, type: '' },
      "label key name segment must start with alphanumeric character: '-x'",
    ],
    ['blank type', { type: ' \t\u2003' }, 'provider.type is required'],
    ['no credentials, before sizes', { credentials: {}, type: text(65) }, 'provider.credentials must not be empty'],
    ['name of 253', { metadata: { id: 'i', name: text(253) } }, null],
    [
      'name of 254 bytes in 127 letters',
      { metadata: { id: 'i', name: 'é'.repeat(127) } },
      'provider.name exceeds maximum length (254 > 253)',
    ],
    ['type of 64', { type: text(64) }, null],
    ['type of 65', { type: text(65) }, 'provider.type exceeds maximum length (65 > 64)'],
    ['32 credentials', { credentials: many(32) }, null],
    ['33 credentials', { credentials: many(33) }, 'provider.credentials exceeds maximum entries (33 > 32)'],
    ['key of 256', { credentials: { [text(256)]: 'v' } }, null],
    [
      'key of 257, before its value',
      { credentials: { [text(257)]: text(8193) } },
      'provider.credentials key exceeds maximum length (257 > 256)',
    ],
    ['value of 8192', { credentials: { K: text(8192) } }, null],
    [
      'value of 8193',
      { credentials: { K: text(8193) } },
      'provider.credentials value exceeds maximum length (8193 > 8192)',
    ],
    ['64 config entries', { config: many(64) }, null],
    ['65 config entries', { config: many(65) }, 'provider.config exceeds maximum entries (65 > 64)'],
    ['config keys may be anything', { config: { '': 'x', 'a b': '' } }, null],
    ['empty credential value', { credentials: { K: '' } }, null],
  ]
  test.each(rows)('%s', (_, given, violation) => {
    expect(createViolation(provider(given))).toBe(violation)
  })

  test.each(['a', 'AbC_1.2-3', 'rsv_', '0'])('name %p is fine', name => {
    expect(createViolation(provider({ metadata: { id: 'i', name } }))).toBeNull()
  })

  test.each([
    'a b',
    ' a',
    'a ',
    '../etc/passwd',
    'a\nb',
    'a\0b',
    '\u001b[2J',
    'prövider',
    '\u0430dmin',
    '-',
    '.',
    '_',
    'a-',
  ])('name %p is refused (W8, I-10)', name => {
    expect(createViolation(provider({ metadata: { id: 'i', name } }))).toStartWith('provider.name must consist of')
  })

  test.each(['BAD-KEY', 'nested.api_key', '1PATH', 'BAD KEY', 'X=Y', '', 'ÄPFEL', 'A\nB'])(
    'key %p is refused (W7)',
    key => {
      expect(createViolation(provider({ credentials: { [key]: 'canary' } }))).toBe(
        `provider.credentials key '${key}' is not the name of an environment variable`,
      )
    },
  )

  test.each(['a\nb', 'a\rb', 'a\0b'])('a value with %j is refused without being told (W7)', value => {
    expect(createViolation(provider({ credentials: { K: value } }))).toBe(
      "provider.credentials value of 'K' contains a line break or NUL",
    )
  })
})

describe('merge (spec/providers.md §5)', () => {
  const existing = provider({ type: 'OpenAI ', credentials: { A: '1', B: '2' }, config: { x: '1' } })
  const merge = (update: Init<Provider>) => mergeProvider(existing, provider({ type: '', credentials: {}, ...update }))
  const credentials = (update: Init<Provider>) => {
    const merged = merge(update)
    return merged.ok ? merged.provider.credentials : merged.violation
  }

  test.each([
    ['nothing', {}, { A: '1', B: '2' }],
    ['rotate and add', { credentials: { B: 'two', C: '3' } }, { A: '1', B: 'two', C: '3' }],
    ['remove, absent too', { credentials: { A: '', NOPE: '' } }, { B: '2' }],
    ['remove all', { credentials: { A: '', B: '' } }, {}],
    ['remove an absent odd key', { credentials: { [text(257)]: '' } }, { A: '1', B: '2' }],
    ['a placeholder for a known key keeps it (W6)', { credentials: { A: 'REDACTED' } }, { A: '1', B: '2' }],
    [
      'a placeholder for a new one',
      { credentials: { N: 'REDACTED' } },
      "provider.credentials value of 'N' is the placeholder REDACTED",
    ],
    [
      'an unfit key',
      { credentials: { 'not-fit': 'x' } },
      "provider.credentials key 'not-fit' is not the name of an environment variable",
    ],
    ['same type in another case', { type: '\topenai' }, { A: '1', B: '2' }],
    ['another type', { type: 'anthropic' }, 'provider type cannot be changed; delete and recreate the provider'],
    ['too many together', { credentials: many(31) }, 'provider.credentials exceeds maximum entries (33 > 32)'],
  ] as [string, Init<Provider>, unknown][])('%s', (_, update, expected) => {
    expect(credentials(update)).toEqual(expected as never)
  })

  test('identity, type and labels are the existing ones', () => {
    const merged = merge({ metadata: { id: 'other', name: 'other', labels: { '-bad': 'x' } }, type: 'openai' })
    expect(merged.ok && merged.provider).toMatchObject({
      metadata: { id: 'i', name: 'n', labels: {} },
      type: 'OpenAI ',
    })
  })

  test('odd keys of old records do not stand in the way of an update', () => {
    const old = provider({ credentials: { 'bad-key': 'x' } })
    expect(mergeProvider(old, provider({ type: '', credentials: { GOOD: 'y' } })).ok).toBe(true)
  })
})

test('no credential value survives redaction, every key does', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.string({ minLength: 12 })), credentials => {
      const shown = redact(provider({ credentials: new Map(Object.entries(credentials)) }))
      expect([...readMap(shown.credentials).keys()].toSorted()).toEqual(Object.keys(credentials).toSorted())
      expect(new Set(readMap(shown.credentials).values()).size).toBeLessThanOrEqual(1)
    }),
    { numRuns: 100 },
  )
})

test.each([
  ['openshell:resolve:credential:github-api', 'github-api'],
  ['openshell:resolve:credential:', null],
  [' openshell:resolve:credential:x', null],
  ['openshell:resolve:credential:a b', null],
  ['openshell:resolve:env:ONE', null],
  [`openshell:resolve:credential:${'x'.repeat(129)}`, null],
])('reference %p', (value, name) => {
  expect(credentialReference(value)).toBe(name)
})

test('keys that change how programs run are named', () => {
  const keys = new Map(['PATH', 'LD_PRELOAD', 'OPENSHELL_SANDBOX_ID', 'https_proxy', 'TOKEN'].map(key => [key, 'v']))
  expect(dangerousKeys(keys)).toEqual(['LD_PRELOAD', 'OPENSHELL_SANDBOX_ID', 'PATH', 'https_proxy'])
})
