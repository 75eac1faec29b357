import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { labelKeyViolation, labelsViolation, labelValueViolation, parseSelector } from '../../../src/domain/labels.ts'

const L63 = 'n'.repeat(63)
const SET = "contains invalid characters (must be alphanumeric, '-', '_', or '.')"

test.each([
  ['', 'label key cannot be empty'],
  [`${'p'.repeat(189)}/${L63}`, null],
  [`${'p'.repeat(190)}/${L63}`, `label key exceeds 253 characters: '${'p'.repeat(190)}/${L63}'`],
  ['p/', "label key name segment cannot be empty: 'p/'"],
  [L63, null],
  [`${L63}n`, `label key name segment exceeds 63 characters: '${L63}n'`],
  ['a b', `label key name segment ${SET}: 'a b'`],
  ['a/b/c', `label key name segment ${SET}: 'a/b/c'`],
  ['-a', "label key name segment must start with alphanumeric character: '-a'"],
  ['a.', "label key name segment must end with alphanumeric character: 'a.'"],
  ['a', null],
  ['a_b.c-d', null],
  ['App', null],
  ['/a', "label key prefix cannot be empty when '/' is present: '/a'"],
  ['Ex.io/a', "label key prefix must be a DNS subdomain (lowercase alphanumeric, '-', '.'): 'Ex.io/a'"],
  ['e_x/a', "label key prefix must be a DNS subdomain (lowercase alphanumeric, '-', '.'): 'e_x/a'"],
  ['-x/a', "label key prefix cannot start or end with '-' or '.': '-x/a'"],
  ['x./a', "label key prefix cannot start or end with '-' or '.': 'x./a'"],
  ['x..y/a', "label key prefix cannot contain consecutive dots: 'x..y/a'"],
  ['x-.y/a', null],
  ['example.com/my-label', null],
  ['clé', `label key name segment ${SET}: 'clé'`],
])('key %p', (key, violation) => {
  expect(labelKeyViolation(key)).toBe(violation)
})

test.each([
  ['', null],
  [L63, null],
  [`${L63}n`, `label value exceeds 63 characters: '${L63}n'`],
  ['b/c', `label value ${SET}: 'b/c'`],
  ['-b', "label value must start with alphanumeric character: '-b'"],
  ['b_', "label value must end with alphanumeric character: 'b_'"],
  ['B.c_d-E', null],
  ['ü', `label value ${SET}: 'ü'`],
  ['é'.repeat(32), `label value exceeds 63 characters: '${'é'.repeat(32)}'`],
])('value %p', (value, violation) => {
  expect(labelValueViolation(value)).toBe(violation)
})

test('of several labels the first violation is told, key before value', () => {
  expect(
    labelsViolation([
      ['ok', 'ok'],
      ['-a', '-b'],
    ]),
  ).toStartWith('label key name segment must start')
})

describe('selector', () => {
  const pairs = (text: string) => {
    const selector = parseSelector(text)
    return selector.ok ? Object.fromEntries(selector.pairs) : selector.violation
  }

  test.each([
    ['', {}],
    [' ', {}],
    [',', {}],
    ['a=b', { a: 'b' }],
    [' a = b , c = ', { a: 'b', c: '' }],
    ['a=b,', { a: 'b' }],
    [',,a=b,,', { a: 'b' }],
    ['a=b,a=c', { a: 'c' }],
    ['clé=ü', { clé: 'ü' }],
    ['example.com/k=V', { 'example.com/k': 'V' }],
    ['a', "invalid label selector: expected 'key=value', got 'a'"],
    ['=a', "invalid label selector: key cannot be empty in '=a'"],
    ['=', "invalid label selector: key cannot be empty in '='"],
    ['a==b', `label value ${SET}: '=b'`],
    ['a!=b', `label key name segment ${SET}: 'a!'`],
    ['a in (b)', "invalid label selector: expected 'key=value', got 'a in (b)'"],
    ['a=b,c', "invalid label selector: expected 'key=value', got 'c'"],
  ])('%p', (text, expected) => {
    expect(pairs(text)).toEqual(expected as never)
  })

  test('has bounds (I-03)', () => {
    expect(pairs(Array.from({ length: 65 }, (_, n) => `k${n}=v`).join(','))).toBe(
      'label selector exceeds maximum pairs (65 > 64)',
    )
    expect(pairs('a=b,'.repeat(3000))).toBe('label selector exceeds maximum length (12000 > 8192)')
  })

  test('no text takes long (I-02)', () => {
    const started = performance.now()
    for (const text of ['a'.repeat(100_000), '.'.repeat(100_000), `${'a.'.repeat(50_000)}!`]) {
      labelKeyViolation(text)
      labelValueViolation(text)
      parseSelector(text)
    }
    expect(performance.now() - started).toBeLessThan(50)
  })

  test('what was accepted as a label is found by its own selector', () => {
    const text = fc.stringMatching(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?$/)
    fc.assert(
      fc.property(fc.dictionary(text, text, { maxKeys: 5 }), labels => {
        expect(labelsViolation(Object.entries(labels))).toBeNull()
        const selector = parseSelector(
          Object.entries(labels)
            .map(pair => pair.join('='))
            .join(' , '),
        )
        expect(selector.ok && Object.fromEntries(selector.pairs)).toEqual(labels)
      }),
      { numRuns: 100 },
    )
  })
})
