import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { readLabels, writeLabels } from '../../../src/store/labels.ts'

describe('the labels column', () => {
  test('any labels come back (I-04)', () => {
    const key = fc.oneof(fc.constantFrom('__proto__', 'constructor', 'toString', '', '1'), fc.string())
    fc.assert(
      fc.property(fc.array(fc.tuple(key, fc.string())), pairs => {
        const labels = new Map(pairs)
        expect(new Map(readLabels(writeLabels(labels)))).toEqual(labels)
      }),
      { numRuns: 200 },
    )
    expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false)
  })

  test('no labels are {}, keys ascend', () => {
    expect(writeLabels(undefined)).toBe('{}')
    expect(writeLabels(new Map())).toBe('{}')
    const twoKeys = new Map([
      ['b', '1'],
      ['a', '2'],
    ])
    expect(writeLabels(twoKeys)).toBe('{"a":"2","b":"1"}')
  })

  test('I-11 only own members count, the last of two alike', () => {
    expect([...readLabels('{"__proto__":"x","constructor":"y","k":"a","k":"b"}')]).toEqual([
      ['__proto__', 'x'],
      ['constructor', 'y'],
      ['k', 'b'],
    ])
    for (const text of ['{"__proto__":{"k":"v"}}', '{"k":1e999}', '['.repeat(100_000)])
      expect(readLabels(text).size).toBe(0)
  })

  test.each([null, '', '{}', 'not json', '[]', '["a"]', 'null', '1', '"x"', '{"a":1}', '{"a":"b","c":null}'])(
    '%j holds none',
    column => {
      expect(readLabels(column).size).toBe(0)
    },
  )
})
