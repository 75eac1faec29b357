import { describe, expect, test } from 'bun:test'
import { codec } from '../../../src/wire/codec.ts'
import { JsonError, messageFromJson, messageToJson } from '../../../src/wire/json.ts'

const roundTrip = (json: unknown): unknown =>
  messageToJson(
    'openshell.v1.Sandbox',
    codec('openshell.v1.Sandbox').decode(messageFromJson('openshell.v1.Sandbox', json)),
  )

describe('JSON of messages', () => {
  test('everything survives the way to bytes and back', () => {
    const json = {
      metadata: {
        id: 'x',
        name: 'web',
        created_at_ms: '9007199254740993',
        labels: { ['__proto__x']: 'a', env: 'prod' },
      },
      spec: {
        providers: ['a', 'b'],
        gpu: true,
        template: { image: 'i', resources: { limits: { cpu: '2', n: 1.5, on: true, none: null, list: [1, 'x', {}] } } },
      },
      phase: 'SANDBOX_PHASE_READY',
    }
    expect(roundTrip(json)).toEqual(json)
  })

  test('camel case names and numbers of enums are taken too', () => {
    expect(roundTrip({ currentPolicyVersion: 3, phase: 2 })).toEqual({
      current_policy_version: 3,
      phase: 'SANDBOX_PHASE_READY',
    })
  })

  test.each([
    [{ nope: 1 }, /has no field 'nope'/],
    [{ phase: 'READY' }, /\.phase must be one of SANDBOX_PHASE_UNSPECIFIED/],
    [{ metadata: 'x' }, /\.metadata must be an object/],
    [{ metadata: { labels: { a: 1 } } }, /\.labels\['a'\] must be text/],
    [{ spec: { providers: 'x' } }, /\.providers must be a list/],
    [{ current_policy_version: 4294967296 }, /must be an integer \(uint32\)/],
    [{ metadata: { created_at_ms: 1.5 } }, /must be an integer \(int64\)/],
    [[], /must be an object/],
  ])('%j is refused with the field named', (json, text) => {
    expect(() => messageFromJson('openshell.v1.Sandbox', json)).toThrow(JsonError)
    expect(() => messageFromJson('openshell.v1.Sandbox', json)).toThrow(text)
  })
})
