import type { Clock } from '../base/clock.ts'
import { type ErrorKind, GatewayError, StartError } from '../base/errors.ts'
import type { OidcConfig, SandboxSecretConfig } from '../config/config.ts'
import type { Logger } from '../observe/log.ts'
import { isRefusal, type TokenPolicy, type TokenRefusal, verifyToken } from './bearer.ts'
import { cautionsOf } from './cautions.ts'
import { type ClaimPath, parseClaimPath } from './claims.ts'
import { bearerOf, type Credentials, secretOf } from './credentials.ts'
import { type AccessPolicy, type DenyReason, decideProof, decideUser, type Presented } from './decide.ts'
import { createIssuerClient, type Fetch, IssuerError } from './discovery.ts'
import { createFailureThrottle, type GuessingPeer } from './failure-throttle.ts'
import { createKeyCache, type FetchOutcome, type KeyCache } from './keys.ts'
import type { MethodRow } from './methods.ts'
import { ANONYMOUS, type Principal, type SandboxPrincipal, type User } from './principal.ts'
import { createSandboxSecrets, type SandboxSecrets, type SecretVerdict } from './sandbox-secret.ts'
import { AUTH_TEXTS, TOKEN_TEXTS, type TokenReason } from './texts.ts'
import { createTokenCache } from './token-cache.ts'

/** Why a call is refused; a closed set, fit for a metric label. */
export type RefusalReason = DenyReason | TokenReason | 'keys-unavailable' | 'too-many-failures'

/** A refused call: the public text and status, and for the log the reason and who was refused, if that was proved. */
export class AccessRefusal extends GatewayError {
  readonly reason: RefusalReason
  readonly principal: Principal | null

  constructor(
    kind: ErrorKind,
    text: string,
    reason: RefusalReason,
    principal: Principal | null = null,
    detail?: string,
  ) {
    super(kind, text, { cause: detail === undefined ? reason : `${reason}: ${detail}` })
    this.reason = reason
    this.principal = principal
  }
}

/** How the issuer's keys stand. `stale`: in use beyond their time to live, since the issuer does not answer. */
export interface AuthReadiness {
  readonly status: 'off' | 'ok' | 'stale' | 'unavailable'
  readonly reason?: string
  readonly keysAgeMs: number | null
}

/** Proves who calls and decides whether they may (spec/auth.md §4). */
export interface Authenticator {
  /**
   * The caller of a method, allowed to call it. Throws `AccessRefusal` otherwise, and UNAVAILABLE when it cannot be
   * told. Synchronous unless a token has to be verified, a sandbox looked up, or an answer is held back.
   */
  authenticate(row: MethodRow, credentials: Credentials): Principal | Promise<Principal>
  /** First contact with the issuer. Rejects with `StartError` only when the issuer is wrong (decision 15). */
  start(): Promise<void>
  /** Fetches the keys now and forgets verified tokens (SIGHUP). */
  reload(): Promise<void>
  readiness(): AuthReadiness
  readonly secrets: SandboxSecrets
  close(): void
}

export interface AuthenticatorConfig {
  /** Null = OIDC off: nothing is asked for, everybody is anonymous. */
  readonly oidc: OidcConfig | null
  readonly sandboxSecret: SandboxSecretConfig
  readonly clientCaConfigured: boolean
}

export interface AuthenticatorDeps {
  readonly clock: Clock
  readonly log: Logger
  /** Ids of the sandboxes there are; read for a derived secret that is not known yet. */
  readonly sandboxIds: () => Promise<Iterable<string>>
  /** PEM bundles trusted for the issuer beside `--oidc-ca-file`: SSL_CERT_FILE. */
  readonly caFiles: readonly string[]
  readonly fetch?: Fetch
  /** A connection that guessed secrets too often; it should be closed. */
  readonly onAbuse?: (peer: GuessingPeer) => void
  readonly onRefusal?: (reason: RefusalReason) => void
  readonly onKeyFetch?: (outcome: FetchOutcome) => void
  readonly onTokenCache?: (isHit: boolean) => void
}

const CERTIFICATE: SandboxPrincipal = Object.freeze({ kind: 'sandbox', proof: 'certificate', sandboxId: null })

/** Builds the authenticator. Throws `StartError` (exit 2) for claim paths and algorithms that cannot work. */
export function createAuthenticator(config: AuthenticatorConfig, deps: AuthenticatorDeps): Authenticator {
  const secrets = createSandboxSecrets(config.sandboxSecret, deps)
  const made = config.oidc === null ? openToAll(secrets) : askForProof(config, config.oidc, secrets, deps)
  return {
    ...made,
    start() {
      for (const caution of cautionsOf(config)) deps.log.warn(caution)
      return made.start()
    },
  }
}

/** OIDC off: the secret is not checked anywhere and `authorization` is ignored (spec/auth.md §1.1). */
const openToAll = (secrets: SandboxSecrets): Authenticator => ({
  authenticate: () => ANONYMOUS,
  start: async () => {},
  reload: async () => {},
  readiness: () => ({ status: 'off', keysAgeMs: null }),
  secrets,
  close: () => {},
})

function askForProof(
  config: AuthenticatorConfig,
  oidc: OidcConfig,
  secrets: SandboxSecrets,
  deps: AuthenticatorDeps,
): Authenticator {
  const tokenPolicy = tokenPolicyOf(oidc)
  const access: AccessPolicy = {
    adminRole: oidc.adminRole,
    userRole: oidc.userRole,
    scopesEnabled: tokenPolicy.scopesPath !== null,
    clientCaConfigured: config.clientCaConfigured,
    allowUnauthenticatedSupervisors: config.sandboxSecret.allowUnauthenticatedSupervisors,
  }
  const cache = createTokenCache(deps.clock, oidc.leewaySecs)
  const keys = openKeys(oidc, tokenPolicy, deps, cache.clear)
  const throttle = createFailureThrottle(deps.clock, deps.onAbuse)

  const refusal = (
    kind: ErrorKind,
    text: string,
    reason: RefusalReason,
    principal: Principal | null = null,
    detail?: string,
  ) => {
    deps.onRefusal?.(reason)
    return new AccessRefusal(kind, text, reason, principal, detail)
  }

  /** The bearer of a token, verified now or a moment ago. */
  const userOf = (token: string): User | Promise<User> => {
    const key = cache.keyOf(token)
    const known = cache.get(key)
    deps.onTokenCache?.(known !== undefined)
    if (known) return known
    const generation = cache.generation
    return verifyToken(token, keys, tokenPolicy, deps.clock.nowMs()).then(verdict => {
      if (isRefusal(verdict)) throw tokenRefusal(verdict)
      if (generation === cache.generation) cache.set(key, verdict)
      return verdict
    })
  }

  const tokenRefusal = ({ refused, detail }: TokenRefusal): AccessRefusal =>
    refused === 'keys-unavailable'
      ? refusal('UNAVAILABLE', AUTH_TEXTS.keysUnavailable, refused, null, keys.state().problem ?? detail)
      : refusal('UNAUTHENTICATED', TOKEN_TEXTS[refused], refused, null, detail)

  const authorize = (row: MethodRow, user: User): Principal => {
    const verdict = decideUser(row, user, access)
    if (verdict.verdict === 'allow') return user
    throw refusal(verdict.kind, verdict.text, verdict.reason, user)
  }

  const conclude = (
    row: MethodRow,
    presented: Credentials,
    bearer: ReturnType<typeof bearerOf>,
    secret: Presented['secret'],
    proven: SecretVerdict,
  ): Principal | Promise<Principal> => {
    const certificate = presented.peer.certificateFingerprint !== null
    const proof = decideProof(row, { secret, bearer: bearer !== 'absent', certificate }, access)
    if (proof.verdict === 'deny') throw refusal(proof.kind, proof.text, proof.reason)
    if (proof.verdict === 'allow')
      return proof.as === 'secret' ? proven! : proof.as === 'certificate' ? CERTIFICATE : ANONYMOUS
    if (typeof bearer === 'string') throw refusal('UNAUTHENTICATED', TOKEN_TEXTS.repeated, 'repeated')
    const user = userOf(bearer.token)
    return user instanceof Promise ? user.then(verified => authorize(row, verified)) : authorize(row, user)
  }

  /** A wrong secret is counted; the refusal that follows is held back once the address is over its budget. */
  const afterWrongSecret = async (
    row: MethodRow,
    presented: Credentials,
    bearer: ReturnType<typeof bearerOf>,
  ): Promise<Principal> => {
    const isOver = throttle.recordFailure(presented.peer)
    try {
      return await conclude(row, presented, bearer, 'wrong', null)
    } catch (error) {
      if (!isOver) throw error
      await throttle.holdBack()
      throw refusal('RESOURCE_EXHAUSTED', AUTH_TEXTS.tooManyFailures, 'too-many-failures')
    }
  }

  const withSecret = (
    row: MethodRow,
    presented: Credentials,
    verdict: SecretVerdict,
  ): Principal | Promise<Principal> => {
    const bearer = bearerOf(presented.authorization)
    return verdict === null
      ? afterWrongSecret(row, presented, bearer)
      : conclude(row, presented, bearer, 'right', verdict)
  }

  return {
    authenticate(row, presented) {
      if (row.class === 'unauthenticated') return ANONYMOUS
      const secret = row.class === 'bearer' ? undefined : secretOf(presented.sandboxSecret)
      if (secret === undefined) return conclude(row, presented, bearerOf(presented.authorization), 'absent', null)
      const verdict = secrets.check(secret, !throttle.isOverBudget(presented.peer.address))
      return verdict instanceof Promise
        ? verdict.then(known => withSecret(row, presented, known))
        : withSecret(row, presented, verdict)
    },
    start: () => startKeys(keys),
    async reload() {
      cache.clear()
      await keys.refresh()
    },
    readiness: () => readinessOf(keys),
    secrets,
    close: keys.close,
  }
}

function readPath(flag: string, text: string): ClaimPath {
  const read = parseClaimPath(text)
  if (read.ok) return read.path
  throw new StartError(`${flag} '${text}' ${read.message}`, 2)
}

function tokenPolicyOf(oidc: OidcConfig): TokenPolicy {
  return {
    audience: oidc.audience,
    clients: oidc.clients === '*' ? '*' : new Set(oidc.clients),
    algorithms: new Set(oidc.algorithms),
    leewaySecs: oidc.leewaySecs,
    rolesPath: readPath('--oidc-roles-claim', oidc.rolesClaim),
    scopesPath: oidc.scopesClaim === '' ? null : readPath('--oidc-scopes-claim', oidc.scopesClaim),
  }
}

function openKeys(oidc: OidcConfig, policy: TokenPolicy, deps: AuthenticatorDeps, onChange: () => void): KeyCache {
  const client = createIssuerClient({
    issuer: oidc.issuer,
    allowHttp: oidc.allowHttp,
    caFiles: oidc.caFile === null ? deps.caFiles : [...deps.caFiles, oidc.caFile],
    clock: deps.clock,
    ...(deps.fetch ? { fetch: deps.fetch } : {}),
  })
  return createKeyCache({
    client,
    issuer: oidc.issuer,
    algorithms: policy.algorithms,
    ttlMs: oidc.jwksTtlSecs * 1000,
    clock: deps.clock,
    log: deps.log,
    onChange,
    ...(deps.onKeyFetch ? { onFetch: deps.onKeyFetch } : {}),
  })
}

async function startKeys(keys: KeyCache): Promise<void> {
  try {
    await keys.start()
  } catch (error) {
    keys.close()
    if (error instanceof IssuerError) throw new StartError(error.message, 1, { cause: error })
    throw error
  }
}

function readinessOf(keys: KeyCache): AuthReadiness {
  const { isUsable, ageMs, problem, failures } = keys.state()
  const status = !isUsable ? 'unavailable' : failures > 0 ? 'stale' : 'ok'
  return { status, keysAgeMs: ageMs, ...(problem === null ? {} : { reason: problem }) }
}
