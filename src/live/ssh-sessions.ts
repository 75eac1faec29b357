import { createHash, randomInt, randomUUID } from 'node:crypto'
import type { Clock, Timer } from '../base/clock.ts'
import { errorText } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import { type Store, StoreConflict, type StoredObject, type StoreReads, type StoreTransaction } from '../store/store.ts'
import { amend, codec } from '../wire/codec.ts'
import type { SshSession } from '../wire/messages.generated.ts'

/** A stored SSH session; the token itself is known to its holder only. */
export interface FoundSession {
  /** Key of the row: what tunnels are counted and cut by. */
  readonly id: string
  readonly sandboxId: string
  /** 0 = never. */
  readonly expiresAtMs: number
  readonly revoked: boolean
  readonly row: StoredObject
  readonly message: SshSession
}

const messages = codec('openshell.v1.SshSession')

/** The row id of a token: a reader of the database, or of an error that names a key, learns nothing to connect with (decision 18). */
export const sessionIdOf = (token: string): string => createHash('sha256').update(token).digest('hex')

/**
 * The session of a token. Rows of the reference, which keeps the token itself as row id, are found too; the row id
 * of one of ours is no token.
 */
export async function findSshSession(reads: StoreReads, token: string): Promise<FoundSession | null> {
  const ours = await reads.get('ssh_session', sessionIdOf(token))
  if (ours) return toSession(ours)
  const theirs = await reads.get('ssh_session', token)
  const session = theirs && toSession(theirs)
  return session?.message.token === token ? session : null
}

function toSession(row: StoredObject): FoundSession {
  const message = messages.decode(row.payload)
  return {
    id: row.id,
    sandboxId: message.sandbox_id,
    expiresAtMs: Number(message.expires_at_ms),
    revoked: message.revoked,
    row,
    message,
  }
}

/** Whether a session that was found a moment ago is still there and not revoked. */
export async function isCurrent(reads: StoreReads, session: FoundSession): Promise<boolean> {
  const row = await reads.get('ssh_session', session.id)
  return row !== null && !toSession(row).revoked
}

/** Expired exactly when now is past the expiry (spec/sandbox.md §7.3). */
export const isExpired = (session: FoundSession, nowMs: number): boolean =>
  session.expiresAtMs > 0 && nowMs > session.expiresAtMs

export interface NewSession {
  readonly token: string
  readonly expiresAtMs: number
}

export interface SessionTerms {
  readonly sandboxId: string
  /** 0 = never expires. */
  readonly ttlSecs: number
  readonly nowMs: number
  /** The session ends then if not before; null = nothing else bounds it. */
  readonly notAfterMs: number | null
  /** `hashed`: the row knows the SHA-256 of the token; `plain`: the token itself, as the reference stores and reads it. */
  readonly tokenAtRest: 'hashed' | 'plain'
}

/** 0 = never. */
function endOf({ ttlSecs, nowMs, notAfterMs }: SessionTerms): number {
  const end = ttlSecs === 0 ? Number.POSITIVE_INFINITY : nowMs + ttlSecs * 1000
  const bounded = Math.min(end, notAfterMs ?? end)
  return Number.isFinite(bounded) ? Math.floor(bounded) : 0
}

/** Stores a session for a sandbox, within the caller's transaction. */
export async function insertSshSession(tx: StoreTransaction, terms: SessionTerms): Promise<NewSession> {
  const { sandboxId, nowMs } = terms
  const token = randomUUID()
  const isHashed = terms.tokenAtRest === 'hashed'
  const id = isHashed ? sessionIdOf(token) : token
  const expiresAtMs = endOf(terms)
  for (let tries = 0; ; tries++) {
    const name = Array.from({ length: 6 }, () => String.fromCharCode(97 + randomInt(26))).join('')
    const payload = messages.encode({
      metadata: { id, name, created_at_ms: nowMs },
      sandbox_id: sandboxId,
      token: isHashed ? '' : token,
      expires_at_ms: expiresAtMs,
    })
    try {
      await tx.insert({ type: 'ssh_session', id, name, payload })
      return { token, expiresAtMs }
    } catch (error) {
      if (!(error instanceof StoreConflict) || tries === 4) throw error
    }
  }
}

/** Marks a session revoked; null = no such session. */
export async function revokeSshSession(tx: StoreTransaction, token: string): Promise<FoundSession | null> {
  const session = await findSshSession(tx, token)
  if (session && !session.revoked)
    await tx.update(session.row, messages.encode(amend(session.message, { revoked: true })))
  return session
}

/** Removes sessions that are over, every hour (spec/sandbox.md §7.3). */
export function startSshReaper(store: Pick<Store, 'reapSshSessions'>, clock: Clock, log: Logger): Timer {
  let timer: Timer
  const pass = async () => {
    try {
      const gone = await store.reapSshSessions(clock.nowMs())
      if (gone > 0) log.info('ssh sessions reaped', { count: gone })
    } catch (error) {
      log.warn('ssh sessions not reaped', { cause: errorText(error) })
    }
    if (!stopped) timer = clock.after(LIMITS.sshReapMs, pass)
  }
  let stopped = false
  timer = clock.after(LIMITS.sshReapMs, pass)
  return {
    cancel() {
      stopped = true
      timer.cancel()
    },
  }
}
