import { describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import protobuf from 'protobufjs'
import { generate } from '../../proto/generate.ts'
import contract from '../../src/wire/contract.generated.json'
import facts from './wire.json'

interface FieldFact {
  name: string
  type: string
  label: string
  oneof: string | null
  map_key?: string
  map_value?: string
}

const root = protobuf.Root.fromJSON(contract as protobuf.INamespace).resolveAll()
const fullName = (object: protobuf.ReflectionObject | null, fallback: string): string =>
  object?.fullName.slice(1) ?? fallback

function describeField(field: protobuf.Field): FieldFact {
  const type = fullName(field.resolvedType, field.type)
  const oneof = field.partOf?.name ?? null
  if (field instanceof protobuf.MapField)
    return { name: field.name, type: 'map', label: 'map', oneof, map_key: field.keyType, map_value: type }
  return { name: field.name, type, label: field.repeated ? 'repeated' : 'singular', oneof }
}

const ours: {
  messages: Record<string, Record<string, FieldFact>>
  enums: Record<string, Record<string, number>>
  services: Record<string, unknown>
} = {
  messages: {},
  enums: {},
  services: {},
}
const collect = (space: protobuf.NamespaceBase): void => {
  for (const object of space.nestedArray) {
    if (object.fullName.startsWith('.google.')) continue
    const name = object.fullName.slice(1)
    if (object instanceof protobuf.Type)
      ours.messages[name] = Object.fromEntries(
        object.fieldsArray.map(field => [String(field.id), describeField(field)]),
      )
    else if (object instanceof protobuf.Enum) ours.enums[name] = object.values
    else if (object instanceof protobuf.Service)
      ours.services[name] = Object.fromEntries(
        object.methodsArray.map(method => [
          method.name,
          {
            request: fullName(method.resolvedRequestType, method.requestType),
            response: fullName(method.resolvedResponseType, method.responseType),
            client_stream: method.requestStream === true,
            server_stream: method.responseStream === true,
          },
        ]),
      )
    else if (object instanceof protobuf.Namespace) collect(object)
  }
}
collect(root)

describe('the embedded contract is the pinned one', () => {
  test('every service and RPC, nothing more', () => expect(ours.services).toEqual(facts.services as never))
  test('every message and field, nothing more', () => expect(ours.messages).toEqual(facts.messages as never))
  test('every enum value, nothing more', () => expect(ours.enums).toEqual(facts.enums as never))
  test('the counts of spec/wire.md', () => {
    expect(Object.keys(ours.messages)).toHaveLength(154)
    expect(Object.keys(ours.enums)).toHaveLength(5)
    expect(Object.values(ours.messages).reduce((sum, fields) => sum + Object.keys(fields).length, 0)).toBe(441)
  })
})

describe('what is generated from proto/', () => {
  const fresh = generate()
  const stored = (file: string): string => readFileSync(join(import.meta.dir, '../../src/wire', file), 'utf8')
  test('descriptors are up to date', () => expect(stored('contract.generated.json')).toBe(fresh.contract))
  test('types are up to date', () => expect(stored('messages.generated.ts')).toBe(fresh.messages))
})
