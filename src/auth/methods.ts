import { LIMITS } from '../limits.ts'
import { methodsOf } from '../wire/codec.ts'
import type { Rpcs } from '../wire/messages.generated.ts'

/**
 * How a caller of an RPC proves who it is while OIDC is on (spec/auth.md §3, §8):
 * - `unauthenticated`: nobody has to prove anything;
 * - `sandbox-secret`: only the secret, no token instead of it;
 * - `dual`: the secret when it is right, otherwise as `bearer`;
 * - `bearer`: a user's token;
 * - `supervisor`: the secret or a verified client certificate, never a user's token.
 */
export type MethodClass = 'unauthenticated' | 'sandbox-secret' | 'dual' | 'bearer' | 'supervisor'

/** The role a bearer needs; the admin role also passes where `user` is asked for. Names come from the flags. */
export type Role = 'user' | 'admin'

export type RpcName = keyof Rpcs
export type RpcKind = Rpcs[RpcName]['kind']

export type Scope =
  | 'sandbox:read'
  | 'sandbox:write'
  | 'provider:read'
  | 'provider:write'
  | 'config:read'
  | 'config:write'
  | 'inference:read'
  | 'inference:write'
  | 'openshell:all'

/** Everything that is decided about an RPC before its message is read. */
export interface MethodRow {
  /** HTTP/2 path; `*` for the row of unlisted paths. */
  readonly path: string
  /** Label in logs and metrics, from a closed set: RPC name, or what kind of stray path this is. */
  readonly name: string
  /** The RPC of the contract behind the path; null = none, answered UNIMPLEMENTED to callers that pass. */
  readonly rpc: RpcName | null
  readonly class: MethodClass
  /** For the bearer path; null = no token is ever looked at. */
  readonly role: Role | null
  readonly scope: Scope | null
  /** Role in the workspace the request names; null in this version, which has no workspaces (spec/auth.md §10.6). */
  readonly workspaceRole: Role | null
  /** Allowed calls leave an audit line too, not only denied ones: what a user changes, and credentials that leave (O-01, A-10). */
  readonly audit: boolean
  readonly kind: RpcKind
  readonly requestStream: boolean
  readonly responseStream: boolean
  /** A unary call is over after this long; null for streams (reliability §5). */
  readonly deadlineMs: number | null
  /** What a stream of a user is, to the rule that ends it some time after its token; null = it is not ended. */
  readonly lifetime: 'watch' | 'work' | null
  /** The answer is a page of stored records, as large as `pageBytes`. */
  readonly isPage: boolean
}

type Access = Pick<MethodRow, 'class' | 'role' | 'scope'>
type Extras = Partial<Pick<MethodRow, 'audit' | 'deadlineMs' | 'lifetime' | 'isPage'>>
type Entry<Kind extends RpcKind> = readonly [kind: Kind, access: Access, extras?: Extras]

const OPEN: Access = { class: 'unauthenticated', role: null, scope: null }
const SECRET: Access = { class: 'sandbox-secret', role: null, scope: null }
const SUPERVISOR: Access = { class: 'supervisor', role: null, scope: null }
const user = (scope: Scope): Access => ({ class: 'bearer', role: 'user', scope })
const admin = (scope: Scope): Access => ({ class: 'bearer', role: 'admin', scope })
const dual = (role: Role, scope: Scope): Access => ({ class: 'dual', role, scope })

/** These wait for the compute driver, whose own deadline is longer than the default one. */
const DRIVER: Extras = { deadlineMs: LIMITS.driverRpcDeadlineMs }
const PAGE: Extras = { isPage: true }
/** Credentials leave the gateway with the answer. */
const AUDITED: Extras = { audit: true }

/**
 * TABLE who may call what, one row for each RPC of the contract (spec/auth.md §3.1, §3.2; supervisor rows §8).
 * An RPC without a row, or with the wrong kind, does not compile (reliability A-18).
 */
const TABLE: { readonly [Name in RpcName]: Entry<Rpcs[Name]['kind']> } = {
  Health: ['unary', OPEN],

  CreateSandbox: ['unary', user('sandbox:write'), DRIVER],
  GetSandbox: ['unary', user('sandbox:read')],
  ListSandboxes: ['unary', user('sandbox:read'), PAGE],
  DeleteSandbox: ['unary', user('sandbox:write'), DRIVER],
  CreateSshSession: ['unary', user('sandbox:write')],
  RevokeSshSession: ['unary', user('sandbox:write')],
  ExecSandbox: ['serverStream', user('sandbox:write'), { lifetime: 'work' }],
  WatchSandbox: ['serverStream', user('sandbox:read'), { lifetime: 'watch' }],
  GetSandboxLogs: ['unary', user('sandbox:read'), PAGE],
  GetSandboxPolicyStatus: ['unary', user('sandbox:read')],
  ListSandboxPolicies: ['unary', user('sandbox:read')],

  CreateProvider: ['unary', admin('provider:write')],
  GetProvider: ['unary', user('provider:read')],
  ListProviders: ['unary', user('provider:read'), PAGE],
  UpdateProvider: ['unary', admin('provider:write')],
  DeleteProvider: ['unary', admin('provider:write')],

  GetSandboxConfig: ['unary', dual('user', 'config:read')],
  GetGatewayConfig: ['unary', user('config:read')],
  UpdateConfig: ['unary', dual('admin', 'config:write')],
  GetDraftPolicy: ['unary', user('config:read')],
  GetDraftHistory: ['unary', user('config:read')],
  ApproveDraftChunk: ['unary', admin('config:write')],
  ApproveAllDraftChunks: ['unary', admin('config:write')],
  RejectDraftChunk: ['unary', admin('config:write')],
  EditDraftChunk: ['unary', admin('config:write')],
  UndoDraftChunk: ['unary', admin('config:write')],
  ClearDraftChunks: ['unary', admin('config:write')],

  ReportPolicyStatus: ['unary', SECRET],
  GetSandboxProviderEnvironment: ['unary', SECRET, AUDITED],
  PushSandboxLogs: ['clientStream', SECRET],
  SubmitPolicyAnalysis: ['unary', SECRET],
  ConnectSupervisor: ['bidi', SUPERVISOR],
  RelayStream: ['bidi', SUPERVISOR],

  GetInferenceBundle: ['unary', SECRET, AUDITED],
  GetClusterInference: ['unary', user('inference:read')],
  SetClusterInference: ['unary', admin('inference:write')],
}

/** The services this gateway answers for. */
export const SERVICES = ['openshell.v1.OpenShell', 'openshell.inference.v1.Inference'] as const

/** Paths that old callers use although no RPC stands behind them (spec/auth.md §3.3). */
const STRAYS: Readonly<Record<string, Access>> = {
  '/openshell.inference.v1.Inference/Health': OPEN,
  '/openshell.sandbox.v1.SandboxService/GetSandboxConfig': SECRET,
}

/**
 * Path prefixes of the standard services that tools probe without a credential. Nothing is served below them, and a
 * service that is added there needs rows of its own: rows win over prefixes.
 */
const OPEN_PREFIXES = ['/grpc.reflection.', '/grpc.health.'] as const

function makeRow(path: string, name: string, rpc: RpcName | null, [kind, access, extras]: Entry<RpcKind>): MethodRow {
  return Object.freeze({
    path,
    name,
    rpc,
    ...access,
    workspaceRole: null,
    audit: extras?.audit ?? access.scope?.endsWith(':write') ?? false,
    kind,
    requestStream: kind === 'clientStream' || kind === 'bidi',
    responseStream: kind === 'serverStream' || kind === 'bidi',
    deadlineMs: kind === 'unary' ? (extras?.deadlineMs ?? LIMITS.rpcDeadlineMs) : null,
    lifetime: extras?.lifetime ?? null,
    isPage: extras?.isPage ?? false,
  })
}

const stray = (path: string, name: string, access: Access): MethodRow => makeRow(path, name, null, ['unary', access])

/**
 * A path nobody listed: a user with every scope may learn that it is unknown. Reached only by paths without an RPC
 * behind them, since the rows below are complete or the module does not load (spec/auth.md §3.4).
 */
const UNLISTED = stray('*', 'unlisted', user('openshell:all'))
const PROBE = stray('*', 'probe', OPEN)

function buildRows(): ReadonlyMap<string, MethodRow> {
  const rows = new Map<string, MethodRow>()
  const missing = new Set<string>(Object.keys(TABLE))
  for (const method of SERVICES.flatMap(methodsOf)) {
    const name = method.name as RpcName
    if (!missing.delete(name)) throw new Error(`no single access row for ${method.path}`)
    const row = makeRow(method.path, name, name, TABLE[name])
    if (row.requestStream !== method.requestStream || row.responseStream !== method.responseStream)
      throw new Error(`access row of ${method.path} has the wrong kind`)
    rows.set(method.path, row)
  }
  if (missing.size > 0) throw new Error(`access rows without an RPC: ${[...missing].join(', ')}`)
  for (const [path, access] of Object.entries(STRAYS)) rows.set(path, stray(path, 'stray', access))
  return rows
}

/** Every listed path. Loading this module fails when table and contract differ. */
export const METHODS: ReadonlyMap<string, MethodRow> = buildRows()

/** The row that rules a path: exact and case-sensitive, without query string, never decoded (spec/auth.md §3.4). */
export function rowFor(path: string): MethodRow {
  return METHODS.get(path) ?? (OPEN_PREFIXES.some(prefix => path.startsWith(prefix)) ? PROBE : UNLISTED)
}
