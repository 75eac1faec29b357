import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { codec, WireError } from '../../../src/wire/codec.ts'
import { emittedSandbox, outlineSandbox } from '../../../src/wire/sandbox-bytes.ts'

const sandboxes = codec('openshell.v1.Sandbox')
const arbitrary = fc.record({
  metadata: fc.record({ id: fc.string(), name: fc.string() }),
  phase: fc.nat(5),
  current_policy_version: fc.nat(),
  status: fc.option(
    fc.record({ agent_pod: fc.string(), conditions: fc.array(fc.record({ type: fc.string() }), { maxLength: 3 }) }),
  ),
})

test('what is emitted reads as what is stored, in every field of the contract (decision 10)', () => {
  fc.assert(
    fc.property(arbitrary, given => {
      const bytes = sandboxes.encode(given)
      expect(sandboxes.decode(Buffer.concat(emittedSandbox(bytes)))).toEqual(sandboxes.decode(bytes))
      expect(outlineSandbox(bytes)).toMatchObject({ phase: given.phase, policyVersion: given.current_policy_version })
      expect(outlineSandbox(bytes).status !== null).toBe(given.status !== null)
    }),
    { numRuns: 200 },
  )
})

test('a status carries phase and version at the later numbers; without a status nothing is added', () => {
  const bytes = sandboxes.encode({ status: {}, phase: 2, current_policy_version: 300 })
  const emitted = Buffer.concat(emittedSandbox(bytes))
  expect(emitted.toString('hex')).toStartWith(`1a05${'3002'}${'38ac02'}`)
  expect(emittedSandbox(sandboxes.encode({ phase: 2 }))).toHaveLength(1)
})

test('damaged bytes are told, whatever they are, and never read past the end (S-13)', () => {
  for (const hex of ['0affff', 'ffffffff', '1a05', '0b', '20', '25000000'])
    expect(() => outlineSandbox(Buffer.from(hex, 'hex'))).toThrow(WireError)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), bytes => {
      try {
        emittedSandbox(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(WireError)
      }
    }),
    { numRuns: 300 },
  )
})
