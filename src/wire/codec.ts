import protobuf from 'protobufjs/light.js'
import { BigintWriter, type Fields, writeMessage } from './canonical-writer.ts'
import { fillMaps, watchUnknown } from './decode-hooks.ts'
import { describeService, messageType } from './descriptors.ts'
import type { Messages } from './messages.generated.ts'
import { StrictReader, WireError } from './strict-reader.ts'

export { hasUnknownFields } from './decode-hooks.ts'
export { WireError } from './strict-reader.ts'

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

/** The codec of a message; its type is built on first use, so that a start pays only for what it touches. */
export function codec<N extends MessageName>(name: N): Codec<Messages[N]> {
  const known = codecs.get(name)
  if (known) return known as unknown as Codec<Messages[N]>
  let built: protobuf.Type | undefined
  const typeOf = (): protobuf.Type => {
    if (!built) {
      built = messageType(name)
      prepare(built)
    }
    return built
  }
  const made: Codec<Messages[N]> = {
    name,
    decode(bytes) {
      const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      try {
        return typeOf().decode(new StrictReader(buffer)) as unknown as Messages[N]
      } catch (error) {
        throw error instanceof WireError ? error : new WireError((error as Error).message)
      }
    },
    encode(value) {
      const writer = new BigintWriter() as protobuf.Writer
      writeMessage(typeOf(), value as Fields, writer)
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
  return describeService(service).map(([name, method]) => ({
    path: `/${service}/${name}`,
    service,
    name,
    request: method.requestType as MessageName,
    response: method.responseType as MessageName,
    requestStream: method.requestStream === true,
    responseStream: method.responseStream === true,
  }))
}

/**
 * A copy of a decoded message with some fields replaced. Never spread a decoded message: its absent fields live on
 * the prototype and a literal copy would lose them.
 */
export function amend<T extends object>(message: T, changes: Partial<T>): T {
  return Object.assign(Object.create(Object.getPrototypeOf(message)), message, changes)
}
