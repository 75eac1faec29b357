import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { createProviderCodec } from '../../../src/services/provider-codec.ts'
import { CLEAR_TEXT, createSealer, isSealed, parseStoreKeys } from '../../../src/store/sealing.ts'
import { codec } from '../../../src/wire/codec.ts'
import { readMap } from '../../../src/wire/maps.ts'

const OLD = 'a'.repeat(64)
const NEW = Buffer.alloc(32, 7).toString('base64')
const sealer = (text: string) => createSealer(parseStoreKeys(text))

describe('sealed credentials', () => {
  test('every value comes back, none twice the same, none in clear', () => {
    const { seal, open } = sealer(OLD)
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), value => {
        const stored = seal(value, 'p/K')
        expect(open(stored, 'p/K')).toBe(value)
        expect(seal(value, 'p/K')).not.toBe(stored)
        expect(isSealed(stored)).toBe(true)
      }),
      { numRuns: Number(process.env['FC_RUNS'] ?? 100) },
    )
  })

  test('a key is rotated by adding a line: old values open, new ones use the last key', () => {
    const before = sealer(OLD).seal('secret', 'p/K')
    const both = sealer(`# keys\n${OLD}\n\n${NEW}\n`)
    expect(both.open(before, 'p/K')).toBe('secret')
    expect(() => sealer(OLD).open(both.seal('secret', 'p/K'), 'p/K')).toThrow('no key with id')
    expect(sealer(NEW).open(both.seal('secret', 'p/K'), 'p/K')).toBe('secret')
  })

  test('a value that was changed or moved to another record does not open', () => {
    const { seal, open } = sealer(OLD)
    const stored = seal('secret', 'p/K')
    expect(() => open(stored, 'p/OTHER')).toThrow('was changed')
    const [head, text = ''] = stored.split(/(?<=:)(?=[^:]*$)/)
    const bytes = Buffer.from(text, 'base64url')
    for (const index of bytes.keys()) {
      const changed = Buffer.from(bytes)
      changed[index]! ^= 1
      expect(() => open(`${head}${changed.toString('base64url')}`, 'p/K')).toThrow('was changed')
    }
  })

  test('clear text from before is read, and sealing can be off', () => {
    expect(sealer(OLD).open('ghp_plain', 'p/K')).toBe('ghp_plain')
    expect(CLEAR_TEXT.seal('x', 'p')).toBe('x')
  })

  test.each(['', '# only a comment', 'abc', 'g'.repeat(64), `${OLD}00`])(
    'key file %p is refused without showing it',
    text => {
      expect(() => parseStoreKeys(text)).toThrow(/32-byte key|no key/)
      try {
        parseStoreKeys(text)
      } catch (error) {
        if (text !== '') expect((error as Error).message).not.toContain(text)
      }
    },
  )

  test('a provider record holds no secret in clear and reads back the same, odd keys too (I-04)', () => {
    const records = createProviderCodec(sealer(OLD))
    const plain = codec('openshell.datamodel.v1.Provider')
    const provider = plain.decode(
      plain.encode({
        metadata: { id: 'id', name: 'p' },
        type: 'x',
        credentials: new Map([
          ['K', 'canary'],
          ['__proto__', 'canary2'],
        ]),
      }),
    )
    const stored = records.encode(provider)
    expect(stored.toString('latin1')).not.toContain('canary')
    expect([...readMap(records.decode(stored).credentials)]).toEqual([
      ['K', 'canary'],
      ['__proto__', 'canary2'],
    ])
    expect(records.decode(plain.encode(provider))).toEqual(provider)
    expect(() => createProviderCodec(CLEAR_TEXT).decode(stored)).toThrow('without the key file')
  })
})
