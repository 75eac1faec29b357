import { lookup } from 'node:dns/promises'
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { createBackoff } from '../base/backoff.ts'
import { type Clock, sleep } from '../base/clock.ts'
import { errorText, StartError } from '../base/errors.ts'
import { osErrorText } from '../base/os-error.ts'
import { LIMITS } from '../limits.ts'
import { isConnectionError, sqlState } from './postgres-error.ts'
import { PostgresPool, type Runner } from './postgres-pool.ts'
import { PostgresReads } from './postgres-reads.ts'
import { migratePostgres, sweepPostgresOrphans, WRITER_LOCK } from './postgres-schema.ts'
import { PostgresTransaction } from './postgres-writes.ts'
import { reapSpentSessions } from './reap.ts'
import type { StoreDeps } from './sqlite-connection.ts'
import { readSession } from './ssh-session.ts'
import { type Store, StoreFailure, type StoreTransaction } from './store.ts'
import { withinTime } from './transaction-time.ts'
import type { PostgresTarget } from './url.ts'
import { createWriterQueue, type WriterQueue } from './writer-queue.ts'

/**
 * Opens and migrates a PostgreSQL database. A server that refuses connections is asked again for `storeConnectMs`;
 * an unknown host, database or user ends the start at once (spec/storage.md §1). Throws `StartError`.
 */
export async function openPostgres(target: PostgresTarget, deps: StoreDeps): Promise<Store> {
  for (const name of target.ignored) deps.log.warn('Database URL parameter has no effect', { parameter: name })
  refuseTlsFiles(target)
  const pool = new PostgresPool(target, deps.clock)
  const store = new PostgresStore(pool, deps.clock)
  try {
    await connect(target, pool, deps)
    const swept = await store.prepare()
    if (swept > 0) deps.log.warn('Removed rows of sandboxes that no longer exist', { rows: swept })
    return store
  } catch (error) {
    await pool.close().catch(() => {})
    throw toStartError(error)
  }
}

/** The client would fail on these files only when it connects, again and again. */
function refuseTlsFiles({ sslMode, sslRootCert, sslCert, sslKey }: PostgresTarget): void {
  if (sslMode === 'disable' || sslMode === 'allow') return
  const refuse = (text: string, cause: unknown) =>
    new StartError(`execution error: database error: error with configuration: ${text}`, 1, { cause })
  const read = (parameter: string, file: string | null): string | undefined => {
    if (file === null) return undefined
    try {
      return readFileSync(file, 'utf8')
    } catch (cause) {
      throw refuse(`${parameter}: cannot read '${file}': ${osErrorText(cause)}`, cause)
    }
  }
  const files = { ca: read('sslrootcert', sslRootCert), cert: read('sslcert', sslCert), key: read('sslkey', sslKey) }
  const given = Object.entries(files).filter(([, text]) => text !== undefined)
  try {
    createSecureContext(Object.fromEntries(given))
  } catch (cause) {
    throw refuse(`sslrootcert, sslcert and sslkey cannot be used: ${errorText(cause)}`, cause)
  }
}

async function connect(target: PostgresTarget, pool: PostgresPool, { clock, log, signal }: StoreDeps): Promise<void> {
  const startedMs = clock.monotonicMs()
  const backoff = createBackoff(100, 1000)
  let lastLoggedMs = Number.NEGATIVE_INFINITY
  for (;;) {
    await refuseUnknownHost(target)
    try {
      await pool.read('SELECT 1')
      return
    } catch (error) {
      if (!mayPass(error)) throw error
      const place = target.host.startsWith('/') ? target.host : `${target.host}:${target.port}`
      const said = saidOf(error)
      const nowMs = clock.monotonicMs()
      if (nowMs - startedMs >= LIMITS.storeConnectMs)
        throw new StartError(`${TIMED_OUT} (${place}: ${said})`, 1, { cause: error })
      if (nowMs - lastLoggedMs >= LIMITS.driverLogEveryMs) {
        lastLoggedMs = nowMs
        log.warn('database not reachable', { place, reason: said, given_up_after_ms: LIMITS.storeConnectMs })
      }
    }
    await sleep(clock, backoff.nextMs(), signal)
    if (signal?.aborted) throw new StartError('the start was given up', 1)
  }
}

const TIMED_OUT = 'execution error: database error: pool timed out while waiting for an open connection'

/** Bun reports a name that does not resolve as a refused connection. */
async function refuseUnknownHost(target: PostgresTarget): Promise<void> {
  if (target.host.startsWith('/')) return
  try {
    await lookup(target.host)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EAI_AGAIN') return
    throw new StartError(
      `execution error: database error: error communicating with database: failed to lookup address information: ${target.host}: ${errorText(cause)}`,
      1,
      { cause },
    )
  }
}

/** Whether a server may be there later: refused, not answering, starting up or full; not when it said no. */
function mayPass(error: unknown): boolean {
  const cause = error instanceof StoreFailure ? error.cause : error
  const text = cause instanceof Bun.SQL.PostgresError ? cause.code : ''
  if (text.startsWith('ERR_POSTGRES_TLS') || text.includes('AUTH')) return false
  const state = sqlState(cause)
  return state === null ? cause === undefined || isConnectionError(cause) : /^(57P|53|08)/.test(state)
}

function toStartError(error: unknown): unknown {
  if (error instanceof StartError || !(error instanceof StoreFailure)) return error
  const text = `execution error: database error: error returned from database: ${saidOf(error)}`
  return new StartError(text, 1, { cause: error })
}

/** What the server or the way to it said; never anything of the URL. */
function saidOf(error: unknown): string {
  const cause = error instanceof StoreFailure ? (error.cause ?? error) : error
  return errorText(cause)
}

class PostgresStore extends PostgresReads implements Store {
  readonly #pool: PostgresPool
  readonly #clock: Clock
  readonly #queue: WriterQueue

  constructor(pool: PostgresPool, clock: Clock) {
    super(pool.read)
    this.#pool = pool
    this.#clock = clock
    this.#queue = createWriterQueue(clock, LIMITS.storeWaiting, LIMITS.storeWaitMs)
  }

  /** Migrates and sweeps; how many orphaned rows went. */
  async prepare(): Promise<number> {
    await this.#begin(async run => await migratePostgres(run, this.#clock.nowMs()))
    return await this.#begin(async run => {
      const tx = new PostgresTransaction(run, () => this.#clock.nowMs())
      let removed = await sweepPostgresOrphans(run)
      const rows = await run<{ id: string }>("SELECT id FROM objects WHERE object_type = 'sandbox'")
      const sandboxes = new Set(rows.map(row => row.id))
      for await (const object of tx.scan('ssh_session')) {
        const session = readSession(object.payload)
        if (session === null || sandboxes.has(session.sandboxId)) continue
        if (await tx.delete('ssh_session', object.id)) removed++
      }
      return removed
    })
  }

  transaction<T>(work: (tx: StoreTransaction) => Promise<T>): Promise<T> {
    return this.#begin(run => work(new PostgresTransaction(run, () => this.#clock.nowMs())))
  }

  /**
   * One transaction with the writer lock, so that several gateways on one database write in turn, as one does.
   * The server ends it when this process dies or falls silent.
   */
  async #begin<T>(work: (run: Runner) => Promise<T>): Promise<T> {
    const leave = await this.#queue.enter()
    try {
      const opened = await this.#open()
      const state: { over: boolean; failed: unknown } = { over: false, failed: null }
      const run: Runner = async (text, values) => {
        if (state.over) throw new Error('the transaction is over')
        if (state.failed) throw state.failed
        try {
          return await opened.run(text, values)
        } catch (error) {
          state.failed = error
          throw error
        }
      }
      try {
        const result = await withinTime(this.#clock, LIMITS.storeTransactionMs, work(run))
        state.over = true
        if (state.failed) throw state.failed
        await opened.run('COMMIT')
        await opened.release()
        return result
      } catch (error) {
        state.over = true
        await opened.abandon()
        throw error
      }
    } finally {
      leave()
    }
  }

  /** A connection inside a transaction that holds the writer lock. */
  #open() {
    return this.#pool.untilAlive(async () => {
      const connection = await this.#pool.reserve()
      const run = this.#pool.runnerOn(connection)
      const release = () => connection.release()
      const discard = () => connection.close({ timeout: 0 })
      try {
        await run(`BEGIN; SELECT pg_advisory_xact_lock(${WRITER_LOCK})`)
        return { run, release, abandon: () => run('ROLLBACK').then(release, discard) }
      } catch (error) {
        await discard()
        throw error
      }
    })
  }

  reapSshSessions(nowMs: number): Promise<number> {
    return reapSpentSessions(this, nowMs, batch =>
      this.#begin(async run => {
        const tx = new PostgresTransaction(run, () => this.#clock.nowMs())
        let removed = 0
        for (const session of batch) if (await tx.deleteSame(session)) removed++
        return removed
      }),
    )
  }

  async ping(): Promise<void> {
    await this.run('SELECT 1 FROM objects LIMIT 1')
  }

  async close(): Promise<void> {
    await this.#queue.close()
    await this.#pool.close()
  }
}
