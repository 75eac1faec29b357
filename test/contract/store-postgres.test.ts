import { afterAll, describe, expect, test } from 'bun:test'
import { renameSync } from 'node:fs'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { StartError } from '../../src/base/errors.ts'
import type { Logger } from '../../src/observe/log.ts'
import { openStore } from '../../src/store/open.ts'
import { StoreConflict } from '../../src/store/store.ts'
import { createCapturedLog } from '../kit/captured-log.ts'
import { createCertificates } from '../kit/certificates.ts'
import { startPostgres } from '../kit/postgres.ts'

const silent: Logger = { log() {}, debug() {}, info() {}, warn() {}, error() {}, child: () => silent }
const open = (url: string) => openStore(url, { clock: systemClock, log: silent })
const object = (name: string) => ({ type: 'sandbox' as const, id: `id-${name}`, name, payload: Buffer.from(name) })
const all = { limit: 1000, offset: 0 }
const server = await startPostgres()
afterAll(async () => await server?.stop(), 20_000)

const refusal = async (url: string): Promise<string> => {
  const error = await open(url).catch((thrown: unknown) => thrown)
  if (!(error instanceof StartError)) throw new Error('was not refused', { cause: error })
  return error.message
}

test('a server that refuses is asked for 30 s, which the log says; no text shows the password (spec/storage.md §1)', async () => {
  const speed = 200
  const clock: Clock = {
    nowMs: () => systemClock.nowMs(),
    monotonicMs: () => systemClock.monotonicMs() * speed,
    after: (ms, fn) => systemClock.after(ms / speed, fn),
  }
  const log = createCapturedLog()
  const began = clock.monotonicMs()
  const opening = openStore('postgres://u:hush@127.0.0.1:1/d', { clock, log })
  await expect(opening).rejects.toThrow(
    'execution error: database error: pool timed out while waiting for an open connection (127.0.0.1:1: Failed to connect)',
  )
  expect(clock.monotonicMs() - began).toBeGreaterThanOrEqual(30_000)
  // At once, after 10 s and after 20 s.
  expect(log.lines.slice(0, 2)).toEqual(
    Array(2).fill({
      level: 'warn',
      message: 'database not reachable',
      fields: { place: '127.0.0.1:1', reason: 'Failed to connect', given_up_after_ms: 30_000 },
    }),
  )
  expect(log.lines.length).toBeLessThanOrEqual(3)
})

if (server)
  describe('PostgreSQL', () => {
    test('64-bit numbers, bytes, labels as jsonb, the same tables (decision 18, W2)', async () => {
      const url = await server.createDatabase()
      await (await open(url)).close()
      const tables = server.query(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").flat()
      expect(tables).toEqual([
        '_sqlx_migrations',
        'draft_policy_chunks',
        'objects',
        'openshell_draft_versions',
        'openshell_schema',
        'sandbox_policies',
      ])
      const types = Object.fromEntries(
        server.query(
          url,
          "SELECT table_name || '.' || column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'",
        ),
      )
      expect(types).toMatchObject({
        ...{
          'objects.labels': 'jsonb',
          'objects.payload': 'bytea',
          'objects.created_at_ms': 'bigint',
          'sandbox_policies.version': 'bigint',
        },
        ...{
          'draft_policy_chunks.port': 'bigint',
          'draft_policy_chunks.hit_count': 'bigint',
          'draft_policy_chunks.binary': 'text',
        },
      })
      expect(server.query(url, 'SELECT version, success FROM _sqlx_migrations ORDER BY 1')).toEqual(
        [1, 2, 3, 4].map(n => [String(n), 't']),
      )
    })

    test('what a failed start of the reference left is completed', async () => {
      const url = await server.createDatabase()
      await (await open(url)).close()
      server.query(url, 'DELETE FROM _sqlx_migrations WHERE version > 2')
      server.query(url, 'DROP TABLE draft_policy_chunks')
      server.query(url, 'DROP TABLE openshell_schema')
      server.query(url, 'ALTER TABLE objects DROP COLUMN labels')
      server.query(url, 'ALTER TABLE sandbox_policies ALTER COLUMN version TYPE INTEGER')
      server.query(url, "INSERT INTO objects VALUES ('sandbox', 'i', 'old', 'x', 1, 1)")
      const store = await open(url)
      expect((await store.getByName('sandbox', 'old'))?.labels.size).toBe(0)
      await store.transaction(tx =>
        tx.insertPolicy({ sandboxId: 'i', version: 5_000_000_000, payload: Buffer.from('p'), hash: 'h' }),
      )
      expect((await store.latestPolicy('i'))?.version).toBe(5_000_000_000)
      await store.close()
    })

    test('refusals name the reason: newer schema, changed migration, unknown database, TLS that is not there (S-07)', async () => {
      const url = await server.createDatabase()
      await (await open(url)).close()
      server.query(url, "INSERT INTO _sqlx_migrations VALUES (9, 'future', now(), true, '', 0)")
      expect(await refusal(url)).toBe(
        'execution error: migration error: migration 9 was previously applied but is missing in the resolved migrations',
      )
      server.query(url, 'DELETE FROM _sqlx_migrations WHERE version = 9')
      server.query(url, "UPDATE _sqlx_migrations SET checksum = '' WHERE version = 1")
      expect(await refusal(url)).toContain('migration 1 was previously applied but has been modified')
      expect(await refusal(`${url}_nosuch`)).toContain('does not exist')
      expect(await refusal(`${url}?sslmode=require`)).toContain('SSL')
      expect(await refusal(url.replace('127.0.0.1', 'nosuch.invalid'))).toContain(
        'failed to lookup address information',
      )
    })

    test('a Unix socket directory as host', async () => {
      const url = await server.createDatabase()
      const store = await open(url.replace('127.0.0.1', encodeURIComponent(server.socketDirectory)))
      await store.ping()
      await store.close()
    })

    test('two gateways on one database write in turn and lose nothing', async () => {
      const url = await server.createDatabase()
      const stores = [await open(url), await open(url)]
      await stores[0]!.transaction(tx => tx.insert({ ...object('count'), payload: Buffer.from('0') }))
      const add = async (n: number) =>
        await stores[n % 2]!.transaction(async tx => {
          const before = (await tx.get('sandbox', 'id-count'))!
          await tx.update(before, Buffer.from(String(Number(Buffer.from(before.payload).toString()) + 1)))
        })
      await Promise.all(Array.from({ length: 40 }, (_, n) => add(n)))
      expect(Buffer.from((await stores[1]!.get('sandbox', 'id-count'))!.payload).toString()).toBe('40')
      const same = await Promise.allSettled(
        stores.map((store, n) => store.transaction(tx => tx.insert({ ...object('x'), id: `x${n}` }))),
      )
      expect(same.map(result => result.status).sort()).toEqual(['fulfilled', 'rejected'])
      for (const result of same) if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(StoreConflict)
      for (const store of stores) await store.close()
    })

    test('idle connections that were cut are replaced unnoticed (S-17)', async () => {
      const url = await server.createDatabase()
      const store = await open(url)
      const cut = () =>
        server.query(
          url,
          'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
        )
      await Promise.all(Array.from({ length: 20 }, () => store.list('sandbox', all)))
      cut()
      expect(await store.list('sandbox', all)).toEqual([])
      cut()
      await store.transaction(tx => tx.insert(object('one')))
      expect((await store.list('sandbox', all)).length).toBe(1)
      await store.close()
    })

    test('a server that dies makes calls fail at once, and they work within 2 s of its return (S-17)', async () => {
      const url = await server.createDatabase()
      const store = await open(url)
      await store.transaction(tx => tx.insert(object('one')))
      await server.kill()
      for (const call of [
        () => store.get('sandbox', 'id-one'),
        () => store.ping(),
        () => store.transaction(tx => tx.insert(object('two'))),
      ]) {
        const began = performance.now()
        await expect(call()).rejects.toMatchObject({ name: 'StoreFailure', kind: 'unavailable' })
        expect(performance.now() - began).toBeLessThan(1000)
      }
      await server.start()
      const back = performance.now()
      const found = async () => await store.get('sandbox', 'id-one').catch(() => null)
      while ((await found()) === null) expect(performance.now() - back).toBeLessThan(2000)
      await store.transaction(tx => tx.insert(object('two')))
      await store.close()
    }, 30_000)

    test('over TLS: verified as asked, unusable files named, and one that goes away later is no bug', async () => {
      using certificates = createCertificates()
      const root = certificates.path('ca.crt')
      for (const name of ['ca', 'foreign']) certificates.authority(name)
      certificates.leaf('server', 'ca', 'serverAuth')
      await server.secure(certificates.path('server.crt'), certificates.path('server.key'))
      const url = await server.createDatabase()
      const over = (parameters: string) => `${url}?${parameters}`

      await (await open(over('sslmode=require'))).close()
      expect(await refusal(over(`sslmode=verify-full&sslrootcert=${certificates.path('foreign.crt')}`))).toContain(
        'certificate',
      )
      expect(await refusal(over('sslmode=verify-full&sslrootcert=/nowhere.pem'))).toBe(
        "execution error: database error: error with configuration: sslrootcert: cannot read '/nowhere.pem': No such file or directory (os error 2)",
      )
      const nonsense = certificates.write('nonsense.pem', 'nonsense')
      expect(await refusal(over(`sslmode=verify-ca&sslrootcert=${nonsense}`))).toContain(
        'error with configuration: sslrootcert, sslcert and sslkey cannot be used',
      )
      await (await open(over('sslmode=disable&sslrootcert=/nowhere.pem'))).close()

      const store = await open(over(`sslmode=verify-full&sslrootcert=${root}`))
      await store.transaction(tx => tx.insert(object('one')))
      renameSync(root, `${root}.away`)
      server.query(url, 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()')
      for (const call of [() => store.transaction(tx => tx.insert(object('two'))), () => store.list('sandbox', all)])
        await expect(call()).rejects.toMatchObject({ name: 'StoreFailure', kind: 'unavailable' })
      renameSync(`${root}.away`, root)
      await store.transaction(tx => tx.insert(object('two')))
      expect((await store.list('sandbox', all)).length).toBe(2)
      await store.close()
    })

    test('a server that falls silent costs no call more than 6 s, and works again when it speaks (S-17)', async () => {
      const url = await server.createDatabase()
      const store = await open(url)
      await store.transaction(tx => tx.insert(object('one')))
      server.freeze()
      const began = performance.now()
      const calls = [store.get('sandbox', 'id-one'), store.transaction(tx => tx.insert(object('two'))), store.ping()]
      const results = await Promise.allSettled(calls)
      const took = performance.now() - began
      server.thaw()
      expect(results.map(result => result.status)).toEqual(['rejected', 'rejected', 'rejected'])
      expect(took).toBeLessThan(6000)
      expect((await store.get('sandbox', 'id-one'))?.name).toBe('one')
      await store.transaction(tx => tx.insert(object('three')))
      await store.close()
    }, 30_000)
  })
