import { createBackoff } from '../base/backoff.ts'
import type { Clock, Timer } from '../base/clock.ts'
import { errorText } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import { bareIssuer, type IssuerClient, IssuerError, type IssuerMetadata } from './discovery.ts'
import { type KeySet, readKeySet, type VerifyKey } from './key-set.ts'
import { createUnknownKids, type UnknownKids } from './unknown-kids.ts'

/** What came of a look-up that may have asked the issuer. */
export type KeyAnswer = VerifyKey | 'unknown' | 'unavailable'

/** Outcome of one fetch: `empty` = a readable document without a usable key, which replaces nothing (K-10). */
export type FetchOutcome = 'loaded' | 'empty' | 'failed'

export interface KeyState {
  /** There are keys that may be used. */
  readonly isUsable: boolean
  /** Since the last successful fetch; null before the first one. */
  readonly ageMs: number | null
  /** Fetches in a row that brought no usable set. */
  readonly failures: number
  /** Why the last fetch brought nothing; null when it did. */
  readonly problem: string | null
}

/**
 * The issuer's signing keys. One fetch at a time; keys are renewed in the background at the end of their time to live
 * and stay good for `jwksStaleMs` when the issuer is silent, by the monotonic clock (K-02 to K-06, K-14).
 */
export interface KeyCache {
  /** First discovery and fetch. Rejects with `IssuerError` only when the issuer is wrong; goes on trying otherwise. */
  start(): Promise<void>
  /** A held key, at once. */
  find(kid: string): VerifyKey | undefined
  /** For a kid that is not held: asks the issuer when the cool-down allows, never longer than one fetch. */
  resolve(kid: string): Promise<KeyAnswer>
  /** Fetches now, whatever the age (SIGHUP). */
  refresh(): Promise<FetchOutcome>
  /** `iss` values of this issuer's tokens: as configured, without trailing slashes, as its own document says. */
  issuerNames(): ReadonlySet<string>
  state(): KeyState
  close(): void
}

export interface KeyCacheDeps {
  readonly client: IssuerClient
  readonly issuer: string
  readonly algorithms: ReadonlySet<string>
  readonly ttlMs: number
  readonly clock: Clock
  readonly log: Logger
  /** The set of usable keys is another one than before, or none: what was verified with it counts no more. */
  readonly onChange: () => void
  readonly onFetch?: (outcome: FetchOutcome) => void
}

const NO_KEYS: KeySet = { keys: new Map(), dropped: [], fingerprint: '' }

export const createKeyCache = (deps: KeyCacheDeps): KeyCache => new IssuerKeys(deps)

class IssuerKeys implements KeyCache {
  readonly #deps: KeyCacheDeps
  readonly #ttlMs: number
  readonly #configuredNames: readonly string[]
  readonly #unknownKids: UnknownKids
  /** Waiting between tries before the first success, and later. */
  readonly #connecting = createBackoff(LIMITS.issuerConnectFirstMs, LIMITS.issuerConnectMostMs)
  readonly #retrying = createBackoff(
    LIMITS.issuerRetryFirstMs,
    LIMITS.issuerRetryMostMs,
    () => Math.random() * 2 * LIMITS.issuerRetryJitter,
  )
  #names: ReadonlySet<string>
  #metadata: IssuerMetadata | null = null
  #held = NO_KEYS
  #loadedMs: number | null = null
  #failures = 0
  #problem: string | null = null
  #complainedMs = Number.NEGATIVE_INFINITY
  #isClosed = false
  #nextFetch: Timer | undefined
  #staleLimit: Timer | undefined
  #underWay: Promise<FetchOutcome> | null = null
  #lastOutcome: FetchOutcome | null = null
  #lastError: unknown = null
  /** Unknown ids that wait for the fetch under way. */
  readonly #sought = new Set<string>()
  #waiting = 0

  constructor(deps: KeyCacheDeps) {
    this.#deps = deps
    this.#ttlMs = Math.min(LIMITS.jwksTtlMostMs, Math.max(LIMITS.jwksTtlLeastMs, deps.ttlMs))
    this.#configuredNames = [deps.issuer, bareIssuer(deps.issuer)]
    this.#names = new Set(this.#configuredNames)
    this.#unknownKids = createUnknownKids(deps.clock)
  }

  async start(): Promise<void> {
    const outcome = await this.refresh()
    if (outcome === 'failed' && this.#lastError instanceof IssuerError && this.#lastError.kind === 'wrong')
      throw this.#lastError
  }

  find(kid: string): VerifyKey | undefined {
    return this.#held.keys.get(kid)
  }

  async resolve(kid: string): Promise<KeyAnswer> {
    const known = this.find(kid)
    if (known) return known
    if (kid.length > LIMITS.kidChars || this.#isUseless(kid) || this.#unknownKids.isRemembered(kid)) return 'unknown'
    if (this.#waiting >= LIMITS.keyWaiters) return 'unavailable'
    const fetching = this.#seek(kid)
    if (fetching === null) return this.#isBlind || this.#lastOutcome === 'failed' ? 'unavailable' : 'unknown'
    this.#waiting++
    const outcome = await fetching
    this.#waiting--
    const key = this.find(kid)
    if (key) return key
    if (outcome === 'failed' || this.#isBlind) return 'unavailable'
    this.#unknownKids.remember(kid)
    return 'unknown'
  }

  /** Joins the fetch under way or starts one. */
  refresh(): Promise<FetchOutcome> {
    this.#underWay ??= this.#load()
      .catch((error: unknown) => {
        this.#failures++
        this.#problem = errorText(error)
        this.#lastError = error
        return 'failed' as const
      })
      .then(outcome => this.#finish(outcome))
    return this.#underWay
  }

  issuerNames(): ReadonlySet<string> {
    return this.#names
  }

  state(): KeyState {
    const ageMs = this.#loadedMs === null ? null : this.#deps.clock.monotonicMs() - this.#loadedMs
    return { isUsable: !this.#isBlind, ageMs, failures: this.#failures, problem: this.#problem }
  }

  close(): void {
    this.#isClosed = true
    this.#nextFetch?.cancel()
    this.#staleLimit?.cancel()
    this.#deps.client.close()
  }

  /** The issuer publishes the id for a key that is not for us: asking again brings nothing. */
  #isUseless(kid: string): boolean {
    return this.#held.dropped.some(key => key.kid === kid)
  }

  get #isBlind(): boolean {
    return this.#held.keys.size === 0
  }

  /** A fetch for an unknown id; null when none is allowed. Without any keys the timer tries, not callers. */
  #seek(kid: string): Promise<FetchOutcome> | null {
    if (this.#isClosed) return null
    if (this.#underWay === null && (this.#isBlind || !this.#unknownKids.takeFetch())) return null
    this.#sought.add(kid)
    return within(this.refresh(), LIMITS.issuerFetchMs, this.#deps.clock)
  }

  /** One discovery, if needed, and one fetch of keys. */
  async #load(): Promise<FetchOutcome> {
    const { client, algorithms } = this.#deps
    const isDoubtful = this.#failures > 0 && this.#failures % LIMITS.rediscoverAfter === 0
    if (this.#metadata === null || isDoubtful) {
      this.#metadata = await client.discover()
      this.#names = new Set([...this.#configuredNames, this.#metadata.issuer])
    }
    const { jwksUri } = this.#metadata
    const set = await readKeySet(await client.fetchKeys(jwksUri), algorithms)
    if (set === null) throw new IssuerError('unreachable', `${jwksUri} is not a key set`)
    return this.#accept(set)
  }

  /** An empty set replaces nothing (K-10). */
  #accept(set: KeySet): FetchOutcome {
    const { clock, log } = this.#deps
    for (const { kid, reason } of set.dropped) log.warn('key of the issuer is not used', { kid, reason })
    if (set.keys.size === 0) {
      this.#failures++
      this.#problem = 'the key set has no usable key'
      return 'empty'
    }
    this.#install(set)
    this.#loadedMs = clock.monotonicMs()
    this.#failures = 0
    this.#problem = null
    this.#retrying.reset()
    this.#staleLimit?.cancel()
    this.#staleLimit = clock.after(LIMITS.jwksStaleMs, () => {
      this.#problem ??= 'the keys are too old'
      this.#install(NO_KEYS)
    })
    log.info('keys of the issuer loaded', { count: set.keys.size })
    return 'loaded'
  }

  #install(set: KeySet): void {
    const isChanged = set.fingerprint !== this.#held.fingerprint
    this.#held = set
    if (isChanged) this.#deps.onChange()
  }

  /** Different ids that a readable set does not hold are a flood, not a rotation. */
  #finish(outcome: FetchOutcome): FetchOutcome {
    this.#underWay = null
    this.#lastOutcome = outcome
    const stillUnknown = [...this.#sought].filter(kid => !this.#held.keys.has(kid))
    if (outcome !== 'failed' && stillUnknown.length > 1) this.#unknownKids.exhaust()
    this.#sought.clear()
    if (this.#isClosed) this.#staleLimit?.cancel()
    else this.#schedule(outcome)
    this.#deps.onFetch?.(outcome)
    return outcome
  }

  #schedule(outcome: FetchOutcome): void {
    this.#nextFetch?.cancel()
    if (outcome !== 'loaded') this.#complain()
    const backoff = this.#loadedMs === null ? this.#connecting : this.#retrying
    const waitMs = outcome === 'loaded' ? this.#ttlMs : backoff.nextMs()
    this.#nextFetch = this.#deps.clock.after(waitMs, () => void this.refresh())
  }

  /** One line at the first failure, then one every `issuerLogMs` (decision 15). */
  #complain(): void {
    const { clock, log, issuer } = this.#deps
    if (this.#failures > 1 && clock.monotonicMs() - this.#complainedMs < LIMITS.issuerLogMs) return
    this.#complainedMs = clock.monotonicMs()
    const fields = { issuer, problem: this.#problem, failures: this.#failures }
    log.warn('keys of the issuer cannot be read, trying again', fields)
  }
}

/** The outcome, or `failed` for a caller who has waited long enough. */
function within(outcome: Promise<FetchOutcome>, ms: number, clock: Clock): Promise<FetchOutcome> {
  return new Promise(resolve => {
    const timer = clock.after(ms, () => resolve('failed'))
    void outcome.then(value => {
      timer.cancel()
      resolve(value)
    })
  })
}
