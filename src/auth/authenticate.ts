import type { Clock } from '../base/clock.ts'
import { type ErrorKind, GatewayError, StartError } from '../base/errors.ts'
import type { OidcConfig, SandboxSecretConfig } from '../config/config.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import { isRefusal, type TokenPolicy, type TokenRefusal, verifyToken } from './bearer.ts'
import { cautionsOf } from './cautions.ts'
import { type ClaimPath, parseClaimPath } from './claims.ts'
import { bearerOf, type Credentials, secretOf } from './credentials.ts'
import { type AccessPolicy, type DenyReason, decideProof, decideUser, type Presented } from './decide.ts'
import { createIssuerClient, type Fetch, IssuerError } from './discovery.ts'
import { createFailureThrottle, type FailureThrottle, type GuessingPeer } from './failure-throttle.ts'
import { createKeyCache, type FetchOutcome, type KeyCache } from './keys.ts'
import type { MethodRow } from './methods.ts'
import { ANONYMOUS, type Principal, type SandboxPrincipal, type User } from './principal.ts'
import { createSandboxSecrets, type SandboxSecrets, type SecretVerdict } from './sandbox-secret.ts'
import { AUTH_TEXTS, TOKEN_TEXTS, type TokenReason } from './texts.ts'
import { createTokenCache, type TokenCache } from './token-cache.ts'

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

/** Builds the authenticator and warns of generous settings. Throws `StartError` (exit 2) for a claim path that leads nowhere. */
export function createAuthenticator(config: AuthenticatorConfig, deps: AuthenticatorDeps): Authenticator {
  const secrets = createSandboxSecrets(config.sandboxSecret, deps)
  for (const caution of cautionsOf(config)) deps.log.warn(caution)
  return config.oidc === null ? openToAll(secrets) : new ProofAuthenticator(config, config.oidc, secrets, deps)
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

/** What the parts of one call's credentials are, once the secret is checked. */
interface Attempt {
  readonly row: MethodRow
  readonly presented: Credentials
  readonly secret: Presented['secret']
  readonly proven: SecretVerdict
}

/** OIDC on: the decision flow of spec/auth.md §4. */
class ProofAuthenticator implements Authenticator {
  readonly secrets: SandboxSecrets
  readonly #deps: AuthenticatorDeps
  readonly #tokenPolicy: TokenPolicy
  readonly #access: AccessPolicy
  readonly #cache: TokenCache
  readonly #keys: KeyCache
  readonly #throttle: FailureThrottle

  constructor(config: AuthenticatorConfig, oidc: OidcConfig, secrets: SandboxSecrets, deps: AuthenticatorDeps) {
    this.secrets = secrets
    this.#deps = deps
    this.#tokenPolicy = tokenPolicyOf(oidc)
    this.#access = {
      adminRole: oidc.adminRole,
      userRole: oidc.userRole,
      scopesEnabled: this.#tokenPolicy.scopesPath !== null,
      clientCaConfigured: config.clientCaConfigured,
      allowUnauthenticatedSupervisors: config.sandboxSecret.allowUnauthenticatedSupervisors,
    }
    this.#cache = createTokenCache(deps.clock, oidc.leewaySecs)
    this.#keys = openKeys(oidc, this.#tokenPolicy, deps, this.#cache.clear)
    this.#throttle = createFailureThrottle(deps.clock, deps.onAbuse)
  }

  authenticate(row: MethodRow, presented: Credentials): Principal | Promise<Principal> {
    if (row.class === 'unauthenticated') return ANONYMOUS
    const secret = row.class === 'bearer' ? undefined : secretOf(presented.sandboxSecret)
    if (secret === undefined) return this.#decide({ row, presented, secret: 'absent', proven: null })
    const verdict = this.secrets.check(secret, !this.#throttle.isOverBudget(presented.peer.address))
    if (verdict instanceof Promise) return verdict.then(proven => this.#withSecret(row, presented, proven))
    return this.#withSecret(row, presented, verdict)
  }

  async start(): Promise<void> {
    try {
      await this.#keys.start()
    } catch (error) {
      this.#keys.close()
      throw error instanceof IssuerError ? new StartError(error.message, 1, { cause: error }) : error
    }
  }

  async reload(): Promise<void> {
    this.#cache.clear()
    await this.#keys.refresh()
  }

  readiness(): AuthReadiness {
    const { isUsable, ageMs, problem, failures } = this.#keys.state()
    const status = !isUsable ? 'unavailable' : failures > 0 ? 'stale' : 'ok'
    return { status, keysAgeMs: ageMs, ...(problem === null ? {} : { reason: problem }) }
  }

  close(): void {
    this.#keys.close()
  }

  #withSecret(row: MethodRow, presented: Credentials, proven: SecretVerdict): Principal | Promise<Principal> {
    if (proven === null) return this.#afterWrongSecret({ row, presented, secret: 'wrong', proven })
    return this.#decide({ row, presented, secret: 'right', proven })
  }

  /** A wrong secret is counted; the refusal that follows is held back once the address is over its budget. */
  async #afterWrongSecret(attempt: Attempt): Promise<Principal> {
    const isOver = this.#throttle.recordFailure(attempt.presented.peer)
    try {
      return await this.#decide(attempt)
    } catch (error) {
      if (!isOver) throw error
      await this.#throttle.holdBack()
      throw this.#refusal('RESOURCE_EXHAUSTED', AUTH_TEXTS.tooManyFailures, 'too-many-failures')
    }
  }

  #decide({ row, presented, secret, proven }: Attempt): Principal | Promise<Principal> {
    const bearer = bearerOf(presented.authorization)
    const certificate = presented.peer.certificateFingerprint !== null
    const proof = decideProof(row, { secret, bearer: bearer !== 'absent', certificate }, this.#access)
    if (proof.verdict === 'deny') throw this.#refusal(proof.kind, proof.text, proof.reason)
    if (proof.verdict === 'allow')
      return proof.as === 'secret' ? proven! : proof.as === 'certificate' ? CERTIFICATE : ANONYMOUS
    if (typeof bearer === 'string') throw this.#refusal('UNAUTHENTICATED', TOKEN_TEXTS.repeated, 'repeated')
    const user = this.#userOf(bearer.token)
    return user instanceof Promise ? user.then(verified => this.#authorize(row, verified)) : this.#authorize(row, user)
  }

  /** The bearer of a token, verified now or a moment ago. */
  #userOf(token: string): User | Promise<User> {
    if (token.length > LIMITS.tokenBytes) throw this.#tokenRefusal({ refused: 'oversize' })
    const key = this.#cache.keyOf(token)
    const known = this.#cache.get(key)
    this.#deps.onTokenCache?.(known !== undefined)
    return known ?? this.#verify(token, key)
  }

  async #verify(token: string, key: string): Promise<User> {
    const generation = this.#cache.generation
    const verdict = await verifyToken(token, this.#keys, this.#tokenPolicy, this.#deps.clock.nowMs())
    if (isRefusal(verdict)) throw this.#tokenRefusal(verdict)
    if (generation === this.#cache.generation) this.#cache.set(key, verdict)
    return verdict
  }

  #authorize(row: MethodRow, user: User): Principal {
    const verdict = decideUser(row, user, this.#access)
    if (verdict.verdict === 'allow') return user
    throw this.#refusal(verdict.kind, verdict.text, verdict.reason, user)
  }

  #tokenRefusal({ refused, detail }: TokenRefusal): AccessRefusal {
    if (refused !== 'keys-unavailable')
      return this.#refusal('UNAUTHENTICATED', TOKEN_TEXTS[refused], refused, null, detail)
    const problem = this.#keys.state().problem ?? detail
    return this.#refusal('UNAVAILABLE', AUTH_TEXTS.keysUnavailable, refused, null, problem)
  }

  #refusal(
    kind: ErrorKind,
    text: string,
    reason: RefusalReason,
    principal: Principal | null = null,
    detail?: string,
  ): AccessRefusal {
    this.#deps.onRefusal?.(reason)
    return new AccessRefusal(kind, text, reason, principal, detail)
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
