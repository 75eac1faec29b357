import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { amend, codec, WireError } from '../../../src/wire/codec.ts'
import { readMap, writeMap } from '../../../src/wire/maps.ts'
import { spliceField } from '../../../src/wire/splice.ts'

const sandbox = codec('openshell.v1.Sandbox')
const meta = codec('openshell.datamodel.v1.ObjectMeta')
const setting = codec('openshell.sandbox.v1.SettingValue')

describe('codec', () => {
  test('64-bit integers are exact', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), value => {
        expect(meta.decode(meta.encode({ created_at_ms: value })).created_at_ms).toBe(value)
      }),
    )
  })

  test('I-04: every map key survives, the prototype stays clean', () => {
    const labels = new Map(['__proto__', 'constructor', 'toString', 'hasOwnProperty', ''].map(key => [key, `v${key}`]))
    const back = readMap(meta.decode(meta.encode({ labels })).labels)
    expect(back).toEqual(labels)
    expect(readMap(meta.decode(meta.encode({ labels: writeMap(labels) })).labels)).toEqual(labels)
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
  })

  test('defaults are left out, members of a oneof are not', () => {
    expect(sandbox.encode({ phase: 0, current_policy_version: 0 })).toHaveLength(0)
    expect(setting.encode({ bool_value: false }).toString('hex')).toBe('1000')
    expect(setting.decode(Buffer.from('1000', 'hex')).value).toBe('bool_value')
  })

  test('numbers are packed, as other implementations write them', () => {
    const endpoint = codec('openshell.sandbox.v1.NetworkEndpoint')
    expect(endpoint.encode({ ports: [1, 2, 300] }).toString('hex')).toBe('4a040102ac02')
    expect(endpoint.decode(Buffer.from('48014802', 'hex')).ports).toEqual([1, 2])
  })

  test.each([
    ['text that is not UTF-8', '1202fffe'],
    ['text behind the end', '120541'],
    ['a varint without end', '18ffffffffffffffffffffff01'],
    ['a truncated tag', '80'],
  ])('I-06: %s is refused', (_what, hex) => {
    expect(() => meta.decode(Buffer.from(hex, 'hex'))).toThrow(WireError)
  })

  test('a real replacement character is text like any other', () => {
    expect(meta.decode(meta.encode({ name: 'a\ufffdb' })).name).toBe('a\ufffdb')
  })

  test('random bytes are decoded or refused, nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), bytes => {
        try {
          sandbox.decode(bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(WireError)
        }
      }),
      { numRuns: 500 },
    )
  })

  test('amend keeps what the message did not carry', () => {
    const changed = amend(sandbox.decode(Buffer.alloc(0)), { phase: 3 })
    expect(changed.phase).toBe(3)
    expect(changed.spec).toBeNull()
  })
})

describe('spliceField', () => {
  test('wraps stored bytes as elements; a later part overrides a scalar', () => {
    const bytes = sandbox.encode({ metadata: { name: 'web' }, phase: 1 })
    const list = codec('openshell.v1.ListSandboxesResponse').decode(
      spliceField(1, [[bytes], [bytes, Buffer.from([0x20, 2])]]),
    )
    expect(list.sandboxes.map(item => [item.metadata!.name, item.phase])).toEqual([
      ['web', 1],
      ['web', 2],
    ])
  })
})
