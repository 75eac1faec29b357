import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { encodePolicy, encodeRule } from '../../../src/domain/policy-bytes.ts'
import { isPlainPolicy, isPlainRule } from '../../../src/domain/policy-wellformed.ts'
import { codec } from '../../../src/wire/codec.ts'
import { anyPolicy, anyRule } from '../../kit/policy-arbitrary.ts'

const POLICY = codec('openshell.sandbox.v1.SandboxPolicy')
const RULE = codec('openshell.sandbox.v1.NetworkPolicyRule')
const RUNS = { numRuns: Number(process.env['FC_RUNS'] ?? 500) }

test('what the gateway writes is plain', () => {
  fc.assert(
    fc.property(anyPolicy, anyRule, (policy, rule) => {
      expect(isPlainPolicy(encodePolicy(policy))).toBe(true)
      expect(isPlainRule(encodeRule(rule))).toBe(true)
    }),
  )
})

/** Octets put in place of, or between, those of an encoded policy. */
const edits = fc.array(
  fc.record({ at: fc.nat(), octets: fc.uint8Array({ maxLength: 3 }), isInsertion: fc.boolean() }),
  { minLength: 1, maxLength: 4 },
)

test('what is called plain, the decoder takes too: no bytes are handed out that no client could read', () => {
  let plain = 0
  fc.assert(
    fc.property(anyPolicy, edits, (policy, changes) => {
      let bytes: Buffer = encodePolicy(policy)
      for (const { at, octets, isInsertion } of changes) {
        const place = at % (bytes.length + 1)
        bytes = Buffer.concat([
          bytes.subarray(0, place),
          octets,
          bytes.subarray(place + (isInsertion ? 0 : octets.length)),
        ])
      }
      for (const [isPlain, type] of [
        [isPlainPolicy, POLICY],
        [isPlainRule, RULE],
      ] as const) {
        if (!isPlain(bytes)) continue
        plain++
        expect(() => type.decode(bytes)).not.toThrow()
      }
    }),
    RUNS,
  )
  expect(plain).toBeGreaterThan(RUNS.numRuns / 50)
})
