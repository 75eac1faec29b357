import type { Clock } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'
import { reapSpentSessions } from './reap.ts'
import type { SqliteConnection } from './sqlite-connection.ts'
import { whileBusy } from './sqlite-error.ts'
import { type Guard, prepareReads, type ReadStatements, SqliteReads, Statements } from './sqlite-reads.ts'
import { prepareWrites, SqliteTransaction, type WriteStatements } from './sqlite-writes.ts'
import { type Store, StoreFailure, type StoreTransaction } from './store.ts'
import { withinTime } from './transaction-time.ts'
import { createWriterQueue, type WriterQueue } from './writer-queue.ts'

/** Builds the store on an open database; every call is synchronous inside and one transaction runs at a time. */
export function createSqliteStore(connection: SqliteConnection, clock: Clock): Store {
  const { writer, reader } = connection
  const writing = new Statements(writer)
  const reading = reader === writer ? writing : new Statements(reader)
  const inside = prepareReads(writing)
  return new SqliteStore({
    connection,
    clock,
    all: reader === writer ? [writing] : [reading, writing],
    inside,
    outside: reader === writer ? inside : prepareReads(reading),
    writes: prepareWrites(writing),
    turn: new Turn(reader === writer),
  })
}

/** Keeps readers that share the writer's connection from seeing what is not committed. */
class Turn {
  readonly #shared: boolean
  #over: Promise<void> | null = null
  closed = false

  constructor(shared: boolean) {
    this.#shared = shared
  }

  /** Null when reading may go on at once. */
  get waitFor(): Promise<void> | null {
    return this.#over
  }

  begin(): () => void {
    if (!this.#shared) return () => {}
    const over = Promise.withResolvers<void>()
    this.#over = over.promise
    return () => {
      this.#over = null
      over.resolve()
    }
  }
}

interface Parts {
  readonly connection: SqliteConnection
  readonly clock: Clock
  readonly all: readonly Statements[]
  readonly inside: ReadStatements
  readonly outside: ReadStatements
  readonly writes: WriteStatements
  readonly turn: Turn
}

class SqliteStore extends SqliteReads implements Store {
  readonly #parts: Parts
  readonly #queue: WriterQueue
  readonly #ping: () => unknown
  #closing: Promise<void> | null = null

  constructor(parts: Parts) {
    super(parts.outside, readGuard(parts))
    this.#parts = parts
    this.#queue = createWriterQueue(parts.clock, LIMITS.storeWaiting, LIMITS.storeWaitMs)
    const sign = parts.all[0]!.prepare('SELECT 1 FROM objects LIMIT 1')
    this.#ping = () => sign.get()
  }

  async transaction<T>(work: (tx: StoreTransaction) => Promise<T>): Promise<T> {
    return await this.#write(work)
  }

  async #write<T>(work: (tx: SqliteTransaction) => Promise<T>): Promise<T> {
    const { connection, clock, inside, writes, turn } = this.#parts
    const leave = await this.#queue.enter()
    const state: Running = { connection, over: false, failed: null }
    try {
      await begin(clock, connection)
      const endTurn = turn.begin()
      try {
        const tx = new SqliteTransaction(inside, writes, insideGuard(state), () => clock.nowMs())
        const result = await withinTime(clock, LIMITS.storeTransactionMs, work(tx))
        commit(state)
        return result
      } finally {
        state.over = true
        rollback(connection)
        endTurn()
      }
    } finally {
      leave()
    }
  }

  reapSshSessions(nowMs: number): Promise<number> {
    return reapSpentSessions(this, nowMs, batch =>
      this.#write(async tx => {
        let removed = 0
        for (const session of batch) if (await tx.deleteSame(session)) removed++
        return removed
      }),
    )
  }

  async ping(): Promise<void> {
    await this.guard(this.#ping)
    const fault = this.#parts.connection.health.fault()
    if (fault !== null) throw fault
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.#queue.close()
    this.#parts.turn.closed = true
    for (const statements of this.#parts.all) statements.finalize()
    this.#parts.connection.close()
  }
}

function readGuard({ turn, clock, connection: { health } }: Parts): Guard {
  const checked = <T>(work: () => T): T => {
    if (turn.closed) throw new StoreFailure('unavailable', 'the store is closed')
    return work()
  }
  return async work => {
    for (let wait = turn.waitFor; wait !== null; wait = turn.waitFor) await wait
    try {
      return await whileBusy(clock, () => checked(work))
    } catch (error) {
      throw health.explain(error)
    }
  }
}

/** One transaction: after a failure of the database nothing of it may be kept, whatever the caller goes on to do. */
interface Running {
  readonly connection: SqliteConnection
  over: boolean
  failed: StoreFailure | null
}

function insideGuard(state: Running): Guard {
  const { writer, readOnly, health } = state.connection
  return async work => {
    if (state.over) throw new Error('the transaction is over')
    if (state.failed) throw state.failed
    try {
      // Some failures (disk full, I/O) end SQLite's transaction by themselves; going on would commit piecemeal.
      if (!writer.inTransaction) throw new StoreFailure('unavailable', 'the database gave up the transaction')
      return work()
    } catch (error) {
      const mapped = health.explain(error)
      if (!(mapped instanceof StoreFailure)) throw mapped
      state.failed = readOnly ? new StoreFailure('read-only', mapped.message, { cause: error }) : mapped
      throw state.failed
    }
  }
}

async function begin(clock: Clock, { writer, readOnly, health }: SqliteConnection): Promise<void> {
  try {
    await whileBusy(clock, () => writer.run(readOnly ? 'BEGIN' : 'BEGIN IMMEDIATE'))
  } catch (error) {
    throw health.explain(error)
  }
}

function commit(state: Running): void {
  const { writer, health } = state.connection
  state.over = true
  if (state.failed) throw state.failed
  // SQLite goes on writing to a file that was removed: what it acknowledges then is gone with the process.
  const lost = health.lost()
  if (lost !== null) throw lost
  try {
    writer.run('COMMIT')
  } catch (error) {
    throw health.explain(error)
  }
}

function rollback({ writer, health }: SqliteConnection): void {
  if (!writer.inTransaction) return
  try {
    writer.run('ROLLBACK')
  } catch (error) {
    throw health.explain(error)
  }
}
