import type {
  Authenticator,
  AuthenticatorConfig,
  AuthenticatorDeps,
  RefusalReason,
} from '../../../src/auth/authenticate.ts'
import { AccessRefusal, createAuthenticator } from '../../../src/auth/authenticate.ts'
import type { Credentials } from '../../../src/auth/credentials.ts'
import { METHODS, type MethodRow, type RpcName } from '../../../src/auth/methods.ts'
import type { Principal } from '../../../src/auth/principal.ts'
import { GatewayError } from '../../../src/base/errors.ts'
import { Secret } from '../../../src/base/secret.ts'
import type { OidcConfig, SandboxSecretConfig } from '../../../src/config/config.ts'
import { createCapturedLog } from '../../kit/captured-log.ts'
import { createFakeClock, type FakeClock } from '../../kit/clock.ts'

export const MASTER = 'master-secret-of-the-whole-fleet'

export const oidcConfig = (issuer: string, changes: Partial<OidcConfig> = {}): OidcConfig => ({
  issuer,
  audience: 'openshell-cli',
  clients: ['openshell-cli', 'openshell-ci'],
  jwksTtlSecs: 3600,
  rolesClaim: 'realm_access.roles',
  adminRole: 'openshell-admin',
  userRole: 'openshell-user',
  scopesClaim: '',
  algorithms: ['RS256'],
  leewaySecs: 60,
  allowHttp: false,
  caFile: null,
  streams: { watchGraceSecs: null, workGraceSecs: null },
  ...changes,
})

const secretConfig = (changes: Partial<SandboxSecretConfig> = {}): SandboxSecretConfig => ({
  master: new Secret(MASTER),
  issue: false,
  requireBinding: false,
  allowUnauthenticatedSupervisors: false,
  ...changes,
})

export interface HarnessOptions {
  readonly oidc?: OidcConfig | null
  readonly secret?: Partial<SandboxSecretConfig>
  readonly clientCa?: boolean
  readonly sandboxes?: string[]
  readonly clock?: FakeClock
  readonly deps?: Partial<AuthenticatorDeps>
}

/** What a caller presents; a text stands for one header value. */
export interface Presents {
  readonly token?: string | undefined
  readonly authorization?: string | readonly string[]
  readonly secret?: string | readonly string[]
  readonly certificate?: string
  readonly address?: string
  readonly connection?: object
}

export interface Harness {
  readonly authenticator: Authenticator
  readonly clock: FakeClock
  readonly log: ReturnType<typeof createCapturedLog>
  readonly refusals: RefusalReason[]
  readonly fetches: string[]
  readonly cacheHits: boolean[]
  /** The principal let in, or `CODE text`. */
  call(rpc: RpcName | MethodRow, presents?: Presents): Promise<Principal | string>
  /** `ok` or `CODE text`. */
  outcome(rpc: RpcName | MethodRow, presents?: Presents): Promise<string>
}

const list = (values: string | readonly string[] | undefined): readonly string[] =>
  values === undefined ? [] : typeof values === 'string' ? [values] : values

export const credentials = (presents: Presents): Credentials => ({
  authorization: presents.token === undefined ? list(presents.authorization) : [`Bearer ${presents.token}`],
  sandboxSecret: list(presents.secret),
  peer: {
    address: presents.address ?? '192.0.2.1',
    certificateFingerprint: presents.certificate ?? null,
    connection: presents.connection ?? {},
  },
})

const rows = new Map([...METHODS.values()].filter(row => row.rpc !== null).map(row => [row.rpc, row]))

export function createHarness(options: HarnessOptions): Harness {
  const clock = options.clock ?? createFakeClock(Date.now())
  const log = createCapturedLog()
  const refusals: RefusalReason[] = []
  const fetches: string[] = []
  const cacheHits: boolean[] = []
  const config: AuthenticatorConfig = {
    oidc: options.oidc === undefined ? oidcConfig('https://idp.test') : options.oidc,
    sandboxSecret: secretConfig(options.secret),
    clientCaConfigured: options.clientCa ?? false,
  }
  const authenticator = createAuthenticator(config, {
    clock,
    log,
    sandboxIds: async () => options.sandboxes ?? [],
    caFiles: [],
    onRefusal: reason => void refusals.push(reason),
    onKeyFetch: outcome => void fetches.push(outcome),
    onTokenCache: isHit => void cacheHits.push(isHit),
    ...options.deps,
  })
  const call = async (rpc: RpcName | MethodRow, presents: Presents = {}) => {
    const row = typeof rpc === 'string' ? rows.get(rpc)! : rpc
    try {
      return await authenticator.authenticate(row, credentials(presents))
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      if (!(error instanceof AccessRefusal) && error.kind !== 'UNAVAILABLE') throw error
      return `${error.kind} ${error.publicText}`
    }
  }
  return {
    authenticator,
    clock,
    log,
    refusals,
    fetches,
    cacheHits,
    call,
    async outcome(rpc, presents) {
      const got = await call(rpc, presents)
      return typeof got === 'string' ? got : 'ok'
    },
  }
}
