import { createHmac, hash, timingSafeEqual } from 'node:crypto'
import { type Clock, sleep } from '../base/clock.ts'
import { errorText, GatewayError } from '../base/errors.ts'
import { Secret } from '../base/secret.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import type { SandboxPrincipal } from './principal.ts'
import { AUTH_TEXTS } from './texts.ts'

/** Who a presented secret proves its holder to be; null: nobody. */
export type SecretVerdict = SandboxPrincipal | null

/**
 * The fleet's secret and those of single sandboxes derived from it (decision 3).
 *
 * A derived secret must be known as such before a byte of the message is read, and some messages name no sandbox. So
 * the secrets of existing sandboxes are kept in an index, by their SHA-256, and the right one says which sandbox the
 * caller is. The index follows the list of sandboxes: it is read for an unknown secret of the right shape, at most once
 * in `secretRelistMs`, and in the background when it is older than `secretListMs`.
 */
export interface SandboxSecrets {
  /**
   * Synchronous for the master secret, for a known derived one and for what can be neither. `mayLookUp` false: only
   * what is known counts. Throws UNAVAILABLE when the list of sandboxes cannot be read.
   */
  check(presented: string, mayLookUp: boolean): SecretVerdict | Promise<SecretVerdict>
  /** The secret of one sandbox, recognised from now on. */
  issue(sandboxId: string): Secret
  /** Takes back the secret of a deleted sandbox at once. */
  forget(sandboxId: string): void
}

export interface SandboxSecretDeps {
  readonly clock: Clock
  readonly log: Logger
  /** Ids of the sandboxes there are. */
  readonly sandboxIds: () => Promise<Iterable<string>>
}

const MASTER: SandboxPrincipal = Object.freeze({ kind: 'sandbox', proof: 'master', sandboxId: null })
const DERIVED_SHAPE = /^[A-Za-z0-9_-]{43}$/

/** base64url of HMAC-SHA-256 of the sandbox id under the master secret. */
export const deriveSandboxSecret = (master: Secret, sandboxId: string): string =>
  createHmac('sha256', master.reveal()).update(sandboxId).digest('base64url')

export function createSandboxSecrets(
  config: { readonly master: Secret; readonly requireBinding: boolean },
  deps: SandboxSecretDeps,
): SandboxSecrets {
  const masterDigest = hash('sha256', config.master.reveal(), 'buffer')
  const index = createIndex(config.master, deps)
  let hasWarned = false

  const derivedBy = (digest: string): SecretVerdict => {
    const sandboxId = index.find(digest)
    return sandboxId === undefined ? null : { kind: 'sandbox', proof: 'derived', sandboxId }
  }

  return {
    check(presented, mayLookUp) {
      const digest = hash('sha256', presented, 'buffer')
      if (timingSafeEqual(digest, masterDigest)) {
        if (!config.requireBinding) return MASTER
        if (!hasWarned) deps.log.warn('the fleet-wide sandbox secret was presented and is refused: binding is required')
        hasWarned = true
        return null
      }
      if (!DERIVED_SHAPE.test(presented)) return null
      const key = digest.toString('base64')
      const known = derivedBy(key)
      if (known || !mayLookUp) return known
      return index.reload().then(() => derivedBy(key))
    },
    issue(sandboxId) {
      const secret = deriveSandboxSecret(config.master, sandboxId)
      index.add(sandboxId, secret)
      return new Secret(secret)
    },
    forget: index.remove,
  }
}

/** Which sandbox a derived secret belongs to, by the SHA-256 of the secret. */
interface SecretIndex {
  find(digest: string): string | undefined
  add(sandboxId: string, secret: string): void
  remove(sandboxId: string): void
  /** Resolves when a list that was asked for after this call is in the index. Calls share one list. */
  reload(): Promise<void>
}

function createIndex(master: Secret, { clock, log, sandboxIds }: SandboxSecretDeps): SecretIndex {
  const owners = new Map<string, string>()
  const digests = new Map<string, string>()
  let startedMs = Number.NEGATIVE_INFINITY
  let listedMs = Number.NEGATIVE_INFINITY
  let running: Promise<void> = Promise.resolve()
  let next: Promise<void> | null = null
  let waiting = 0

  const add = (sandboxId: string, secret: string) => {
    if (digests.has(sandboxId) || digests.size >= LIMITS.secretSandboxes) return
    const digest = hash('sha256', secret, 'base64')
    digests.set(sandboxId, digest)
    owners.set(digest, sandboxId)
  }
  const remove = (sandboxId: string) => {
    const digest = digests.get(sandboxId)
    if (digest !== undefined) owners.delete(digest)
    digests.delete(sandboxId)
  }

  /** Replaces the index's members by the sandboxes there are; other work runs in between. */
  const list = async () => {
    const before = new Set(digests.keys())
    let computed = 0
    for (const id of await sandboxIds()) {
      before.delete(id)
      if (digests.has(id)) continue
      add(id, deriveSandboxSecret(master, id))
      if (++computed % LIMITS.secretSlice === 0) await new Promise(resolve => setImmediate(resolve))
    }
    for (const id of before) remove(id)
    if (digests.size >= LIMITS.secretSandboxes)
      log.warn('too many sandboxes to recognise the secret of each one', { known: digests.size })
    listedMs = clock.monotonicMs()
  }

  /** One list at a time, none sooner than `secretRelistMs` after the one before. */
  const schedule = (): Promise<void> => {
    next ??= (async () => {
      await running.catch(() => {})
      const waitMs = startedMs + LIMITS.secretRelistMs - clock.monotonicMs()
      if (waitMs > 0) await sleep(clock, waitMs)
      startedMs = clock.monotonicMs()
      next = null
      running = list()
      await running
    })()
    return next
  }

  return {
    find(digest) {
      const owner = owners.get(digest)
      const triedMs = Math.max(startedMs, listedMs)
      if (owner !== undefined && next === null && clock.monotonicMs() - triedMs > LIMITS.secretListMs)
        schedule().catch(error => log.warn('sandboxes cannot be listed', { cause: errorText(error) }))
      return owner
    },
    add,
    remove,
    async reload() {
      if (waiting >= LIMITS.secretWaiters) throw new GatewayError('UNAVAILABLE', AUTH_TEXTS.secretUnchecked)
      waiting++
      try {
        await schedule()
      } catch (error) {
        throw new GatewayError('UNAVAILABLE', AUTH_TEXTS.secretUnchecked, { cause: error })
      } finally {
        waiting--
      }
    },
  }
}
