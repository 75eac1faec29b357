import { isUtf8 } from 'node:buffer'
import protobuf from 'protobufjs/light.js'
import contract from './contract.generated.json'
import type { Messages } from './messages.generated.ts'

/** Full protobuf name of a message, e.g. `openshell.v1.Sandbox`. */
export type MessageName = keyof Messages

/**
 * What may be given to encode a message: any part of it, sub-messages likewise.
 * 64-bit integers may be numbers as long as they are safe integers.
 */
export type Init<T> = T extends Uint8Array
  ? T
  : T extends bigint
    ? bigint | number
    : T extends (infer E)[]
      ? readonly Init<E>[]
      : T extends object
        ?
            | { readonly [K in keyof T]?: Init<T[K]> | undefined }
            | (string extends keyof T ? ReadonlyMap<string, Init<T[keyof T]>> : never)
        : T

/** Bytes ↔ message of one type. */
export interface Codec<T> {
  readonly name: MessageName
  /**
   * Decodes one message. Absent fields read as their proto3 default, 64-bit integers as bigint, maps as
   * null-safe records (read them through `readMap`), absent sub-messages as null.
   * Throws `WireError` on malformed bytes and on text that is not UTF-8 (spec/gateway.md §8.3).
   */
  decode(bytes: Uint8Array): T
  encode(value: Init<T>): Buffer
}

/** Bytes that are not the message they claim to be. */
export class WireError extends Error {
  override readonly name = 'WireError'
}

/** Refuses what the stock reader repairs in silence: broken UTF-8 and text that ends behind the buffer. */
class StrictReader extends protobuf.BufferReader {
  /** Fields met so far that the contract does not have. */
  skipped = 0

  override skipType(wireType: number): this {
    this.skipped++
    super.skipType(wireType)
    return this
  }

  override string(): string {
    const length = this.uint32()
    const end = this.pos + length
    if (end > this.len) throw new WireError('buffer underflow')
    const buffer = this.buf as Buffer & { utf8Slice(start: number, end: number): string }
    const text = buffer.utf8Slice(this.pos, end)
    if (text.includes('\ufffd') && !isUtf8(buffer.subarray(this.pos, end)))
      throw new WireError('invalid string value: data is not UTF-8 encoded')
    this.pos = end
    return text
  }

  #bits(): bigint {
    const long = super.fixed64() as unknown as { low: number; high: number }
    return (BigInt(long.high >>> 0) << 32n) | BigInt(long.low >>> 0)
  }

  #varint(): bigint {
    let result = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      if (this.pos >= this.len) throw new WireError('buffer underflow')
      const byte = this.buf[this.pos++]!
      result |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return BigInt.asUintN(64, result)
    }
    throw new WireError('invalid varint')
  }

  override int64(): never {
    return BigInt.asIntN(64, this.#varint()) as never
  }

  override uint64(): never {
    return this.#varint() as never
  }

  override fixed64(): never {
    return this.#bits() as never
  }

  override sfixed64(): never {
    return BigInt.asIntN(64, this.#bits()) as never
  }
}

/** Writes 64-bit integers from bigint as well as from number. */
class BigintWriter extends protobuf.BufferWriter {
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

type Fields = Readonly<Record<string, unknown>>
type WriteScalar = (value: unknown) => protobuf.Writer

const WIRE_TYPES: Readonly<Record<string, number>> = protobuf.types.basic

/**
 * Writes the fields of one message in field order. Like every proto3 encoder but the stock one of protobufjs it
 * leaves out a scalar that has its default value, unless it is a member of a oneof: what we store must be the
 * bytes that other implementations write.
 */
function writeMessage(type: protobuf.Type, value: Fields, writer: protobuf.Writer): void {
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

const withUnknown = new WeakSet<object>()

/**
 * Whether a decoded policy message, or one inside it, came with fields the contract does not have. Only messages of
 * `openshell.sandbox.v1` are watched: what a newer client asks for there must not be dropped in silence
 * (spec/policy.md W27).
 */
export const hasUnknownFields = (message: object): boolean => withUnknown.has(message)

const WATCHED = '.openshell.sandbox.v1.'

/** The decoder of a type as it is now; asking for it compiles it once. */
const compiledDecode = (type: protobuf.Type): protobuf.Type['decode'] =>
  Object.hasOwn(type, 'decode') ? type.decode : type.setup().decode

const filled = new WeakSet<protobuf.Type>()

/** A map entry without a value holds the empty message (other implementations leave it out), where the stock decoder says null. */
function fillMaps(type: protobuf.Type): void {
  const maps = type.fieldsArray.filter(
    field => field instanceof protobuf.MapField && field.resolvedType instanceof protobuf.Type,
  )
  if (maps.length === 0 || filled.has(type)) return
  filled.add(type)
  const decode = compiledDecode(type)
  type.decode = function (this: protobuf.Type, ...args: Parameters<protobuf.Type['decode']>) {
    const message = decode.apply(this, args) as unknown as Record<string, Record<string, unknown>>
    for (const { name, resolvedType } of maps) {
      const map = message[name]!
      for (const key of Object.keys(map)) map[key] ??= (resolvedType as protobuf.Type).create()
    }
    return message as unknown as protobuf.Message
  } as protobuf.Type['decode']
}

/** Remembers the messages of a type that were decoded with something left over. */
function watchUnknown(type: protobuf.Type): void {
  if (!type.fullName.startsWith(WATCHED)) return
  const decode = compiledDecode(type)
  type.decode = function (this: protobuf.Type, reader: StrictReader, ...rest: [number?]) {
    const before = reader.skipped
    const message = decode.call(this, reader, ...rest)
    if (reader.skipped !== before) withUnknown.add(message)
    return message
  } as typeof type.decode
}

const root = protobuf.Root.fromJSON(contract as protobuf.INamespace)
const codecs = new Map<string, Codec<never>>()

/** The 64-bit default of a message class must be a bigint, as a decoded value is. */
function prepare(type: protobuf.Type): void {
  for (const field of type.fieldsArray) field.resolve()
  fillMaps(type)
  for (const field of type.fieldsArray) {
    field.resolve()
    if (field.long && !field.repeated && !field.map)
      Object.defineProperty(type.ctor.prototype, field.name, { value: 0n, writable: true })
    if (field.resolvedType instanceof protobuf.Type && !prepared.has(field.resolvedType)) {
      prepared.add(field.resolvedType)
      watchUnknown(field.resolvedType)
      prepare(field.resolvedType)
    }
  }
}
const prepared = new Set<protobuf.Type>()

/** The codec of a message; made on first use, since building all of them would cost 50 ms of every start. */
export function codec<N extends MessageName>(name: N): Codec<Messages[N]> {
  const known = codecs.get(name)
  if (known) return known as unknown as Codec<Messages[N]>
  const type = root.lookupType(name)
  prepare(type)
  const made: Codec<Messages[N]> = {
    name,
    decode(bytes) {
      const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      try {
        return type.decode(new StrictReader(buffer)) as unknown as Messages[N]
      } catch (error) {
        throw error instanceof WireError ? error : new WireError((error as Error).message)
      }
    },
    encode(value) {
      const writer = new BigintWriter() as protobuf.Writer
      writeMessage(type, value as Fields, writer)
      return writer.finish() as Buffer
    },
  }
  codecs.set(name, made as unknown as Codec<never>)
  return made
}

/** One RPC of the contract. */
export interface RpcMethod {
  /** HTTP/2 path, `/<service>/<rpc>`. */
  readonly path: string
  readonly service: string
  readonly name: string
  readonly request: MessageName
  readonly response: MessageName
  readonly requestStream: boolean
  readonly responseStream: boolean
}

/** Every RPC of one service, in the order of the proto file. */
export function methodsOf(service: string): RpcMethod[] {
  return root.lookupService(service).methodsArray.map(method => {
    method.resolve()
    return {
      path: `/${service}/${method.name}`,
      service,
      name: method.name,
      request: method.resolvedRequestType!.fullName.slice(1) as MessageName,
      response: method.resolvedResponseType!.fullName.slice(1) as MessageName,
      requestStream: method.requestStream === true,
      responseStream: method.responseStream === true,
    }
  })
}

/** Reflection of a message, for JSON and for tools. */
export const messageType = (name: string): protobuf.Type => root.lookupType(name)

/**
 * A copy of a decoded message with some fields replaced. Never spread a decoded message: its absent fields live on
 * the prototype and a literal copy would lose them.
 */
export function amend<T extends object>(message: T, changes: Partial<T>): T {
  return Object.assign(Object.create(Object.getPrototypeOf(message)), message, changes)
}
