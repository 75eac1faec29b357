import protobuf from 'protobufjs/light.js'
import contract from './contract.generated.json'

/** A message, an enum or a service as the generated contract describes it. */
interface Described {
  readonly fields?: Readonly<Record<string, { readonly type: string }>>
  readonly values?: Readonly<Record<string, number>>
  readonly methods?: Readonly<Record<string, DescribedMethod>>
  readonly nested?: Readonly<Record<string, Described>>
}

interface DescribedMethod {
  readonly requestType: string
  readonly responseType: string
  readonly requestStream?: boolean
  readonly responseStream?: boolean
}

const root = new protobuf.Root()
const defined = new Set<string>()

/** What the contract says of a full name; undefined for scalars and strangers. */
function describe(fullName: string): Described | undefined {
  let found: Described | undefined = contract as Described
  for (const part of fullName.split('.'))
    found = found?.nested && Object.hasOwn(found.nested, part) ? found.nested[part] : undefined
  return found
}

/** The full name behind a name used inside a package. */
const fullNameIn = (space: string, name: string): string => (describe(`${space}.${name}`) ? `${space}.${name}` : name)

/** Adds a message or enum, and all that it mentions, to the reflection of the library. */
function define(fullName: string): void {
  const described = describe(fullName)
  if (!described || defined.has(fullName)) return
  defined.add(fullName)
  const end = fullName.lastIndexOf('.')
  const [space, name] = [fullName.slice(0, end), fullName.slice(end + 1)]
  const object = described.values
    ? protobuf.Enum.fromJSON(name, described as protobuf.IEnum)
    : protobuf.Type.fromJSON(name, described as protobuf.IType)
  root.define(space).add(object)
  for (const field of Object.values(described.fields ?? {})) define(fullNameIn(space, field.type))
}

/** Reflection of a message. Only messages that are used are built: all of them would cost every start 7 MiB and 20 ms. */
export function messageType(fullName: string): protobuf.Type {
  if (!defined.has(fullName)) {
    define(fullName)
    root.resolveAll()
  }
  return root.lookupType(fullName)
}

/** The RPCs of a service in the order of the proto file, with full names of their messages. */
export function describeService(service: string): [name: string, method: DescribedMethod][] {
  const space = service.slice(0, service.lastIndexOf('.'))
  return Object.entries(describe(service)?.methods ?? {}).map(([name, method]) => [
    name,
    {
      ...method,
      requestType: fullNameIn(space, method.requestType),
      responseType: fullNameIn(space, method.responseType),
    },
  ])
}
