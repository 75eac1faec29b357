import { afterAll, afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { type Clock, systemClock } from '../../src/base/clock.ts'
import { LIMITS } from '../../src/limits.ts'
import type { Logger } from '../../src/observe/log.ts'
import { openStore } from '../../src/store/open.ts'
import { type NewObject, type ObjectPage, type Store, StoreConflict, StoreFailure } from '../../src/store/store.ts'
import { codec } from '../../src/wire/codec.ts'
import { startPostgres } from '../kit/postgres.ts'

const silent: Logger = { log() {}, debug() {}, info() {}, warn() {}, error() {}, child: () => silent }
const bytes = (text: string) => new TextEncoder().encode(text)
const text = (payload: Uint8Array | undefined) =>
  payload === undefined ? undefined : new TextDecoder().decode(payload)
const SESSION = codec('openshell.v1.SshSession')
const server = await startPostgres()

/** One database of a kind; `reopen` is null where nothing survives. */
interface Backend {
  readonly name: string
  /** URL of a new, empty database. */
  create(): Promise<string>
  readonly survives: boolean
}

const directories: string[] = []
const backends: Backend[] = [
  {
    name: 'SQLite file',
    survives: true,
    async create() {
      const directory = mkdtempSync(join(tmpdir(), 'gateway-store-'))
      directories.push(directory)
      return `sqlite:${directory}/gw.db`
    },
  },
  { name: 'SQLite memory', survives: false, create: async () => 'sqlite::memory:' },
  ...(server ? [{ name: 'PostgreSQL', survives: true, create: () => server.createDatabase() }] : []),
]

afterAll(async () => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
  await server?.stop()
}, 20_000)

for (const backend of backends)
  describe(`store on ${backend.name}`, () => {
    let url: string
    let store: Store
    let now: number
    const clock: Clock = { ...systemClock, nowMs: () => now }
    const open = () => openStore(url, { clock, log: silent })

    beforeEach(async () => {
      now = 1_700_000_000_000
      url = await backend.create()
      store = await open()
    })
    afterEach(async () => {
      await store.close()
    })

    const put = (object: NewObject) => store.transaction(tx => tx.insert(object))
    const sandbox = (name: string, labels: Record<string, string> = {}): NewObject => ({
      type: 'sandbox',
      id: `id-${name}`,
      name,
      payload: bytes(`payload of ${name}`),
      labels: new Map(Object.entries(labels)),
    })
    const session = (
      id: string,
      sandboxId: string,
      more: { expires_at_ms?: number; revoked?: boolean } = {},
    ): NewObject => ({
      type: 'ssh_session',
      id,
      name: id,
      payload: SESSION.encode({ sandbox_id: sandboxId, token: id, ...more }),
    })
    const names = async (page: ObjectPage, selector?: Record<string, string>) =>
      (await store.list('sandbox', page, selector && new Map(Object.entries(selector)))).map(found => found.name)
    const all = { limit: 1000, offset: 0 }
    const conflict = async (write: Promise<unknown>) => {
      const error = await write.then(
        () => null,
        thrown => thrown,
      )
      expect(error).toBeInstanceOf(StoreConflict)
      return (error as StoreConflict).what
    }
    const draftOf = (id: string, host: string, more: object = {}) => ({
      ...{
        id,
        sandboxId: 's',
        draftVersion: 1,
        ruleName: host,
        proposedRule: bytes('rule'),
        rationale: 'r',
        securityNotes: 'n',
      },
      ...{
        confidence: 0.75,
        host,
        port: 443,
        binary: '/usr/bin/curl',
        hitCount: 2,
        firstSeenMs: 10,
        lastSeenMs: 20,
        createdAtMs: 30,
      },
      ...more,
    })

    test('an object comes back as it was written, by id and by name', async () => {
      const written = await put(sandbox('one', { team: 'core', 'example.com/tier': '' }))
      expect(written).toMatchObject({ createdAtMs: now, updatedAtMs: now, name: 'one' })
      for (const found of [await store.get('sandbox', 'id-one'), await store.getByName('sandbox', 'one')]) {
        expect(text(found?.payload)).toBe('payload of one')
        expect(found).toMatchObject({ type: 'sandbox', id: 'id-one', name: 'one', createdAtMs: now, updatedAtMs: now })
        expect([...(found?.labels ?? [])].sort()).toEqual([
          ['example.com/tier', ''],
          ['team', 'core'],
        ])
      }
      expect(Number.isInteger((await store.get('sandbox', 'id-one'))?.createdAtMs)).toBe(true)
    })

    test('I-08, I-10 ids, names and labels are values and never text of a statement; twins are two', async () => {
      const odd = [
        ...[
          "a'b",
          'a"b',
          "'; DROP TABLE objects; --",
          'a\\',
          '$1',
          '?1',
          ':id',
          '%',
          '_',
          '*',
          '../../etc/passwd',
          '\n',
        ],
        ...['__proto__', 'constructor', '<script>', '$(id)', '`id`', '\u202e', '\ufffd', '😀', 'a', 'A', '\u0430'],
        ...['\u00e9', 'e\u0301', 'ſ', 's', '', ' '],
      ]
      for (const name of odd) await put({ ...sandbox(name, { [name]: name }), id: name })
      for (const name of odd) {
        expect((await store.get('sandbox', name))?.name).toBe(name)
        expect((await store.getByName('sandbox', name))?.id).toBe(name)
        expect(await names(all, { [name]: name })).toEqual([name])
      }
      expect((await names(all)).toSorted()).toEqual(odd.toSorted())
      for (const name of odd) expect(await store.transaction(tx => tx.delete('sandbox', name))).toBe(true)
      expect(await names(all)).toEqual([])
    })

    test('any bytes survive, none included', async () => {
      const every = Uint8Array.from({ length: 256 }, (_, byte) => byte)
      await put({ type: 'provider', id: 'all', name: 'all', payload: every })
      await put({ type: 'provider', id: 'none', name: 'none', payload: new Uint8Array(0) })
      expect(new Uint8Array((await store.get('provider', 'all'))!.payload)).toEqual(every)
      const none = await store.get('provider', 'none')
      expect(none?.payload.length).toBe(0)
      await store.transaction(tx => tx.update(none!, bytes('some')))
      expect(text((await store.get('provider', 'none'))?.payload)).toBe('some')
    })

    test('what is absent, of another type or in another case is not found', async () => {
      await put(sandbox('one'))
      expect(await store.get('sandbox', 'id-two')).toBeNull()
      expect(await store.get('provider', 'id-one')).toBeNull()
      expect(await store.getByName('provider', 'one')).toBeNull()
      expect(await store.getByName('sandbox', 'ONE')).toBeNull()
      expect(await store.getByName('sandbox', 'one\0')).toBeNull()
    })

    test('an id is taken across all types, a name within one (S-10)', async () => {
      await put(sandbox('one'))
      expect(await conflict(put({ ...sandbox('two'), id: 'id-one' }))).toBe('id')
      expect(await conflict(put({ ...sandbox('two'), id: 'id-one', type: 'provider' }))).toBe('id')
      expect(await conflict(put({ ...sandbox('one'), id: 'other' }))).toBe('name')
      await put({ ...sandbox('one'), id: 'other', type: 'provider' })
      expect(text((await store.get('sandbox', 'id-one'))?.payload)).toBe('payload of one')
    })

    test('a transaction goes on after a conflict', async () => {
      await put(sandbox('one'))
      await store.transaction(async tx => {
        expect(await conflict(tx.insert(sandbox('one')))).toBe('id')
        await tx.insert(sandbox('two'))
      })
      expect(await names(all)).toEqual(['one', 'two'])
    })

    test('an update needs what was read to be there still (S-09)', async () => {
      const first = await put(sandbox('one', { a: '1' }))
      now += 5
      const second = await store.transaction(tx => tx.update(first, bytes('second')))
      expect(second).toMatchObject({ createdAtMs: now - 5, updatedAtMs: now, name: 'one' })
      expect(await conflict(store.transaction(tx => tx.update(first, bytes('third'))))).toBe('changed')
      const third = await store.transaction(tx => tx.update(second, bytes('third'), new Map([['b', '2']])))
      const found = await store.get('sandbox', 'id-one')
      expect([text(found?.payload), [...found!.labels], found?.updatedAtMs]).toEqual(['third', [['b', '2']], now])
      await store.transaction(tx => tx.delete('sandbox', 'id-one'))
      expect(await conflict(store.transaction(tx => tx.update(third, bytes('x'))))).toBe('changed')
    })

    test('labels stay when an update does not name them', async () => {
      const first = await put(sandbox('one', { a: '1' }))
      await store.transaction(tx => tx.update(first, bytes('second')))
      expect(await names(all, { a: '1' })).toEqual(['one'])
    })

    test('of racing updates that re-read on conflict none is lost (S-09)', async () => {
      await put({ type: 'gateway_settings', id: 'count', name: 'count', payload: bytes('0') })
      const add = async (): Promise<void> => {
        const before = (await store.get('gateway_settings', 'count'))!
        try {
          await store.transaction(tx => tx.update(before, bytes(String(Number(text(before.payload)) + 1))))
        } catch (error) {
          if (!(error instanceof StoreConflict)) throw error
          await add()
        }
      }
      await Promise.all(Array.from({ length: 20 }, add))
      expect(text((await store.get('gateway_settings', 'count'))?.payload)).toBe('20')
    })

    test('of racing inserts of one name exactly one wins (S-10)', async () => {
      const tries = Array.from({ length: 20 }, (_, n) => put({ ...sandbox('one'), id: `id-${n}` }))
      const results = await Promise.allSettled(tries)
      expect(results.filter(result => result.status === 'fulfilled').length).toBe(1)
      for (const result of results)
        if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(StoreConflict)
    })

    test('deleting says whether there was something', async () => {
      await put(sandbox('one'))
      expect(await store.transaction(tx => tx.delete('provider', 'id-one'))).toBe(false)
      expect(await store.transaction(tx => tx.delete('sandbox', 'id-one'))).toBe(true)
      expect(await store.transaction(tx => tx.delete('sandbox', 'id-one'))).toBe(false)
    })

    test('lists are ordered by age, then by name in byte order, and paged', async () => {
      for (const name of ['b', 'a', 'Z', 'ä']) await put(sandbox(name))
      now += 1
      await put(sandbox('0'))
      expect(await names(all)).toEqual(['Z', 'a', 'b', 'ä', '0'])
      expect(await names({ limit: 2, offset: 1 })).toEqual(['a', 'b'])
      expect(await names({ limit: 2, offset: 4 })).toEqual(['0'])
      expect(await names({ limit: 2, offset: 9 })).toEqual([])
      expect(await names({ limit: 0, offset: 0 })).toEqual([])
      expect(await store.list('provider', all)).toEqual([])
    })

    test('a clock that jumps back does not put new rows before older ones (W21, S-19, T-02)', async () => {
      await put(sandbox('zero'))
      await put(sandbox('one'))
      now -= 86_400_000
      const second = await put(sandbox('a'))
      expect(second.createdAtMs).toBe(now + 86_400_001)
      expect((await put(sandbox('b'))).createdAtMs).toBe(now + 86_400_002)
      const updated = await store.transaction(tx => tx.update(second, bytes('x')))
      expect(updated.updatedAtMs).toBeGreaterThanOrEqual(updated.createdAtMs)
      expect(await names(all)).toEqual(['one', 'zero', 'a', 'b'])
    })

    test('a selector takes rows that have every pair, and pages count those only', async () => {
      await put(sandbox('a', { env: 'prod', team: 'core' }))
      await put(sandbox('b', { env: 'prod' }))
      await put(sandbox('c', { env: 'dev', team: 'core' }))
      await put(sandbox('d'))
      await put(sandbox('e', { env: 'prod', note: '' }))
      expect(await names(all, { env: 'prod' })).toEqual(['a', 'b', 'e'])
      expect(await names(all, { env: 'prod', team: 'core' })).toEqual(['a'])
      expect(await names(all, { env: 'pro' })).toEqual([])
      expect(await names(all, { prod: 'env' })).toEqual([])
      expect(await names(all, { note: '' })).toEqual(['e'])
      expect(await names(all, {})).toEqual(['a', 'b', 'c', 'd', 'e'])
      expect(await names({ limit: 2, offset: 0 }, { env: 'prod' })).toEqual(['a', 'b'])
      expect(await names({ limit: 2, offset: 2 }, { env: 'prod' })).toEqual(['e'])
    })

    test('a page behind a row counts from there, with a selector and without, within one millisecond too (S-14)', async () => {
      for (const name of ['c', 'a', 'b']) await put(sandbox(name, { env: name === 'b' ? 'dev' : 'prod' }))
      now++
      await put(sandbox('d', { env: 'prod' }))
      const after = (await store.getByName('sandbox', 'a'))!
      expect(await names({ ...all, after })).toEqual(['b', 'c', 'd'])
      expect(await names({ limit: 1, offset: 1, after })).toEqual(['c'])
      expect(await names({ ...all, after }, { env: 'prod' })).toEqual(['c', 'd'])
      expect(await names({ limit: 1, offset: 1, after }, { env: 'prod' })).toEqual(['d'])
    })

    test('a selector of any strings finds what a plain search finds', async () => {
      const word = fc.oneof(
        fc.constantFrom('a', 'b', 'env', '__proto__', 'constructor', 'x"y', 'back\\slash', 'é', '%', '{}', '1'),
        fc.string({ maxLength: 6 }).map(value => value.replaceAll('\0', '').toWellFormed()),
      )
      const labels = fc.array(fc.tuple(word, word), { maxLength: 4 }).map(pairs => new Map(pairs))
      let round = 0
      await fc.assert(
        fc.asyncProperty(fc.array(labels, { maxLength: 6 }), labels, async (rows, selector) => {
          const type = 'provider'
          const prefix = `r${round++}-`
          await store.transaction(async tx => {
            for (const old of await tx.list(type, all)) await tx.delete(type, old.id)
            for (const [n, row] of rows.entries())
              await tx.insert({ type, id: `${prefix}${n}`, name: `${n}`, payload: bytes('x'), labels: row })
          })
          const wanted = rows.flatMap((row, n) =>
            [...selector].every(([key, value]) => row.get(key) === value) ? [`${n}`] : [],
          )
          const found = await store.list(type, all, selector)
          expect(found.map(row => row.name)).toEqual(wanted)
          for (const row of found) expect(row.labels).toEqual(rows[Number(row.name)]!)
        }),
        { numRuns: 40 },
      )
    })

    test('a scan gives every object once, whatever is added meanwhile', async () => {
      for (let n = 0; n < 25; n++) {
        if (n % 10 === 0) now++
        await put(sandbox(`n${String(n).padStart(2, '0')}`))
      }
      const seen: string[] = []
      for await (const object of store.scan('sandbox', 10)) {
        seen.push(object.name)
        if (seen.length === 5) {
          now++
          await put(sandbox('a late one'))
        }
      }
      expect(seen.length).toBe(26)
      expect(new Set(seen).size).toBe(26)
      expect(await Array.fromAsync(store.scan('provider'))).toEqual([])
    })

    test('nothing of a transaction that throws remains (W3)', async () => {
      const failed = store.transaction(async tx => {
        await tx.insert(sandbox('one'))
        await tx.insertPolicy({ sandboxId: 'id-one', version: 1, payload: bytes('p'), hash: 'h' })
        await tx.putDraft(draftOf('d', 'h'))
        throw new Error('stop')
      })
      await expect(failed).rejects.toThrow('stop')
      expect(await names(all)).toEqual([])
      expect(await store.latestPolicy('id-one')).toBeNull()
      expect(await store.draft('d')).toBeNull()
    })

    test('others see a transaction only when it is committed, itself at once', async () => {
      const opened = Promise.withResolvers<void>()
      const finish = Promise.withResolvers<void>()
      const running = store.transaction(async tx => {
        await tx.insert(sandbox('one'))
        expect(await tx.get('sandbox', 'id-one')).not.toBeNull()
        opened.resolve()
        await finish.promise
      })
      await opened.promise
      const outside = store.get('sandbox', 'id-one')
      // In memory a reader waits for the transaction; elsewhere it sees what was before.
      const early = await Promise.race([outside.then(found => found !== null), Bun.sleep(20).then(() => false)])
      expect(early).toBe(false)
      finish.resolve()
      await running
      expect(await store.get('sandbox', 'id-one')).not.toBeNull()
    })

    test('a transaction that is over takes no more work', async () => {
      let kept: { get: Store['get'] } | null = null
      await store.transaction(async tx => {
        kept = tx
      })
      await expect(kept!.get('sandbox', 'x')).rejects.toThrow('over')
    })

    test('transactions run in the order they came', async () => {
      const order: number[] = []
      await Promise.all(
        Array.from({ length: 10 }, (_, n) =>
          store.transaction(async tx => {
            await tx.insert(sandbox(`n${n}`))
            order.push(n)
          }),
        ),
      )
      expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    })

    test('a deleted sandbox takes its settings, sessions, revisions and drafts along (decision 19)', async () => {
      await put(sandbox('one'))
      await put(sandbox('two'))
      for (const owner of ['id-one', 'id-two']) {
        await put({ type: 'sandbox_settings', id: `settings:${owner}`, name: owner, payload: bytes('{}') })
        await put(session(`token-${owner}`, owner))
        await store.transaction(async tx => {
          await tx.insertPolicy({ sandboxId: owner, version: 1, payload: bytes('p'), hash: 'h' })
          await tx.putDraft(draftOf(`draft-${owner}`, 'h', { sandboxId: owner }))
        })
      }
      // Mentions the sandbox without being its session.
      await put({
        type: 'ssh_session',
        id: 'id-one-else',
        name: 'x',
        payload: SESSION.encode({ sandbox_id: 'id-two', token: 'id-one' }),
      })
      expect(await store.transaction(tx => tx.deleteSandbox('id-one'))).toBe(true)
      expect(await store.transaction(tx => tx.deleteSandbox('id-one'))).toBe(false)
      expect(await names(all)).toEqual(['two'])
      expect((await store.list('sandbox_settings', all)).map(row => row.id)).toEqual(['settings:id-two'])
      expect((await store.list('ssh_session', all)).map(row => row.id).sort()).toEqual(['id-one-else', 'token-id-two'])
      expect([await store.latestPolicy('id-one'), await store.draft('draft-id-one')]).toEqual([null, null])
      expect((await store.latestPolicy('id-two'))?.version).toBe(1)
      expect(await store.draft('draft-id-two')).not.toBeNull()
    })

    test('dependents of a sandbox that is gone already are removed too', async () => {
      await put(session('t', 'gone'))
      await store.transaction(tx => tx.insertPolicy({ sandboxId: 'gone', version: 1, payload: bytes('p'), hash: 'h' }))
      expect(await store.transaction(tx => tx.deleteSandbox('gone'))).toBe(false)
      expect([await store.list('ssh_session', all), await store.latestPolicy('gone')]).toEqual([[], null])
    })

    test('spent sessions go, all of them; live and unreadable ones stay (W7, W17)', async () => {
      await store.transaction(async tx => {
        for (let n = 0; n < 450; n++) {
          const more =
            n % 3 === 0 ? { revoked: true } : n % 3 === 1 ? { expires_at_ms: now - 1 } : { expires_at_ms: now }
          await tx.insert(session(`s${n}`, 's', more))
        }
        await tx.insert(session('for ever', 's'))
        await tx.insert({ type: 'ssh_session', id: 'broken', name: 'broken', payload: bytes('\u00ff\u00ff\u00ff') })
      })
      expect(await store.reapSshSessions(now)).toBe(300)
      expect(await store.reapSshSessions(now)).toBe(0)
      expect((await store.list('ssh_session', all)).length).toBe(152)
      expect(await store.transaction(tx => tx.deleteSshSessions('s'))).toBe(151)
    })

    test('policy revisions: newest, by version, listed newest first, one of each version', async () => {
      const add = (sandboxId: string, version: number) =>
        store.transaction(tx =>
          tx.insertPolicy({ sandboxId, version, payload: bytes(`p${version}`), hash: `h${version}` }),
        )
      expect(await store.latestPolicy('s')).toBeNull()
      const first = await add('s', 1)
      expect(first).toMatchObject({
        status: 'pending',
        loadError: null,
        loadedAtMs: null,
        createdAtMs: now,
        hash: 'h1',
      })
      await add('s', 2)
      await add('s', 10)
      await add('t', 1)
      expect(await conflict(add('s', 2))).toBe('version')
      expect((await store.latestPolicy('s'))?.version).toBe(10)
      expect(text((await store.policyVersion('s', 2))?.payload)).toBe('p2')
      expect(await store.policyVersion('s', 3)).toBeNull()
      expect((await store.listPolicies('s', { limit: 2, offset: 0 })).map(row => row.version)).toEqual([10, 2])
      expect((await store.listPolicies('s', { limit: 2, offset: 2 })).map(row => row.version)).toEqual([1])
      expect((await store.listPolicies('t', all)).length).toBe(1)
    })

    test('policy status: set, cleared, superseded below a version', async () => {
      await store.transaction(async tx => {
        for (const version of [1, 2, 3, 4])
          await tx.insertPolicy({ sandboxId: 's', version, payload: bytes('p'), hash: 'h' })
        await tx.insertPolicy({ sandboxId: 't', version: 1, payload: bytes('p'), hash: 'h' })
        expect(await tx.setPolicyStatus('s', 1, 'loaded', { loadError: null, loadedAtMs: now })).toBe(true)
        expect(await tx.setPolicyStatus('s', 3, 'failed', { loadError: 'boom', loadedAtMs: null })).toBe(true)
        expect(await tx.setPolicyStatus('s', 9, 'loaded', { loadError: null, loadedAtMs: now })).toBe(false)
      })
      expect(await store.policyVersion('s', 1)).toMatchObject({ status: 'loaded', loadedAtMs: now })
      expect(await store.policyVersion('s', 3)).toMatchObject({ status: 'failed', loadError: 'boom' })
      expect(await store.transaction(tx => tx.supersedePolicies('s', 4))).toBe(2)
      expect((await store.listPolicies('s', all)).map(row => row.status)).toEqual([
        'pending',
        'failed',
        'superseded',
        'superseded',
      ])
      expect((await store.latestPolicy('t'))?.status).toBe('pending')
      await store.transaction(tx => tx.setPolicyStatus('s', 3, 'loaded', { loadError: null, loadedAtMs: null }))
      expect(await store.policyVersion('s', 3)).toMatchObject({ status: 'loaded', loadError: null })
    })

    test('pruning keeps the newest revisions and every loaded one (W9)', async () => {
      await store.transaction(async tx => {
        for (let version = 1; version <= 8; version++)
          await tx.insertPolicy({ sandboxId: 's', version, payload: bytes('p'), hash: 'h' })
        await tx.setPolicyStatus('s', 2, 'loaded', { loadError: null, loadedAtMs: 1 })
      })
      expect(await store.transaction(tx => tx.prunePolicies('s', 3))).toBe(4)
      expect((await store.listPolicies('s', all)).map(row => row.version)).toEqual([8, 7, 6, 2])
      expect(await store.transaction(tx => tx.prunePolicies('s', 30))).toBe(0)
    })

    test('drafts: one per endpoint in any status; hits add up and stop at the top (W18)', async () => {
      const first = await store.transaction(tx => tx.putDraft(draftOf('d1', 'one')))
      expect(first).toMatchObject({ id: 'd1', status: 'pending', hitCount: 2, decidedAtMs: null, approval: null })
      await store.transaction(tx => tx.setDraftStatus('d1', 'rejected', 99))
      const again = await store.transaction(tx =>
        tx.putDraft(draftOf('d2', 'one', { hitCount: 5, lastSeenMs: 50, ruleName: 'other', rationale: 'other' })),
      )
      expect(again).toMatchObject({
        id: 'd1',
        hitCount: 7,
        lastSeenMs: 50,
        firstSeenMs: 10,
        ruleName: 'one',
        status: 'rejected',
      })
      const most = await store.transaction(tx => tx.putDraft(draftOf('d3', 'one', { hitCount: 2_147_483_647 })))
      expect(most.hitCount).toBe(2_147_483_647)
      expect((await store.transaction(tx => tx.putDraft(draftOf('d4', 'one', { port: 4_294_967_295 })))).port).toBe(
        4_294_967_295,
      )
      expect((await store.transaction(tx => tx.putDraft(draftOf('d5', 'one', { binary: '' })))).id).toBe('d5')
      expect(await conflict(store.transaction(tx => tx.putDraft(draftOf('d5', 'else'))))).toBe('id')
      expect(await store.draft('d1')).toMatchObject({ confidence: 0.75, securityNotes: 'n', decidedAtMs: 99 })
    })

    test('drafts: listed newest first, by status, decided, rewritten while pending, deleted', async () => {
      await store.transaction(async tx => {
        for (const [n, host] of ['a', 'b', 'c'].entries())
          await tx.putDraft(draftOf(`d-${host}`, host, { createdAtMs: 100 + n, draftVersion: n + 3 }))
      })
      const ids = async (status?: 'pending' | 'approved' | 'rejected') =>
        (await store.listDrafts('s', status)).map(row => row.id)
      expect(await ids()).toEqual(['d-c', 'd-b', 'd-a'])
      expect(await store.draftVersion('s')).toBe(5)
      expect(await store.draftVersion('t')).toBe(0)
      await store.transaction(async tx => {
        expect(await tx.setDraftStatus('d-a', 'approved', 7)).toBe(true)
        expect(await tx.setDraftStatus('none', 'approved', 7)).toBe(false)
        expect(await tx.setDraftRule('d-a', bytes('new'))).toBe(false)
        expect(await tx.setDraftRule('d-b', bytes('new'))).toBe(true)
      })
      expect([await ids('pending'), await ids('approved'), await ids('rejected')]).toEqual([
        ['d-c', 'd-b'],
        ['d-a'],
        [],
      ])
      expect(text((await store.draft('d-b'))?.proposedRule)).toBe('new')
      await store.transaction(tx => tx.setDraftStatus('d-a', 'pending', null))
      expect((await store.draft('d-a'))?.decidedAtMs).toBeNull()
      await store.transaction(tx => tx.setDraftStatus('d-a', 'rejected', 1))
      expect(await store.transaction(tx => tx.deleteDrafts('s', 'pending'))).toBe(2)
      expect(await ids()).toEqual(['d-a'])
      expect(await store.transaction(tx => tx.deleteDraft('d-a'))).toBe(true)
      expect(await store.transaction(tx => tx.deleteDraft('d-a'))).toBe(false)
    })

    test('drafts: the version never falls, whatever is removed, until the sandbox goes (spec/policy.md W20)', async () => {
      const put = (id: string, draftVersion: number) =>
        store.transaction(tx => tx.putDraft(draftOf(id, id, { draftVersion })))
      await put('d1', 1)
      await put('d2', 2)
      await store.transaction(tx => tx.deleteDraft('d2'))
      expect(await store.draftVersion('s')).toBe(2)
      await put('d7', 7)
      await store.transaction(tx => tx.deleteDrafts('s', 'pending'))
      expect([await store.countDrafts('s'), await store.draftVersion('s')]).toEqual([0, 7])
      await put('d3', 3)
      await store.transaction(tx => tx.deleteDrafts('s', 'pending'))
      expect(await store.draftVersion('s')).toBe(7)
      expect(await store.transaction(tx => tx.draftVersion('s'))).toBe(7)
      await store.transaction(tx => tx.deleteSandbox('s'))
      expect(await store.draftVersion('s')).toBe(0)
    })

    test('drafts: thousands are read page by page, each once, in the order of the list; removed in pieces', async () => {
      const count = 2 * LIMITS.draftRowsPerTurn + 3
      await store.transaction(async tx => {
        for (let n = 0; n < count; n++)
          await tx.putDraft(
            draftOf(`d${n}`, `h${n}`, { createdAtMs: 100 + (n % 7), status: n % 2 ? 'rejected' : 'pending' }),
          )
      })
      const scan = async (status?: 'pending' | 'rejected') => {
        const pages: string[][] = []
        for await (const page of store.scanDrafts('s', status)) pages.push(page.map(chunk => chunk.id))
        return pages
      }
      const all = (await store.listDrafts('s')).map(chunk => chunk.id)
      const pages = await scan()
      expect(pages.flat()).toEqual(all)
      expect(pages.map(page => page.length)).toEqual([LIMITS.draftRowsPerTurn, LIMITS.draftRowsPerTurn, 3])
      expect((await scan('rejected')).flat()).toEqual((await store.listDrafts('s', 'rejected')).map(chunk => chunk.id))
      expect(await store.countDrafts('s')).toBe(count)
      expect(await store.oldestDraft('s', 'rejected')).toBe((await store.listDrafts('s', 'rejected')).at(-1)!.id)
      expect(await store.oldestDraft('s', 'approved')).toBeNull()
      const { host, port, binary } = draftOf('x', 'h5')
      expect(await store.hasDraftAt('s', { host, port, binary })).toBe(true)
      expect(await store.hasDraftAt('s', { host, port: port + 1, binary })).toBe(false)
      expect(await store.transaction(tx => tx.deleteDrafts('s', 'pending'))).toBe(LIMITS.draftRowsPerTurn + 2)
      expect(await store.countDrafts('s')).toBe(LIMITS.draftRowsPerTurn + 1)
    })

    test('draft details: what is named is rewritten, the rest stays', async () => {
      await store.transaction(tx => tx.putDraft(draftOf('d', 'h', { status: 'approved' })))
      await store.transaction(tx => tx.setDraftDetails('d', { approval: '{"added":1}' }))
      await store.transaction(tx =>
        tx.setDraftDetails('d', { confidence: 0.5, rationale: '', proposedRule: bytes('x'), draftVersion: 9 }),
      )
      expect(await store.draft('d')).toMatchObject({
        approval: '{"added":1}',
        confidence: 0.5,
        rationale: '',
        securityNotes: 'n',
        draftVersion: 9,
      })
      await store.transaction(tx => tx.setDraftDetails('d', { approval: null }))
      expect(await store.draft('d')).toMatchObject({ approval: null, rationale: '' })
      expect(await store.transaction(tx => tx.setDraftDetails('none', { rationale: 'x' }))).toBe(false)
    })

    test('random operations leave what a plain map would hold', async () => {
      type Step = { name: string; do: 'insert' | 'update' | 'delete'; value: string }
      const step: fc.Arbitrary<Step> = fc.record({
        name: fc.constantFrom('a', 'b', 'c'),
        do: fc.constantFrom('insert', 'update', 'delete'),
        value: fc.string({ maxLength: 5 }),
      })
      await fc.assert(
        fc.asyncProperty(fc.array(fc.array(step, { maxLength: 4 }), { maxLength: 5 }), async transactions => {
          const model = new Map<string, string>()
          await store.transaction(async tx => {
            for (const old of await tx.list('sandbox', all)) await tx.delete('sandbox', old.id)
          })
          for (const steps of transactions)
            await store.transaction(async tx => {
              for (const one of steps) {
                const found = await tx.getByName('sandbox', one.name)
                expect(text(found?.payload)).toBe(model.get(one.name))
                if (one.do === 'delete' && found) await tx.delete('sandbox', found.id)
                if (one.do === 'update' && found) await tx.update(found, bytes(one.value))
                if (one.do === 'insert' && !found) await tx.insert({ ...sandbox(one.name), payload: bytes(one.value) })
                if (one.do === 'delete') model.delete(one.name)
                else if (one.do === 'insert' ? !found : found) model.set(one.name, one.value)
              }
            })
          const rows = await store.list('sandbox', all)
          expect(new Map(rows.map(row => [row.name, text(row.payload)!]))).toEqual(model)
        }),
        { numRuns: 15 },
      )
    })

    test('a closed store says so, and closing twice is fine', async () => {
      await store.ping()
      await store.close()
      await store.close()
      for (const call of [() => store.get('sandbox', 'x'), () => store.ping(), () => store.transaction(async () => {})])
        await expect(call()).rejects.toBeInstanceOf(StoreFailure)
    })

    if (backend.survives)
      test('everything is there after opening again', async () => {
        await put(sandbox('one', { a: '1' }))
        await put(session('t', 'id-one'))
        await store.transaction(async tx => {
          await tx.insertPolicy({ sandboxId: 'id-one', version: 3, payload: bytes('p'), hash: 'h' })
          await tx.putDraft(draftOf('d', 'h', { sandboxId: 'id-one' }))
          await tx.insertPolicy({ sandboxId: '__global__', version: 1, payload: bytes('p'), hash: 'h' })
        })
        await store.close()
        store = await open()
        expect(await names(all, { a: '1' })).toEqual(['one'])
        expect((await store.latestPolicy('id-one'))?.version).toBe(3)
        expect((await store.latestPolicy('__global__'))?.version).toBe(1)
        expect((await store.draft('d'))?.host).toBe('h')
        expect((await store.list('ssh_session', all)).length).toBe(1)
      })

    if (backend.survives)
      test('what deleted sandboxes left behind is swept at start (W8)', async () => {
        await put(sandbox('one'))
        await put({ type: 'sandbox_settings', id: 'settings:gone', name: 'gone', payload: bytes('{}') })
        await put({ type: 'sandbox_settings', id: 'settings:id-one', name: 'one', payload: bytes('{}') })
        await put(session('t', 'gone'))
        await store.transaction(async tx => {
          await tx.insertPolicy({ sandboxId: 'gone', version: 1, payload: bytes('p'), hash: 'h' })
          await tx.insertPolicy({ sandboxId: '__global__', version: 1, payload: bytes('p'), hash: 'h' })
          await tx.putDraft(draftOf('d', 'h', { sandboxId: 'gone' }))
        })
        await store.close()
        store = await open()
        expect((await store.list('sandbox_settings', all)).map(row => row.id)).toEqual(['settings:id-one'])
        expect([
          await store.list('ssh_session', all),
          await store.latestPolicy('gone'),
          await store.draft('d'),
        ]).toEqual([[], null, null])
        expect(await store.latestPolicy('__global__')).not.toBeNull()
      })
  })
