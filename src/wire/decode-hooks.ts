import protobuf from 'protobufjs/light.js'
import type { StrictReader } from './strict-reader.ts'

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
export function fillMaps(type: protobuf.Type): void {
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
export function watchUnknown(type: protobuf.Type): void {
  if (!type.fullName.startsWith(WATCHED)) return
  const decode = compiledDecode(type)
  type.decode = function (this: protobuf.Type, reader: StrictReader, ...rest: [number?]) {
    const before = reader.skipped
    const message = decode.call(this, reader, ...rest)
    if (reader.skipped !== before) withUnknown.add(message)
    return message
  } as typeof type.decode
}
