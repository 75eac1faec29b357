import { type Backoff, createBackoff } from '../base/backoff.ts'
import type { Clock } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import type { Secret } from '../base/secret.ts'
import { type CredentialsDriver, DriverError, type ResolvedCredential } from '../drivers/contract.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'

/**
 * Tokens that the credentials driver holds, by name (decision 4, decision 17, spec/providers.md §14.4). One call to the
 * driver at a time for a name, whoever asks; an answer serves until 30 s before its end; from 60 s before, the next
 * caller starts a fetch that nobody waits for. A driver that fails is left alone for a while, and what is held is
 * given out as long as it lives. Nothing is kept on disk, nothing of a token is logged.
 */
export interface Credentials {
  /**
   * The token of `name`. Rejects with a `GatewayError`: FAILED_PRECONDITION without a driver or for a name it does not
   * know, UNAVAILABLE otherwise. An aborted `signal` ends the waiting, not the fetch that others share.
   */
  resolve(name: string, signal?: AbortSignal): Promise<Secret>
  /** Names remembered, for metrics. */
  readonly size: number
}

export interface CredentialsDeps {
  /** Null = none is configured. */
  readonly driver: CredentialsDriver | null
  readonly clock: Clock
  readonly log: Logger
}

interface Held {
  readonly token: Secret
  /** Wall time until which it is given out without question. */
  readonly freshUntilMs: number
  /** Wall time from which the next caller starts a fetch. */
  readonly refreshFromMs: number
  /** Wall time of its end. */
  readonly aliveUntilMs: number
}

interface Entry {
  held: Held | null
  fetching: Promise<Secret> | null
  /** Monotonic time before which the driver is not asked again after a failure. */
  notBeforeMs: number
  failure: GatewayError | null
  readonly backoff: Backoff
}

export const NO_CREDENTIALS_DRIVER = 'no credentials driver is configured'

export function createCredentials(deps: CredentialsDeps): Credentials {
  const { driver, clock } = deps
  const entries = new Map<string, Entry>()

  const isFresh = (entry: Entry): boolean => entry.held !== null && clock.nowMs() < entry.held.freshUntilMs
  const isAlive = (entry: Entry): boolean => entry.held !== null && clock.nowMs() < entry.held.aliveUntilMs
  const mayAsk = (entry: Entry): boolean => clock.monotonicMs() >= entry.notBeforeMs

  const entryOf = (name: string): Entry => {
    const known = entries.get(name)
    if (known) {
      // Last in the map = used last.
      entries.delete(name)
      entries.set(name, known)
      return known
    }
    if (entries.size >= LIMITS.credentialsCached) makeRoom()
    const backoff = createBackoff(LIMITS.credentialBackoffFirstMs, LIMITS.credentialBackoffMostMs)
    const entry: Entry = { held: null, fetching: null, notBeforeMs: 0, failure: null, backoff }
    entries.set(name, entry)
    return entry
  }

  const makeRoom = () => {
    for (const [name, entry] of entries) if (!entry.fetching) return void entries.delete(name)
    throw new GatewayError('RESOURCE_EXHAUSTED', 'too many credentials are being resolved')
  }

  const fetch = (name: string, entry: Entry, source: CredentialsDriver): Promise<Secret> => {
    const startedMs = clock.monotonicMs()
    const work = settle(source.resolve(name), clock).then(
      resolved => {
        entry.held = hold(resolved, clock.nowMs())
        entry.failure = null
        entry.notBeforeMs = 0
        entry.backoff.reset()
        deps.log.debug('credential resolved', {
          credential: name,
          took_ms: Math.round(clock.monotonicMs() - startedMs),
        })
        return resolved.token
      },
      (error: unknown) => {
        entry.failure = refusal(name, error)
        // Only a driver that was reached is spared: one that returns serves the next caller at once.
        const wasReached = !(error instanceof DriverError) || error.mayHaveHappened
        entry.notBeforeMs = wasReached ? clock.monotonicMs() + entry.backoff.nextMs() : 0
        const code = error instanceof DriverError ? error.kind : 'UNKNOWN'
        deps.log.warn('credential could not be resolved', {
          credential: name,
          code,
          took_ms: Math.round(clock.monotonicMs() - startedMs),
        })
        throw entry.failure
      },
    )
    const shared = work.finally(() => {
      entry.fetching = null
    })
    shared.catch(() => undefined)
    entry.fetching = shared
    return shared
  }

  const resolve = async (name: string, signal?: AbortSignal): Promise<Secret> => {
    if (!driver) throw new GatewayError('FAILED_PRECONDITION', NO_CREDENTIALS_DRIVER)
    const entry = entryOf(name)
    if (isFresh(entry)) {
      const held = entry.held!
      if (clock.nowMs() >= held.refreshFromMs && !entry.fetching && mayAsk(entry))
        void fetch(name, entry, driver).catch(() => undefined)
      return held.token
    }
    if (!entry.fetching && !mayAsk(entry)) {
      if (isAlive(entry)) return entry.held!.token
      throw entry.failure!
    }
    try {
      return await orAborted(entry.fetching ?? fetch(name, entry, driver), signal)
    } catch (error) {
      if (isAlive(entry) && !signal?.aborted) return entry.held!.token
      throw error
    }
  }

  return {
    resolve,
    get size() {
      return entries.size
    },
  }
}

/** How long an answer serves (decision 17). */
function hold({ token, expiresAtMs }: ResolvedCredential, nowMs: number): Held {
  const floorMs = nowMs + LIMITS.credentialFloorMs
  if (expiresAtMs === null) return { token, freshUntilMs: floorMs, refreshFromMs: floorMs, aliveUntilMs: floorMs }
  const freshUntilMs = Math.max(expiresAtMs - LIMITS.credentialMarginMs, floorMs)
  const refreshFromMs = Math.min(Math.max(expiresAtMs - LIMITS.credentialRefreshMs, floorMs), freshUntilMs)
  return { token, freshUntilMs, refreshFromMs, aliveUntilMs: Math.max(expiresAtMs, floorMs) }
}

/** What a caller may know; the driver's own words stay inside (D-14). */
function refusal(name: string, cause: unknown): GatewayError {
  if (cause instanceof DriverError && (cause.kind === 'NOT_FOUND' || cause.kind === 'INVALID_ARGUMENT'))
    return new GatewayError('FAILED_PRECONDITION', `credential '${name}' is not known to the credentials driver`, {
      cause,
    })
  return new GatewayError('UNAVAILABLE', `credential '${name}' is unavailable`, { cause })
}

/** Rejects when `work` takes longer than any call to the driver may. */
function settle<T>(work: Promise<T>, clock: Clock): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(LIMITS.credentialSettleMs, () =>
      reject(new DriverError('DEADLINE_EXCEEDED', 'the credentials driver did not answer', true)),
    )
    void work.then(resolve, reject).finally(() => timer.cancel())
  })
}

/** `work`, or CANCELLED as soon as the signal aborts. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work
  return new Promise((resolve, reject) => {
    const abort = () => reject(new GatewayError('CANCELLED', 'call cancelled'))
    if (signal.aborted) return abort()
    signal.addEventListener('abort', abort, { once: true })
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
