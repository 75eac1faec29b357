import { Database } from 'bun:sqlite'
import { afterAll, beforeEach, describe, expect, test } from 'bun:test'
import { spawn } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { StartError } from '../../src/base/errors.ts'
import type { LogFields, Logger } from '../../src/observe/log.ts'
import { openStore } from '../../src/store/open.ts'
import { StoreFailure } from '../../src/store/store.ts'
import { REFERENCE_MIGRATIONS, writeReferenceDatabase } from '../kit/reference-database.ts'

const root = mkdtempSync(join(tmpdir(), 'gateway-sqlite-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

let directory: string
let path: string
let lines: [string, LogFields | undefined][]
let count = 0
beforeEach(() => {
  directory = join(root, String(++count))
  mkdirSync(directory)
  path = join(directory, 'gw.db')
  lines = []
})

const note = (message: string, fields?: LogFields) => void lines.push([message, fields])
const log: Logger = {
  log: (_, message, fields) => note(message, fields),
  debug: note,
  info: note,
  warn: note,
  error: note,
  child: () => log,
}
const open = (url = `sqlite:${path}`) => openStore(url, { clock: systemClock, log })
const refusal = async (url = `sqlite:${path}`): Promise<string> => {
  const store = await open(url).catch((error: unknown) => error)
  if (store instanceof StartError) return store.message
  if (!(store instanceof Error)) await (store as Awaited<ReturnType<typeof open>>).close()
  throw new Error('was not refused', { cause: store })
}
const edit = (sql: string, file = path) => {
  const db = new Database(file)
  db.run(sql)
  db.close(true)
}
const ask = (sql: string, file = path): unknown[][] => {
  const db = new Database(file, { readonly: true })
  const statement = db.prepare(sql)
  const rows = statement.values()
  statement.finalize()
  db.close(true)
  return rows
}
const mode = (file: string) => (statSync(file).mode & 0o777).toString(8)
const all = { limit: 100, offset: 0 }
const object = (name: string) => ({ type: 'sandbox' as const, id: `id-${name}`, name, payload: Buffer.from(name) })
const OPENED = 'execution error: database error: error returned from database: '
const MIGRATING = 'execution error: migration error: '

describe('place and access of the file', () => {
  test('the directory is made 0700, the file and its companions 0600, whatever the umask (W11, W16, S-15)', async () => {
    const before = process.umask(0)
    try {
      path = join(directory, 'a', 'b', 'gw.db')
      const store = await open()
      await store.transaction(tx => tx.insert(object('one')))
      const files = readdirSync(join(directory, 'a', 'b'))
      expect(files.sort()).toEqual(['.gw.db.lock', 'gw.db', 'gw.db-shm', 'gw.db-wal'])
      for (const file of files) expect(mode(join(directory, 'a', 'b', file))).toBe('600')
      expect([mode(join(directory, 'a')), mode(join(directory, 'a', 'b'))]).toEqual(['700', '700'])
      await store.close()
      expect(readdirSync(join(directory, 'a', 'b'))).toEqual(['gw.db'])
    } finally {
      process.umask(before)
    }
  })

  test('a file that others could read is closed to them, with a warning (S-15)', async () => {
    writeReferenceDatabase(path)
    chmodSync(path, 0o644)
    await (await open()).close()
    expect(mode(path)).toBe('600')
    expect(lines.map(([message]) => message)).toContain('Database file was open to other users; access taken away')
  })

  test('a link in a directory that everybody can write to is refused, elsewhere it is followed once (S-16)', async () => {
    mkdirSync(join(directory, 'open'))
    chmodSync(join(directory, 'open'), 0o1777)
    mkdirSync(join(directory, 'real'))
    symlinkSync(join(directory, 'real', 'x.db'), join(directory, 'open', 'x.db'))
    symlinkSync(join(directory, 'real'), join(directory, 'open', 'folder'))
    for (const planted of ['open/x.db', 'open/folder/x.db'])
      expect(await refusal(`sqlite:${directory}/${planted}`)).toContain('symbolic link')
    expect(readdirSync(join(directory, 'real'))).toEqual([])
    symlinkSync(join(directory, 'real'), join(directory, 'link'))
    await (await open(`sqlite:${directory}/link/y.db`)).close()
    expect(existsSync(join(directory, 'real', 'y.db'))).toBe(true)
    expect(lines).toContainEqual(['Database path resolved', { path: join(directory, 'real', 'y.db') }])
  })

  test('a folder, a pipe, a place that cannot be written: refused with the path', async () => {
    mkdirSync(path)
    expect(await refusal()).toBe(`${OPENED}(code: 14) unable to open database file: ${path}: not a regular file`)
    expect(await refusal('sqlite:/proc/openshell.db')).toStartWith(`${OPENED}(code: 14) unable to open database file`)
    Bun.spawnSync(['mkfifo', join(directory, 'pipe')])
    expect(await refusal(`sqlite:${directory}/pipe`)).toContain('not a regular file')
  })

  test('a name that is too long, links in a circle, a file where a directory should be: refused with the path', async () => {
    writeFileSync(join(directory, 'file'), '')
    symlinkSync('round', join(directory, 'round'))
    for (const place of ['n'.repeat(300), 'round', 'file/gw.db'])
      for (const query of ['', '?mode=ro'])
        expect(await refusal(`sqlite:${directory}/${place}${query}`)).toStartWith(
          `${OPENED}(code: 14) unable to open database file: ${directory}/${place.split('/')[0]}`,
        )
  })

  test('an unknown vfs is refused, a known one works', async () => {
    expect(await refusal(`sqlite:${path}?vfs=nope`)).toContain('no such vfs: nope')
    expect(readdirSync(directory)).toEqual([])
    await (await open(`sqlite:${path}?vfs=unix`)).close()
  })

  test('names with blanks and marks', async () => {
    await (await open(`sqlite:${directory}/a%20b%3Fc%23%25.db`)).close()
    expect(readdirSync(directory)).toEqual(['a b?c#%.db'])
  })

  test('memory leaves no file', async () => {
    await (await open('sqlite::memory:')).close()
    expect(readdirSync(directory)).toEqual([])
  })
})

describe('one gateway a file (W22, S-04)', () => {
  const OTHER = `import { openStore } from ${JSON.stringify(join(import.meta.dir, '../../src/store/open.ts'))}
import { systemClock } from ${JSON.stringify(join(import.meta.dir, '../../src/base/clock.ts'))}
const log = { log() {}, debug() {}, info() {}, warn() {}, error() {}, child: () => log }
try { const store = await openStore(process.argv.at(-1), { clock: systemClock, log }); console.log('open'); setInterval(() => store.ping(), 1000) }
catch (error) { console.log(error.message); process.exit(1) }`
  const startOther = async () => {
    const child = spawn(process.execPath, ['-e', OTHER, `sqlite:${path}`], { stdio: ['ignore', 'pipe', 'inherit'] })
    const said = await new Promise<string>(resolve => child.stdout.once('data', data => resolve(String(data).trim())))
    return { child, said }
  }

  test('a second one is refused, in this process and in another', async () => {
    const store = await open()
    expect(await refusal()).toContain('another gateway is running on this database')
    const { child, said } = await startOther()
    expect(said).toContain('another gateway is running on this database')
    if (child.exitCode === null) await new Promise(resolve => child.once('exit', resolve))
    expect(child.exitCode).toBe(1)
    await store.transaction(tx => tx.insert(object('still here')))
    await store.close()
    await (await open()).close()
  })

  test('the file is free at once when its owner is killed', async () => {
    const { child, said } = await startOther()
    expect(said).toBe('open')
    expect(await refusal()).toContain('another gateway')
    const gone = new Promise(resolve => child.once('exit', resolve))
    child.kill('SIGKILL')
    await gone
    await (await open()).close()
  })
})

test('a file of the schema before is upgraded with its rows, and once (C-11)', async () => {
  await (await open()).close()
  edit("INSERT INTO objects VALUES ('sandbox', 's', 'old', x'01', 1, 1, '{}')")
  // What schema 2 added to schema 1.
  edit('DROP INDEX openshell_policies_list; DROP INDEX openshell_drafts_order; DROP TABLE openshell_draft_versions')
  edit('UPDATE openshell_schema SET version = 1')
  const store = await open()
  expect((await store.getByName('sandbox', 'old'))?.payload).toEqual(Buffer.from([1]))
  await store.transaction(tx => tx.insert(object('new')))
  await store.close()
  expect(ask('SELECT version FROM openshell_schema ORDER BY 1')).toEqual([[1], [2]])
  expect(ask("SELECT name FROM sqlite_master WHERE name LIKE 'openshell%' AND type <> 'index'")).toHaveLength(2)
  await (await open()).close()
  expect(ask('SELECT version FROM openshell_schema ORDER BY 1')).toEqual([[1], [2]])
})

describe('a file that is refused, a newer one above all, keeps its bytes (S-05, S-07, C-11)', () => {
  const unchanged = async (prepare: () => void): Promise<string> => {
    prepare()
    const before = Buffer.from(readFileSync(path))
    const said = await refusal()
    expect(Buffer.compare(readFileSync(path), before)).toBe(0)
    expect(readdirSync(directory).filter(name => name.includes('lock'))).toEqual([])
    return said
  }
  const reference = (sql: string) => () => {
    writeReferenceDatabase(path)
    edit(sql)
  }

  test('no database', async () => {
    const said = await unchanged(() => writeFileSync(path, 'this is no database '.repeat(50)))
    expect(said).toBe(
      `${MIGRATING}while executing migrations: error returned from database: (code: 26) file is not a database: ${path}`,
    )
  })

  test('a damaged page', async () => {
    const said = await unchanged(() => {
      writeReferenceDatabase(path)
      const db = new Database(path)
      db.run('BEGIN')
      for (let n = 0; n < 500; n++)
        db.run('INSERT INTO objects VALUES (?, ?, ?, ?, 1, 1, ?)', [
          'sandbox',
          `i${n}`,
          `n${n}`,
          Buffer.alloc(500),
          '{}',
        ])
      db.run('COMMIT')
      db.close(true)
      const content = readFileSync(path)
      content.fill(0xee, content.length - 8192, content.length - 4096)
      writeFileSync(path, content)
    })
    expect(said).toContain(path)
  })

  test('cut off in the middle', async () => {
    const said = await unchanged(() => {
      writeReferenceDatabase(path)
      writeFileSync(path, readFileSync(path).subarray(0, 6000))
    })
    expect(said).toContain(path)
  })

  test('an empty file whose log is not', async () => {
    const said = await unchanged(() => {
      writeFileSync(path, '')
      writeFileSync(`${path}-wal`, Buffer.alloc(100, 1))
    })
    expect(said).toContain('write-ahead log')
    expect(statSync(`${path}-wal`).size).toBe(100)
  })

  test.each([
    [
      "INSERT INTO _sqlx_migrations VALUES (99, 'future', '', 1, x'00', 0)",
      'migration 99 was previously applied but is missing in the resolved migrations',
    ],
    [
      "INSERT INTO _sqlx_migrations VALUES (0, 'past', '', 1, x'00', 0)",
      'migration 0 was previously applied but is missing in the resolved migrations',
    ],
    [
      "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 2",
      'migration 2 was previously applied but has been modified',
    ],
    [
      'UPDATE _sqlx_migrations SET success = 0 WHERE version = 4',
      'migration 4 is partially applied; fix and remove row from `_sqlx_migrations` table',
    ],
    [
      'CREATE TABLE openshell_schema AS SELECT 99 AS version, 0 AS applied_at_ms',
      'the database was written by a newer gateway (schema 99, this one knows 2)',
    ],
  ])('%s', async (sql, text) => {
    expect(await unchanged(reference(sql))).toBe(`${MIGRATING}${text}`)
  })
})

describe('databases of the reference (decision 9)', () => {
  const columns = () =>
    ask('SELECT version, description, success, lower(hex(checksum)) FROM _sqlx_migrations ORDER BY version')
  const expected = REFERENCE_MIGRATIONS.map(one => [one.version, one.description, 1, one.checksum])

  test('a new file has its tables and migration rows, and nothing that may not be null beside them', async () => {
    await (await open()).close()
    expect(columns()).toEqual(expected)
    expect(
      ask(
        "SELECT typeof(execution_time), execution_time > 0, typeof(success), installed_on GLOB '????-??-?? ??:??:??' FROM _sqlx_migrations LIMIT 1",
      ),
    ).toEqual([['integer', 1, 'integer', 1]])
    const other = join(directory, 'reference.db')
    writeReferenceDatabase(other)
    for (const table of ['objects', 'sandbox_policies', 'draft_policy_chunks', '_sqlx_migrations']) {
      const shape = (file: string) =>
        ask(
          `SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info('${table}') WHERE name <> 'approval'`,
          file,
        )
      expect(shape(path)).toEqual(shape(other))
    }
    expect(ask("SELECT count(*) FROM sqlite_master WHERE type IN ('trigger', 'view')")).toEqual([[0]])
    expect(ask('PRAGMA quick_check')).toEqual([['ok']])
  })

  test('one with rows opens, is read, written, and keeps its rows', async () => {
    writeReferenceDatabase(path)
    edit(`INSERT INTO objects VALUES ('sandbox', 's1', 'alpha', x'0a01', 5, 6, '{"team":"core","x":""}'),
      ('sandbox', 's2', 'beta', x'0a02', 5, 6, NULL), ('sandbox', 's3', 'gamma', x'0a03', 7, 8, 'not json'), ('sandbox', 's4', 'delta', x'0a04', 9, 9, '{"team": "core"}')`)
    edit("INSERT INTO sandbox_policies VALUES ('p1', 's1', 1, x'01', 'h', 'odd', NULL, 1, NULL)")
    const store = await open()
    expect(
      (await store.list('sandbox', all)).map(row => [row.name, row.createdAtMs, Object.fromEntries(row.labels)]),
    ).toEqual([
      ['alpha', 5, { team: 'core', x: '' }],
      ['beta', 5, {}],
      ['gamma', 7, {}],
      ['delta', 9, { team: 'core' }],
    ])
    expect((await store.list('sandbox', all, new Map([['team', 'core']]))).map(row => row.name)).toEqual([
      'alpha',
      'delta',
    ])
    expect((await store.latestPolicy('s1'))?.status as string).toBe('odd')
    const beta = (await store.get('sandbox', 's2'))!
    await store.transaction(tx => tx.update(beta, Buffer.from('x'), new Map([['a', 'b']])))
    await store.close()
    expect(ask("SELECT labels, created_at_ms FROM objects WHERE id = 's2'")).toEqual([['{"a":"b"}', 5]])
    expect(columns()).toEqual(expected)
  })

  test('one with three migrations is upgraded and its rows get {}', async () => {
    writeReferenceDatabase(path, 3)
    edit("INSERT INTO objects VALUES ('provider', 'i', 'old', x'01', 1, 1)")
    const store = await open()
    expect((await store.getByName('provider', 'old'))?.labels.size).toBe(0)
    await store.close()
    expect(columns()).toEqual(expected)
    expect(ask('SELECT labels FROM objects')).toEqual([['{}']])
  })

  test('rows 1 to 3 missing are written again; row 4 missing is the reference error', async () => {
    writeReferenceDatabase(path)
    edit('DELETE FROM _sqlx_migrations WHERE version = 3')
    await (await open()).close()
    expect(columns()).toEqual(expected)
    edit('DELETE FROM _sqlx_migrations')
    expect(await refusal()).toStartWith(
      `${MIGRATING}while executing migration 4: error returned from database: (code: 1) duplicate column name: labels`,
    )
    expect(columns()).toEqual(expected.slice(0, 3))
  })

  test('further columns, tables, indexes and version numbers do not matter', async () => {
    writeReferenceDatabase(path)
    edit("ALTER TABLE objects ADD COLUMN extra TEXT NOT NULL DEFAULT 'd'")
    edit('ALTER TABLE sandbox_policies ADD COLUMN extra INTEGER')
    edit('CREATE INDEX more ON objects (object_type, created_at_ms, name)')
    edit('PRAGMA user_version = 7')
    edit("UPDATE _sqlx_migrations SET description = 'x', execution_time = -1, installed_on = 'long ago'")
    const store = await open()
    await store.transaction(tx => tx.insert(object('one')))
    expect((await store.list('sandbox', all)).length).toBe(1)
    await store.close()
  })

  test('an empty file and another program’s database are filled', async () => {
    writeFileSync(path, '')
    await (await open()).close()
    expect(columns()).toEqual(expected)
    path = join(directory, 'notes.db')
    edit('CREATE TABLE notes (x)')
    await (await open()).close()
    expect(columns()).toEqual(expected)
  })

  test('read-only: read, not written, not touched', async () => {
    expect(await refusal(`sqlite:${path}?mode=ro`)).toContain('(code: 14) unable to open database file')
    expect(readdirSync(directory)).toEqual([])
    writeReferenceDatabase(path)
    edit("INSERT INTO objects VALUES ('sandbox', 's1', 'alpha', x'0a01', 5, 6, '{}')")
    const before = Buffer.from(readFileSync(path))
    for (const parameter of ['mode=ro', 'immutable=1']) {
      const store = await open(`sqlite:${path}?${parameter}`)
      expect((await store.list('sandbox', all)).length).toBe(1)
      expect(await store.transaction(tx => tx.get('sandbox', 's1'))).not.toBeNull()
      await expect(store.transaction(tx => tx.insert(object('one')))).rejects.toMatchObject({
        name: 'StoreFailure',
        kind: 'read-only',
      })
      await store.close()
    }
    expect(Buffer.compare(readFileSync(path), before)).toBe(0)
    expect(readdirSync(directory)).toEqual(['gw.db'])
    const older = join(directory, 'older.db')
    writeReferenceDatabase(older, 3)
    expect(await refusal(`sqlite:${older}?mode=ro`)).toContain('(code: 8) attempt to write a readonly database')
  })
})

describe('a running store beside other programs', () => {
  /** Holds the write lock of the file in another process until told to let go. */
  const lockElsewhere = async () => {
    const script = `const { Database } = require('bun:sqlite'); const db = new Database(process.argv.at(-1))
      db.run('BEGIN IMMEDIATE'); console.log('locked'); process.stdin.once('data', () => { db.run('COMMIT'); process.exit(0) })`
    const child = spawn(process.execPath, ['-e', script, path], { stdio: ['pipe', 'pipe', 'inherit'] })
    await new Promise(resolve => child.stdout.once('data', resolve))
    return () => void child.stdin.write('go\n')
  }

  test('a short lock delays a write, blocks neither reads nor the loop (S-04)', async () => {
    const store = await open()
    const release = await lockElsewhere()
    let longest = 0
    let last = performance.now()
    const beat = setInterval(() => {
      longest = Math.max(longest, performance.now() - last)
      last = performance.now()
    }, 2)
    const writing = store.transaction(tx => tx.insert(object('patient')))
    expect(await store.list('sandbox', all)).toEqual([])
    await Bun.sleep(150)
    release()
    await writing
    clearInterval(beat)
    expect(longest).toBeLessThan(100)
    expect((await store.list('sandbox', all)).length).toBe(1)
    await store.close()
  })

  test('a table that goes away is a failure, and the store works again when it is back', async () => {
    const store = await open()
    await store.transaction(tx => tx.insert(object('one')))
    edit('ALTER TABLE objects RENAME TO away')
    const failures = [
      () => store.get('sandbox', 'x'),
      () => store.list('sandbox', all),
      () => store.ping(),
      () => store.transaction(tx => tx.delete('sandbox', 'x')),
    ]
    for (const call of failures) await expect(call()).rejects.toMatchObject({ name: 'StoreFailure', kind: 'damaged' })
    edit('ALTER TABLE away RENAME TO objects')
    expect((await store.get('sandbox', 'id-one'))?.name).toBe('one')
    await store.ping()
    await store.transaction(tx => tx.insert(object('two')))
    await store.close()
  })

  test.each(['', '-wal'])('gw.db%s removed or replaced: no write is acknowledged that would be lost', async ending => {
    const store = await open()
    await store.transaction(tx => tx.insert(object('kept')))
    await store.ping()
    renameSync(path + ending, `${path}.elsewhere`)
    const away = { name: 'StoreFailure', kind: 'unavailable', message: `${path}${ending} was removed or replaced` }
    const writing = () => store.transaction(tx => tx.insert(object('lost')))
    for (const call of [writing, () => store.ping()]) await expect(call()).rejects.toMatchObject(away)
    writeFileSync(path + ending, '')
    await expect(writing()).rejects.toMatchObject(away)
    expect((await store.list('sandbox', all)).map(({ name }) => name)).toEqual(['kept'])
    renameSync(`${path}.elsewhere`, path + ending)
    await store.ping()
    await store.transaction(tx => tx.insert(object('written')))
    await store.close()
    expect(ask('SELECT name FROM objects ORDER BY name')).toEqual([['kept'], ['written']])
  })

  test('damage found while running: that call fails, others are served, not ready until the file is restored (S-06)', async () => {
    const many = Array.from({ length: 60 }, (_, n) => `n${n}`)
    let store = await open()
    await store.transaction(async tx => {
      for (const name of many) await tx.insert({ ...object(name), payload: Buffer.alloc(1000, name) })
    })
    await store.close()
    store = await open()
    const content = readFileSync(path)
    // The page of the last row, which begins with its header.
    content.fill(0xff, content.lastIndexOf('n59n59') & ~4095, (content.lastIndexOf('n59n59') & ~4095) + 100)
    const file = openSync(path, 'r+')
    writeSync(file, content)
    closeSync(file)
    await store.ping()

    const results = await Promise.allSettled(many.map(name => store.get('sandbox', `id-${name}`)))
    const faults = results.filter(result => result.status === 'rejected').map(({ reason }) => reason)
    expect(faults.length).toBeGreaterThan(0)
    expect(faults.length).toBeLessThan(many.length / 2)
    for (const fault of faults) expect(fault).toMatchObject({ name: 'StoreFailure', kind: 'damaged' })
    await expect(store.ping()).rejects.toMatchObject({ kind: 'damaged' })
    expect(lines.filter(([message]) => message.includes('damaged'))).toEqual([
      ['Database file is damaged; restore it from a backup', expect.objectContaining({ path })],
    ])
    await store.close()
  })

  test('after a failure of the database nothing of the transaction is kept, whatever the caller does', async () => {
    const store = await open()
    edit('CREATE TRIGGER broken BEFORE INSERT ON sandbox_policies BEGIN SELECT * FROM nothing_there; END')
    const writing = store.transaction(async tx => {
      await tx.insert(object('one'))
      await tx.insertPolicy({ sandboxId: 's', version: 1, payload: Buffer.from('p'), hash: 'h' }).catch(() => {})
      await tx.insert(object('two')).catch(() => {})
    })
    await expect(writing).rejects.toBeInstanceOf(StoreFailure)
    expect(await store.list('sandbox', all)).toEqual([])
    await store.close()
  })
})
