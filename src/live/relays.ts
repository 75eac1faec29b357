import { randomUUID } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { Clock, Timer } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { RELAY_TEXTS } from '../domain/relay-texts.ts'
import { mayActFor, mayClaim, type SupervisorCaller } from '../domain/supervisor-identity.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import type { Supervisors } from './supervisors.ts'

/** A relay that was announced to a supervisor and not yet claimed by it. */
export interface PendingRelay {
  readonly channelId: string
  /** The bytes, once the supervisor is there. Rejects with DEADLINE_EXCEEDED when it is late and UNAVAILABLE when it declines. */
  readonly claimed: Promise<Duplex>
  /** The caller waits no longer. Harmless after the claim. */
  abandon(): void
}

/** A claim that was accepted: hand over the bytes. */
export type Claim = (relay: Duplex) => void

/** Rendezvous of those who want bytes into a sandbox and its supervisor (spec/relay.md §4, §5). */
export interface Relays {
  /** Announces a relay, waiting up to `waitMs` for a supervisor. Throws UNAVAILABLE or RESOURCE_EXHAUSTED. */
  open(sandboxId: string, waitMs: number, signal: AbortSignal): Promise<PendingRelay>
  /** Takes a pending relay out of the table, once. Throws NOT_FOUND for any id that is not this caller's to claim. */
  claim(channelId: string, caller: SupervisorCaller): Claim
  /** Counts a claimed relay as running until it closes, and cuts it when its sandbox goes. */
  drop(sandboxId: string): void
  /** Cuts everything: the end of a drain. */
  stop(): void
  readonly pending: number
  readonly running: number
}

interface Entry {
  readonly sandboxId: string
  announcedTo: SupervisorCaller
  take(relay: Duplex): void
  fail(error: GatewayError): void
}

export interface RelaysDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly supervisors: Supervisors
}

/** Counts by key; a key at zero is not kept. */
export class Tally {
  readonly #counts = new Map<string, number>()

  of(key: string): number {
    return this.#counts.get(key) ?? 0
  }

  add(key: string, change: 1 | -1): void {
    const next = this.of(key) + change
    if (next > 0) this.#counts.set(key, next)
    else this.#counts.delete(key)
  }

  get keys(): number {
    return this.#counts.size
  }
}

export function createRelays(deps: RelaysDeps): Relays {
  const { clock, log, supervisors } = deps
  const table = new Map<string, Entry>()
  const perSandbox = new Tally()
  const running = new Map<Duplex, string>()

  const remove = (channelId: string): Entry | null => {
    const entry = table.get(channelId)
    if (!entry) return null
    table.delete(channelId)
    perSandbox.add(entry.sandboxId, -1)
    return entry
  }

  const checkRoom = (sandboxId: string) => {
    if (table.size >= LIMITS.relaysPending)
      throw new GatewayError('RESOURCE_EXHAUSTED', `gateway relay capacity reached (${LIMITS.relaysPending} in flight)`)
    if (perSandbox.of(sandboxId) >= LIMITS.relaysPendingPerSandbox)
      throw new GatewayError(
        'RESOURCE_EXHAUSTED',
        `per-sandbox relay limit reached (${LIMITS.relaysPendingPerSandbox} in flight for ${sandboxId})`,
      )
  }

  const track = (relay: Duplex, sandboxId: string) => {
    running.set(relay, sandboxId)
    relay.once('close', () => running.delete(relay))
  }

  /** Puts a relay into the table; its timer and its signal take it out again when nobody claims it. */
  const register = (
    channelId: string,
    sandboxId: string,
    announcedTo: SupervisorCaller,
    signal: AbortSignal,
  ): PendingRelay => {
    let timer: Timer
    const abandon = () => {
      settle()
      if (!remove(channelId)) return
      supervisors
        .current(sandboxId)
        ?.send({ relay_close: { channel_id: channelId, reason: RELAY_TEXTS.requesterGone } })
      reject(new GatewayError('CANCELLED', RELAY_TEXTS.requesterGone))
    }
    const settle = () => {
      timer.cancel()
      signal.removeEventListener('abort', abandon)
    }
    let resolve!: (relay: Duplex) => void
    let reject!: (error: GatewayError) => void
    const claimed = new Promise<Duplex>((onTake, onFail) => {
      resolve = onTake
      reject = onFail
    })
    claimed.catch(() => {})
    const entry: Entry = {
      sandboxId,
      announcedTo,
      take(relay) {
        settle()
        track(relay, sandboxId)
        resolve(relay)
      },
      fail(error) {
        settle()
        remove(channelId)
        reject(error)
      },
    }
    timer = clock.after(LIMITS.relayClaimMs, () =>
      entry.fail(new GatewayError('DEADLINE_EXCEEDED', RELAY_TEXTS.relayLate)),
    )
    signal.addEventListener('abort', abandon, { once: true })
    table.set(channelId, entry)
    perSandbox.add(sandboxId, 1)
    return { channelId, claimed, abandon }
  }

  supervisors.listen({
    accepted(session) {
      if (perSandbox.of(session.sandboxId) === 0) return
      for (const [channelId, entry] of table) {
        if (entry.sandboxId !== session.sandboxId) continue
        entry.announcedTo = session.caller
        session.send({ relay_open: { channel_id: channelId } })
      }
    },
    refused(sandboxId, channelId, reason) {
      const entry = table.get(channelId)
      if (entry?.sandboxId !== sandboxId) return
      log.warn('relay refused by the supervisor', { sandbox_id: sandboxId, reason })
      entry.fail(new GatewayError('UNAVAILABLE', RELAY_TEXTS.relayDropped))
    },
  })

  return {
    async open(sandboxId, waitMs, signal) {
      const session = await supervisors.waitFor(sandboxId, waitMs, signal)
      checkRoom(sandboxId)
      const channelId = randomUUID()
      const relay = register(channelId, sandboxId, session.caller, signal)
      if (signal.aborted) relay.abandon()
      else if (!session.send({ relay_open: { channel_id: channelId } }))
        table.get(channelId)?.fail(new GatewayError('UNAVAILABLE', RELAY_TEXTS.sessionGone))
      return relay
    },
    claim(channelId, caller) {
      const entry = table.get(channelId)
      if (!entry || !mayActFor(caller, entry.sandboxId) || !mayClaim(entry.announcedTo, caller)) {
        if (entry) log.warn('relay claim from elsewhere refused', { sandbox_id: entry.sandboxId, peer: caller.address })
        throw new GatewayError('NOT_FOUND', RELAY_TEXTS.relayUnknown)
      }
      remove(channelId)
      return relay => entry.take(relay)
    },
    drop(sandboxId) {
      for (const entry of [...table.values()])
        if (entry.sandboxId === sandboxId) entry.fail(new GatewayError('UNAVAILABLE', RELAY_TEXTS.relayDropped))
      for (const [relay, owner] of running) if (owner === sandboxId) relay.destroy()
    },
    stop() {
      for (const entry of [...table.values()]) entry.fail(new GatewayError('UNAVAILABLE', RELAY_TEXTS.draining))
      for (const relay of running.keys()) relay.destroy()
    },
    get pending() {
      return table.size
    },
    get running() {
      return running.size
    },
  }
}
