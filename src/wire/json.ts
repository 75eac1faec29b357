import protobuf from 'protobufjs/light.js'
import { codec, type MessageName } from './codec.ts'
import { messageType } from './descriptors.ts'
import { readMap } from './maps.ts'

/** A message in JSON that does not fit its type; the text names the field path. */
export class JsonError extends Error {
  override readonly name = 'JsonError'
}

/** JSON of a decoded message: field names as in the proto files, enums by name, 64-bit integers as text, bytes in base64. Defaults are left out. */
export function messageToJson(name: MessageName, message: object): Record<string, unknown> {
  return fieldsToJson(messageType(name), message as Record<string, unknown>)
}

function fieldsToJson(type: protobuf.Type, message: Record<string, unknown>): Record<string, unknown> {
  if (type.fullName === '.google.protobuf.Struct') return structToJson(message)
  const out: Record<string, unknown> = {}
  for (const field of type.fieldsArray) {
    if (!Object.hasOwn(message, field.name)) continue
    const value = message[field.name]
    if (value === null || value === undefined) continue
    if (field.map) {
      const entries = [...readMap(value as Record<string, unknown>)]
      if (entries.length > 0)
        out[field.name] = Object.fromEntries(entries.map(([key, item]) => [key, valueToJson(field, item)]))
    } else if (field.repeated) {
      if ((value as unknown[]).length > 0) out[field.name] = (value as unknown[]).map(item => valueToJson(field, item))
    } else out[field.name] = valueToJson(field, value)
  }
  return out
}

function valueToJson(field: protobuf.Field, value: unknown): unknown {
  const target = field.resolvedType
  if (target instanceof protobuf.Type) return fieldsToJson(target, value as Record<string, unknown>)
  if (target instanceof protobuf.Enum) return target.valuesById[value as number] ?? value
  if (typeof value === 'bigint') return value.toString()
  return value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value
}

type StructValue = { kind?: string } & Record<string, unknown>

function structToJson(struct: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    [...readMap(struct['fields'] as Record<string, StructValue>)].map(([key, value]) => [
      key,
      structValueToJson(value),
    ]),
  )
}

function structValueToJson(value: StructValue): unknown {
  if (value.kind === 'structValue') return structToJson(value['structValue'] as Record<string, unknown>)
  if (value.kind === 'listValue')
    return ((value['listValue'] as { values: StructValue[] }).values ?? []).map(structValueToJson)
  return value.kind === undefined || value.kind === 'nullValue' ? null : value[value.kind]
}

/** Bytes of the message that `json` describes. Throws `JsonError` naming the field that does not fit. */
export function messageFromJson(name: MessageName, json: unknown): Buffer {
  return codec(name).encode(fieldsFromJson(messageType(name), json, name) as never)
}

function asObject(json: unknown, path: string): Record<string, unknown> {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new JsonError(`${path} must be an object`)
  return json as Record<string, unknown>
}

function fieldsFromJson(type: protobuf.Type, json: unknown, path: string): Record<string, unknown> {
  const given = asObject(json, path)
  if (type.fullName === '.google.protobuf.Struct') return structFromJson(given)
  const out: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(given)) {
    const field = Object.hasOwn(type.fields, key) ? type.fields[key] : type.fields[snakeCase(key)]
    if (!field)
      throw new JsonError(
        `${path} has no field '${key}'; its fields are: ${Object.keys(type.fields).join(', ') || '(none)'}`,
      )
    if (value === null) continue
    field.resolve()
    out[field.name] = fieldFromJson(field, value, `${path}.${field.name}`)
  }
  return out
}

const snakeCase = (name: string): string => name.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`)

function fieldFromJson(field: protobuf.Field, value: unknown, path: string): unknown {
  if (field.map)
    return new Map(
      Object.entries(asObject(value, path)).map(([key, item]) => [
        key,
        valueFromJson(field, item, `${path}['${key}']`),
      ]),
    )
  if (!field.repeated) return valueFromJson(field, value, path)
  if (!Array.isArray(value)) throw new JsonError(`${path} must be a list`)
  return value.map((item, index) => valueFromJson(field, item, `${path}[${index}]`))
}

function valueFromJson(field: protobuf.Field, value: unknown, path: string): unknown {
  const target = field.resolvedType
  if (target instanceof protobuf.Type) return fieldsFromJson(target, value, path)
  if (target instanceof protobuf.Enum) {
    const number =
      typeof value === 'number'
        ? value
        : Object.hasOwn(target.values, String(value))
          ? target.values[String(value)]
          : undefined
    if (number === undefined) throw new JsonError(`${path} must be one of ${Object.keys(target.values).join(', ')}`)
    return number
  }
  return scalarFromJson(field, value, path)
}

function scalarFromJson(field: protobuf.Field, value: unknown, path: string): unknown {
  const must = (what: string): never => {
    throw new JsonError(`${path} must be ${what}`)
  }
  switch (field.type) {
    case 'string':
      return typeof value === 'string' ? value : must('text')
    case 'bool':
      return typeof value === 'boolean' ? value : must('true or false')
    case 'bytes':
      return typeof value === 'string' ? Buffer.from(value, 'base64') : must('base64 text')
    case 'float':
    case 'double':
      return typeof value === 'number' ? value : must('a number')
    default:
      return integerFromJson(field, value) ?? must(`an integer (${field.type})`)
  }
}

const INTEGER_RANGES: Readonly<Record<string, readonly [bigint, bigint]>> = {
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
  uint32: [0n, 2n ** 32n - 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
}

function integerFromJson(field: protobuf.Field, value: unknown): number | bigint | null {
  const isInteger =
    typeof value === 'number' ? Number.isSafeInteger(value) : typeof value === 'string' && /^-?\d{1,20}$/.test(value)
  if (!isInteger) return null
  const number = BigInt(value as number | string)
  const [least, most] = INTEGER_RANGES[field.type]!
  if (number < least || number > most) return null
  return field.type.endsWith('32') ? Number(number) : number
}

function structFromJson(json: Record<string, unknown>): Record<string, unknown> {
  return { fields: new Map(Object.entries(json).map(([key, value]) => [key, structValueFromJson(value)])) }
}

function structValueFromJson(value: unknown): Record<string, unknown> {
  if (value === null || value === undefined) return { nullValue: 0 }
  if (typeof value === 'number') return { numberValue: value }
  if (typeof value === 'string') return { stringValue: value }
  if (typeof value === 'boolean') return { boolValue: value }
  if (Array.isArray(value)) return { listValue: { values: value.map(structValueFromJson) } }
  return { structValue: structFromJson(value as Record<string, unknown>) }
}
