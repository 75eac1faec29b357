import { type Backoff, createBackoff } from '../base/backoff.ts'
import type { Clock, Timer } from '../base/clock.ts'
import { errorText } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import { type IssuerClient, IssuerError, type IssuerMetadata } from './discovery.ts'
import { type KeySet, readKeySet, type VerifyKey } from './key-set.ts'
import { createUnknownKids } from './unknown-kids.ts'

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

export function createKeyCache(deps: KeyCacheDeps): KeyCache {
  const { clock, client, log } = deps
  const ttlMs = Math.min(LIMITS.jwksTtlMostMs, Math.max(LIMITS.jwksTtlLeastMs, deps.ttlMs))
  const unknownKids = createUnknownKids(clock)
  const configuredNames = [deps.issuer, deps.issuer.replace(/\/+$/, '')]
  const connecting = createBackoff(LIMITS.issuerConnectFirstMs, LIMITS.issuerConnectMostMs)
  const retrying = createBackoff(
    LIMITS.issuerRetryFirstMs,
    LIMITS.issuerRetryMostMs,
    () => Math.random() * 2 * LIMITS.issuerRetryJitter,
  )
  const complain = createComplaint(clock, log)

  let names: ReadonlySet<string> = new Set(configuredNames)
  let metadata: IssuerMetadata | null = null
  let held = NO_KEYS
  let loadedMs: number | null = null
  let failures = 0
  let problem: string | null = null
  let isClosed = false
  let nextFetch: Timer | undefined
  let staleLimit: Timer | undefined
  let underWay: Promise<FetchOutcome> | null = null
  let lastOutcome: FetchOutcome | null = null
  let lastError: unknown = null
  /** Unknown ids that wait for the fetch under way. */
  const sought = new Set<string>()
  let waiting = 0

  const install = (set: KeySet) => {
    const isChanged = set.fingerprint !== held.fingerprint
    held = set
    if (isChanged) deps.onChange()
  }

  const accept = (set: KeySet) => {
    for (const { kid, reason } of set.dropped) log.warn('key of the issuer is not used', { kid, reason })
    if (set.keys.size === 0) {
      failures++
      problem = 'the key set has no usable key'
      return 'empty' as const
    }
    install(set)
    loadedMs = clock.monotonicMs()
    failures = 0
    problem = null
    retrying.reset()
    staleLimit?.cancel()
    staleLimit = clock.after(LIMITS.jwksStaleMs, () => {
      problem ??= 'the keys are too old'
      install(NO_KEYS)
    })
    log.info('keys of the issuer loaded', { count: set.keys.size })
    return 'loaded' as const
  }

  /** One discovery, if needed, and one fetch. Sets `failures` and `problem`; throws for the first caller to judge. */
  const load = async (): Promise<FetchOutcome> => {
    if (metadata === null || (failures > 0 && failures % LIMITS.rediscoverAfter === 0)) {
      metadata = await client.discover()
      names = new Set([...configuredNames, metadata.issuer])
    }
    const set = await readKeySet(await client.fetchKeys(metadata.jwksUri), deps.algorithms)
    if (set === null) throw new IssuerError('unreachable', `${metadata.jwksUri} is not a key set`)
    return accept(set)
  }

  const fetchOnce = (): Promise<FetchOutcome> => {
    underWay ??= load()
      .catch((error: unknown) => {
        failures++
        problem = errorText(error)
        lastError = error
        return 'failed' as const
      })
      .then(outcome => {
        underWay = null
        lastOutcome = outcome
        if (outcome !== 'failed' && [...sought].filter(kid => !held.keys.has(kid)).length > 1) unknownKids.exhaust()
        sought.clear()
        if (!isClosed) schedule(outcome)
        deps.onFetch?.(outcome)
        return outcome
      })
    return underWay
  }

  const schedule = (outcome: FetchOutcome) => {
    nextFetch?.cancel()
    if (outcome !== 'loaded') complain(deps.issuer, problem, failures)
    const backoff: Backoff = loadedMs === null ? connecting : retrying
    nextFetch = clock.after(outcome === 'loaded' ? ttlMs : backoff.nextMs(), () => void fetchOnce())
  }

  /** Joins the fetch under way or starts one; null when neither is allowed. Without any keys the timer tries, not callers. */
  const seek = (kid: string): Promise<FetchOutcome> | null => {
    if (isClosed) return null
    if (underWay === null && (held.keys.size === 0 || !unknownKids.takeFetch())) return null
    sought.add(kid)
    return within(fetchOnce(), LIMITS.issuerFetchMs, clock)
  }

  return {
    async start() {
      const outcome = await fetchOnce()
      if (outcome === 'failed' && lastError instanceof IssuerError && lastError.kind === 'wrong') throw lastError
    },
    find: kid => held.keys.get(kid),
    async resolve(kid) {
      const known = held.keys.get(kid)
      if (known) return known
      if (kid.length > LIMITS.kidChars || unknownKids.isRemembered(kid)) return 'unknown'
      if (waiting >= LIMITS.keyWaiters) return 'unavailable'
      const fetching = seek(kid)
      if (fetching === null) return held.keys.size === 0 || lastOutcome === 'failed' ? 'unavailable' : 'unknown'
      waiting++
      const outcome = await fetching
      waiting--
      const key = held.keys.get(kid)
      if (key) return key
      if (outcome === 'failed' || held.keys.size === 0) return 'unavailable'
      unknownKids.remember(kid)
      return 'unknown'
    },
    refresh: fetchOnce,
    issuerNames: () => names,
    state: () => ({
      isUsable: held.keys.size > 0,
      ageMs: loadedMs === null ? null : clock.monotonicMs() - loadedMs,
      failures,
      problem,
    }),
    close() {
      isClosed = true
      nextFetch?.cancel()
      staleLimit?.cancel()
      client.close()
    },
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

/** One line at the first failure, then one every `issuerLogMs` (decision 15). */
function createComplaint(clock: Clock, log: Logger) {
  let saidMs = Number.NEGATIVE_INFINITY
  return (issuer: string, problem: string | null, failures: number) => {
    if (failures > 1 && clock.monotonicMs() - saidMs < LIMITS.issuerLogMs) return
    saidMs = clock.monotonicMs()
    log.warn('keys of the issuer cannot be read, trying again', { issuer, problem, failures })
  }
}
