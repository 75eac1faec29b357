import protobuf from 'protobufjs/light.js'

/** Writes 64-bit integers from bigint as well as from number. */
export class BigintWriter extends protobuf.BufferWriter {
  override int64(value: unknown): protobuf.Writer {
    return super.uint64(longBits(value) as never)
  }

  override uint64(value: unknown): protobuf.Writer {
    return super.uint64(longBits(value) as never)
  }
}

function longBits(value: unknown): number | { low: number; high: number; unsigned: boolean } {
  if (typeof value === 'number') return value
  const bits = BigInt.asUintN(64, value as bigint)
  return { low: Number(bits & 0xffffffffn) | 0, high: Number(bits >> 32n) | 0, unsigned: true }
}

/** A message, or a part of one, to be written. */
export type Fields = Readonly<Record<string, unknown>>
type WriteScalar = (value: unknown) => protobuf.Writer

const WIRE_TYPES: Readonly<Record<string, number>> = protobuf.types.basic

/**
 * Writes the fields of one message in field order. Like every proto3 encoder but the stock one of protobufjs it
 * leaves out a scalar that has its default value, unless it is a member of a oneof: what we store must be the
 * bytes that other implementations write.
 */
export function writeMessage(type: protobuf.Type, value: Fields, writer: protobuf.Writer): void {
  for (const field of fieldsInOrder(type)) {
    const given = Object.hasOwn(value, field.name) ? value[field.name] : undefined
    if (given === undefined || given === null) continue
    if (field instanceof protobuf.MapField) {
      const entries = given instanceof Map ? given : Object.entries(given)
      for (const [key, item] of entries) {
        writer.uint32((field.id << 3) | 2).fork()
        writeField(field.keyType, null, 1, key, writer)
        writeField(field.type, field.resolvedType, 2, item, writer)
        writer.ldelim()
      }
    } else if (field.repeated) writeRepeated(field, given as readonly unknown[], writer)
    else if (field.partOf || field.resolvedType instanceof protobuf.Type || !isDefault(given))
      writeField(field.type, field.resolvedType, field.id, given, writer)
  }
}

const isDefault = (value: unknown): boolean =>
  value === 0 || value === '' || value === false || value === 0n || (value instanceof Uint8Array && value.length === 0)

function writeRepeated(field: protobuf.Field, items: readonly unknown[], writer: protobuf.Writer): void {
  const scalar = field.resolvedType instanceof protobuf.Enum ? 'int32' : field.type
  if (items.length === 0) return
  if (field.resolvedType instanceof protobuf.Type || (WIRE_TYPES[scalar] ?? 2) === 2) {
    for (const item of items) writeField(field.type, field.resolvedType, field.id, item, writer)
    return
  }
  writer.uint32((field.id << 3) | 2).fork()
  for (const item of items) (writer[scalar as keyof protobuf.Writer] as WriteScalar).call(writer, item)
  writer.ldelim()
}

function writeField(
  typeName: string,
  target: protobuf.Type | protobuf.Enum | null,
  id: number,
  value: unknown,
  writer: protobuf.Writer,
): void {
  if (target instanceof protobuf.Type) {
    writer.uint32((id << 3) | 2).fork()
    writeMessage(target, value as Fields, writer)
    writer.ldelim()
    return
  }
  const scalar = target ? 'int32' : typeName
  writer.uint32((id << 3) | WIRE_TYPES[scalar]!)
  ;(writer[scalar as keyof protobuf.Writer] as WriteScalar).call(writer, value)
}

const ordered = new WeakMap<protobuf.Type, protobuf.Field[]>()

function fieldsInOrder(type: protobuf.Type): protobuf.Field[] {
  let fields = ordered.get(type)
  if (!fields) {
    fields = type.fieldsArray.toSorted((a, b) => a.id - b.id)
    for (const field of fields) field.resolve()
    ordered.set(type, fields)
  }
  return fields
}
