import { describe, expect, test } from 'bun:test'
import { toDriverSandbox } from '../../../src/domain/driver-sandbox.ts'
import { codec, type Init } from '../../../src/wire/codec.ts'
import { messageToJson } from '../../../src/wire/json.ts'
import type { SandboxTemplate, Struct, Value } from '../../../src/wire/messages.generated.ts'

const sandboxCodec = codec('openshell.v1.Sandbox')
const driverCodec = codec('openshell.compute.v1.DriverSandbox')
const translate = (template: Init<SandboxTemplate>) => {
  const sandbox = sandboxCodec.decode(
    sandboxCodec.encode({
      metadata: { id: 'i', name: 'n', labels: { own: 'x' } },
      spec: { template, providers: ['p'], policy: {} },
    }),
  )
  return driverCodec.decode(driverCodec.encode(toDriverSandbox(sandbox))).spec!.template!
}
const text = (stringValue: string) => ({ stringValue })
const struct = (fields: Record<string, Init<Value>>): Init<Struct> => ({ fields })
const section = (fields: Record<string, Init<Value>>) => ({ structValue: { fields } })

describe('resources (spec/sandbox.md §13)', () => {
  const NONE = null
  const rows: [string, Init<Struct>, object | null][] = [
    ['numbers are none', struct({ requests: section({ cpu: { numberValue: 2 } }) }), NONE],
    [
      'limits only',
      struct({ limits: section({ cpu: text('1') }) }),
      { cpu_limit: '1', cpu_request: '', memory_limit: '', memory_request: '' },
    ],
    [
      'sections that are no structs',
      struct({ limits: text('2'), requests: { listValue: { values: [text('1')] } } }),
      NONE,
    ],
    ['other keys', struct({ limits: section({ gpu: text('1') }) }), NONE],
    ['empty strings', struct({ limits: section({ cpu: text('') }) }), NONE],
    ['flat', struct({ cpu: text('1') }), NONE],
    ['empty', struct({}), NONE],
  ]
  test.each(rows)('%s', (_, resources, expected) => {
    const template = translate({ resources })
    expect(template.resources).toEqual(expected === null ? null : expect.objectContaining(expected))
    expect(Object.keys(template.platform_config!.fields)).toEqual(['resources_raw'])
  })
})

describe('platform_config', () => {
  test('is absent without a source', () => {
    expect(translate({ image: 'i' }).platform_config).toBeNull()
  })

  test('has a key for each source that is set, an empty struct included', () => {
    const { platform_config } = translate({
      runtime_class_name: 'kata',
      annotations: { a: 'b' },
      volume_claim_templates: {},
    })
    expect(messageToJson('google.protobuf.Struct', platform_config!)).toEqual({
      runtime_class_name: 'kata',
      annotations: { a: 'b' },
      volume_claim_templates: {},
    })
  })
})

test('labels of the request, policy and providers never reach the driver', () => {
  const sandbox = sandboxCodec.decode(
    sandboxCodec.encode({
      metadata: { id: 'i', name: 'n', labels: { own: 'x' } },
      spec: {
        gpu: true,
        log_level: 'debug',
        environment: { A: '1' },
        template: { labels: { l: '1' } },
        providers: ['p'],
      },
    }),
  )
  const sent = driverCodec.decode(
    driverCodec.encode(
      toDriverSandbox(
        sandbox,
        new Map([
          ['A', '2'],
          ['B', '3'],
        ]),
      ),
    ),
  )
  expect(sent).toMatchObject({ id: 'i', name: 'n', namespace: '', status: null })
  expect(sent.spec).toMatchObject({ gpu: true, log_level: 'debug', environment: { A: '2', B: '3' } })
  expect(sent.spec!.template!.labels).toEqual({ l: '1' })
})
