import { userInfo } from 'node:os'
import { join } from 'node:path'
import type { ReservedSQL, SQL } from 'bun'
import type { Clock } from '../base/clock.ts'
import { errorText } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import { isDeadConnection, toStoreError } from './postgres-error.ts'
import { StoreFailure } from './store.ts'
import { withinTime } from './transaction-time.ts'
import type { PostgresTarget } from './url.ts'

export type PostgresValue = string | number | boolean | Uint8Array | null

/** Runs one statement; throws `StoreFailure`, at the latest after `storeCallMs`. */
export type Runner = <Row>(text: string, values?: readonly PostgresValue[]) => Promise<Row[]>

/**
 * Connections to one database. A server that does not answer loses all its connections, so that the next call starts
 * with new ones as soon as it is back (S-17).
 */
export class PostgresPool {
  readonly #target: PostgresTarget
  readonly #clock: Clock
  #sql: SQL
  #closed = false

  constructor(target: PostgresTarget, clock: Clock) {
    this.#target = target
    this.#clock = clock
    this.#sql = new Bun.SQL(options(target))
  }

  /** One reading statement on any connection; tried again while the connections of the pool turn out to be dead. */
  readonly read: Runner = <Row>(text: string, values: readonly PostgresValue[] = []) =>
    this.untilAlive(() => this.#ask<Row>(text, values))

  /**
   * Repeats `work` on the next connection while it fails because its connection died: after a failover all of them
   * are dead. Only for what may be done twice. Throws store errors.
   */
  async untilAlive<T>(work: () => Promise<T>): Promise<T> {
    const retriesEndMs = this.#clock.monotonicMs() + LIMITS.storeCallMs / 2
    for (let attempt = 0; ; attempt++) {
      try {
        return await work()
      } catch (error) {
        const cause = error instanceof StoreFailure ? error.cause : error
        const over = attempt > LIMITS.storePoolMost || this.#clock.monotonicMs() >= retriesEndMs
        if (over || !isDeadConnection(cause)) throw toStoreError(error)
      }
    }
  }

  #open(): SQL {
    if (this.#closed) throw new StoreFailure('unavailable', 'the store is closed')
    return this.#sql
  }

  async #ask<Row>(text: string, values: readonly PostgresValue[]): Promise<Row[]> {
    const sql = this.#open()
    const asked = sql.unsafe(text, [...values]) as Promise<Row[]>
    return await connecting(this.#orGiveUp(sql, asked))
  }

  /** A connection of one's own; give it to `release` or `discard`. */
  async reserve(): Promise<ReservedSQL> {
    const sql = this.#open()
    const patience = new AbortController()
    try {
      return await connecting(this.#orGiveUp(sql, sql.reserve({ signal: patience.signal })))
    } catch (error) {
      patience.abort()
      throw toStoreError(error)
    }
  }

  /** Runs statements on a reserved connection. After a failure of the connection it must be discarded. */
  runnerOn(connection: ReservedSQL): Runner {
    return async <Row>(text: string, values: readonly PostgresValue[] = []) => {
      const asked = values.length === 0 ? connection.unsafe(text).simple() : connection.unsafe(text, [...values])
      try {
        return (await withinTime(this.#clock, LIMITS.storeCallMs, asked as Promise<unknown>)) as Row[]
      } catch (error) {
        throw toStoreError(error)
      }
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#sql.close({ timeout: 1 })
  }

  /** Waits `storeCallMs`; then all connections of `sql` go and new ones take their place. */
  async #orGiveUp<T>(sql: SQL, asked: Promise<T>): Promise<T> {
    try {
      return await withinTime(this.#clock, LIMITS.storeCallMs, asked)
    } catch (error) {
      if (error instanceof StoreFailure && sql === this.#sql && !this.#closed) {
        this.#sql = new Bun.SQL(options(this.#target))
        sql.close({ timeout: 0 }).catch(() => {})
      }
      throw error
    }
  }
}

/** A connection is made when it is needed: a certificate file that went away since the start is no bug. */
async function connecting<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error) || error instanceof Bun.SQL.PostgresError) throw error
    throw new StoreFailure('unavailable', errorText(error), { cause: error })
  }
}

function options(target: PostgresTarget): Bun.SQL.PostgresOrMySQLOptions {
  const socket = target.host.startsWith('/')
  const user = target.user ?? userInfo().username
  return {
    adapter: 'postgres',
    ...(socket ? { path: join(target.host, `.s.PGSQL.${target.port}`) } : { hostname: target.host }),
    port: target.port,
    username: user,
    password: target.password ?? '',
    database: target.database ?? user,
    tls: socket ? 'disable' : tlsOptions(target),
    max: LIMITS.storePoolMost,
    connectionTimeout: LIMITS.storeConnectTryMs / 1000,
    connection: {
      application_name: target.applicationName ?? 'openshell-gateway',
      statement_timeout: LIMITS.storeWaitMs,
      idle_in_transaction_session_timeout: LIMITS.storeTransactionMs,
    },
  }
}

function tlsOptions(target: PostgresTarget): Bun.SQL.PostgresOrMySQLOptions['tls'] {
  const { sslMode, sslRootCert, sslCert, sslKey } = target
  if (sslRootCert === null && sslCert === null && sslKey === null) return sslMode
  if (sslMode === 'disable' || sslMode === 'allow') return sslMode
  return {
    ...(sslRootCert === null ? {} : { ca: Bun.file(sslRootCert) }),
    ...(sslCert === null ? {} : { cert: Bun.file(sslCert) }),
    ...(sslKey === null ? {} : { key: Bun.file(sslKey) }),
    // As libpq has it: verify-ca trusts the CA for any host name.
    ...(sslMode === 'verify-ca' ? { checkServerIdentity: () => undefined } : {}),
  }
}
