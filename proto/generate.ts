/**
 * Turns the contract in `proto/*.proto` into what the executable embeds:
 * `src/wire/contract.generated.json` (descriptors) and `src/wire/messages.generated.ts` (types).
 * Run it after changing a proto file; a contract test fails when the output is stale.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import protobuf from 'protobufjs'

const PROTO_DIR = import.meta.dir
const WIRE_DIR = join(PROTO_DIR, '..', 'src', 'wire')
const INTEGERS_64 = new Set(['int64', 'uint64', 'sint64', 'fixed64', 'sfixed64'])
const SCALARS: Record<string, string> = { string: 'string', bool: 'boolean', bytes: 'Uint8Array' }

/** Parses every proto file and returns one root with all types resolved. */
function loadContract(): protobuf.Root {
  const root = new protobuf.Root()
  for (const file of readdirSync(PROTO_DIR)
    .filter(name => name.endsWith('.proto'))
    .sort())
    protobuf.parse(readFileSync(join(PROTO_DIR, file), 'utf8'), root, { keepCase: true })
  root.addJSON(protobuf.common.get('google/protobuf/struct.proto')!.nested!)
  root.resolveAll()
  return root
}

function* walk(namespace: protobuf.NamespaceBase): Generator<protobuf.ReflectionObject> {
  for (const object of namespace.nestedArray) {
    yield object
    if (object instanceof protobuf.Namespace) yield* walk(object)
  }
}

/** TypeScript name of a message or enum: its own name, with the package in front only where two packages share names. */
const identifier = (object: protobuf.ReflectionObject): string =>
  object.fullName.startsWith('.openshell.compute.') ? `Compute${object.name}` : object.name

function typeOf(field: protobuf.Field): string {
  const target = field.resolvedType
  const single = target
    ? target instanceof protobuf.Enum
      ? 'number'
      : identifier(target)
    : (SCALARS[field.type] ?? (INTEGERS_64.has(field.type) ? 'bigint' : 'number'))
  if (field.map) return `Record<string, ${single}>`
  if (field.repeated) return `${single}[]`
  return target instanceof protobuf.Type ? `${single} | null` : single
}

/** The text of both generated files, so that a test can compare without writing. */
export function generate(): { contract: string; messages: string } {
  const root = loadContract()
  const types: protobuf.Type[] = []
  const enums: protobuf.Enum[] = []
  for (const object of walk(root)) {
    if (object instanceof protobuf.Type) types.push(object)
    else if (object instanceof protobuf.Enum) enums.push(object)
  }
  const lines = ['// Made by proto/generate.ts from proto/*.proto. Not edited by hand.', '']
  for (const item of enums) {
    const values = Object.entries(item.values).map(([name, value]) => `${name}: ${value}`)
    lines.push(`export const ${identifier(item)} = { ${values.join(', ')} } as const`, '')
  }
  for (const type of types) {
    lines.push(`export interface ${identifier(type)} {`)
    for (const field of type.fieldsArray) lines.push(`  ${field.name}: ${typeOf(field)}`)
    for (const oneof of type.oneofsArray)
      if (!oneof.isProto3Optional)
        lines.push(
          `  /** Which member is set. */`,
          `  readonly ${oneof.name}?: ${oneof.oneof.map(name => `'${name}'`).join(' | ')}`,
        )
    lines.push('}', '')
  }
  lines.push('/** Full protobuf name → message. */', 'export interface Messages {')
  for (const type of types) lines.push(`  '${type.fullName.slice(1)}': ${identifier(type)}`)
  lines.push(
    '}',
    '',
    '/** RPC name → its messages and kind; names are unique over the services the gateway serves. */',
    'export interface Rpcs {',
  )
  for (const name of ['openshell.v1.OpenShell', 'openshell.inference.v1.Inference'])
    for (const method of root.lookupService(name).methodsArray) {
      const kind = method.requestStream
        ? method.responseStream
          ? 'bidi'
          : 'clientStream'
        : method.responseStream
          ? 'serverStream'
          : 'unary'
      lines.push(
        `  ${method.name}: { request: ${identifier(method.resolvedRequestType!)}; response: ${identifier(method.resolvedResponseType!)}; kind: '${kind}' }`,
      )
    }
  lines.push('}', '')
  return { contract: `${JSON.stringify(root.toJSON())}\n`, messages: lines.join('\n') }
}

if (import.meta.main) {
  const { contract, messages } = generate()
  writeFileSync(join(WIRE_DIR, 'contract.generated.json'), contract)
  writeFileSync(join(WIRE_DIR, 'messages.generated.ts'), messages)
}
