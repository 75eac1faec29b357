/** TABLE of the fields of a policy, field numbers as in the contract: writer and reader of its bytes go by it. */

/** How a field that is no message is written. */
export type Kind = 'string' | 'strings' | 'bool' | 'uint32' | 'packed'
export type Nested = { readonly one: Shape } | { readonly many: Shape } | { readonly map: Shape }
type Row = readonly [field: number, name: string, kind: Kind | Nested]
/** The fields of one message in ascending number. */
export type Shape = readonly Row[]

const MATCHER: Shape = [
  [1, 'glob', 'string'],
  [2, 'any', 'strings'],
]
/** L7Allow and L7DenyRule have the same fields. */
export const L7: Shape = [
  [1, 'method', 'string'],
  [2, 'path', 'string'],
  [3, 'command', 'string'],
  [4, 'query', { map: MATCHER }],
]
export const L7_RULE: Shape = [[1, 'allow', { one: L7 }]]
const ENDPOINT: Shape = [
  [1, 'host', 'string'],
  [2, 'port', 'uint32'],
  [3, 'protocol', 'string'],
  [4, 'tls', 'string'],
  [5, 'enforcement', 'string'],
  [6, 'access', 'string'],
  [7, 'rules', { many: L7_RULE }],
  [8, 'allowed_ips', 'strings'],
  [9, 'ports', 'packed'],
  [10, 'deny_rules', { many: L7 }],
  [11, 'allow_encoded_slash', 'bool'],
]
const BINARY: Shape = [
  [1, 'path', 'string'],
  [2, 'harness', 'bool'],
]
export const RULE: Shape = [
  [1, 'name', 'string'],
  [2, 'endpoints', { many: ENDPOINT }],
  [3, 'binaries', { many: BINARY }],
]
export const FILESYSTEM: Shape = [
  [1, 'include_workdir', 'bool'],
  [2, 'read_only', 'strings'],
  [3, 'read_write', 'strings'],
]
export const LANDLOCK: Shape = [[1, 'compatibility', 'string']]
export const PROCESS: Shape = [
  [1, 'run_as_user', 'string'],
  [2, 'run_as_group', 'string'],
]
export const POLICY: Shape = [
  [1, 'version', 'uint32'],
  [2, 'filesystem', { one: FILESYSTEM }],
  [3, 'landlock', { one: LANDLOCK }],
  [4, 'process', { one: PROCESS }],
  [5, 'network_policies', { map: RULE }],
]
