import { Database } from 'bun:sqlite'
import { afterAll, expect, test } from 'bun:test'
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import type { Logger } from '../../src/observe/log.ts'
import { openStore } from '../../src/store/open.ts'
import { createDice } from '../kit/dice.ts'
import { canTrace, type FileCall, recordFileCalls } from '../kit/file-calls.ts'

const KILLS = Number(process.env['STORE_KILLS'] ?? 20)
const POWER_CUTS = Number(process.env['STORE_POWER_CUTS'] ?? 50)
/** Of how many runs with faults all but the first few are left out; 1 injects at every single call. */
const FAULT_STRIDE = Number(process.env['STORE_FAULT_STRIDE'] ?? 12)
const root = mkdtempSync(join(tmpdir(), 'gateway-crash-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
const silent: Logger = { log() {}, debug() {}, info() {}, warn() {}, error() {}, child: () => silent }
const WRITER = join(import.meta.dir, '../kit/store-writer.ts')
const isTraceable = canTrace()

/** Runs the writer, kills it when `when` says so or `afterMs` after, and returns the lines it got out. */
async function crash(url: string, when: (line: string) => boolean, afterMs: number): Promise<string[]> {
  const child = spawn(process.execPath, [WRITER, url], { stdio: ['ignore', 'pipe', 'inherit'] })
  const gone = new Promise(resolve => child.once('close', resolve))
  let said = ''
  let armed = false
  child.stdout.on('data', data => {
    said += data
    if (armed || !said.split('\n').slice(0, -1).some(when)) return
    armed = true
    setTimeout(() => child.kill('SIGKILL'), afterMs)
  })
  await gone
  expect(child.signalCode).toBe('SIGKILL')
  return said.split('\n').slice(0, -1)
}

/** What the writer said so far: numbers of sandboxes that it wrote and that it deleted. */
interface Acknowledged {
  readonly present: Set<string>
  readonly removed: Set<string>
}

const nothing = (): Acknowledged => ({ present: new Set(), removed: new Set() })

function hear({ present, removed }: Acknowledged, lines: readonly string[]): void {
  for (const line of lines.filter(said => /^-?\d+$/.test(said)))
    if (line.startsWith('-')) removed.add(`n${line.slice(1)}`)
    else present.add(`n${line}`)
}

/** The file is whole, every sandbox in it has all its parts, and it holds what was acknowledged; a deletion may be there untold. */
function expectKept(path: string, { present, removed }: Acknowledged): void {
  const db = new Database(path)
  expect(db.query('PRAGMA integrity_check').get()).toEqual({ integrity_check: 'ok' })
  const names = (sql: string) =>
    db
      .query<{ v: string }, []>(sql)
      .all()
      .map(row => row.v)
  const found = names("SELECT name AS v FROM objects WHERE object_type = 'sandbox' ORDER BY v")
  const parts = [
    "SELECT name AS v FROM objects WHERE object_type = 'sandbox_settings' ORDER BY v",
    "SELECT 'n' || substr(sandbox_id, 2) AS v FROM sandbox_policies ORDER BY v",
    "SELECT 'n' || substr(sandbox_id, 2) AS v FROM draft_policy_chunks ORDER BY v",
  ]
  for (const part of parts) expect(names(part)).toEqual(found)
  db.close()
  for (const name of removed) expect(found).not.toContain(name)
  const missing = [...present].filter(name => !removed.has(name) && !found.includes(name))
  expect(missing.length).toBeLessThanOrEqual(1)
  for (const name of missing) {
    expect(Number([...present].at(-1)!.slice(1)) - Number(name.slice(1))).toBe(3)
    removed.add(name)
  }
}

test(`of ${KILLS} kills no acknowledged write is lost and none is torn (S-01)`, async () => {
  const path = join(root, 'gw.db')
  const url = `sqlite:${path}`
  const told = nothing()
  for (let kill = 0; kill < KILLS; kill++) {
    const lines = await crash(url, line => /^\d/.test(line), Math.random() * 25)
    expect(lines).toContain('open')
    hear(told, lines)
    expectKept(path, told)
  }
  const store = await openStore(url, { clock: systemClock, log: silent })
  expect((await store.list('sandbox', { limit: 1000, offset: 0 })).length).toBeGreaterThan(0)
  await store.close()
}, 60_000)

test('a kill while the schema is made leaves a file that opens (S-08)', async () => {
  for (let kill = 0; kill < 8; kill++) {
    const path = join(root, `new-${kill}.db`)
    await crash(`sqlite:${path}`, line => line === 'start', kill * 1.5)
    const store = await openStore(`sqlite:${path}`, { clock: systemClock, log: silent })
    await store.transaction(tx => tx.insert({ type: 'provider', id: 'x', name: 'x', payload: Buffer.from('x') }))
    await store.close()
  }
}, 30_000)

/**
 * A file after the power went: what was synced is there; of each later write none, all, or its first sectors, whatever
 * came after it.
 */
function afterPowerCut(calls: readonly FileCall[], roll: (below: number) => number): Buffer {
  const synced = calls.findLastIndex(call => call.kind === 'sync')
  const content = Buffer.alloc(Math.max(...calls.map(call => (call.kind === 'write' ? call.at + call.data.length : 0))))
  let size = 0
  for (const [index, call] of calls.entries()) {
    const fate = index < synced ? 2 : roll(3)
    if (call.kind === 'sync' || fate === 0) continue
    if (call.kind === 'truncate') {
      content.fill(0, call.at)
      size = call.at
    } else {
      const sectors = fate === 2 ? call.data.length : 512 * roll(Math.ceil(call.data.length / 512) + 1)
      call.data.copy(content, call.at, 0, sectors)
      size = Math.max(size, call.at + Math.min(sectors, call.data.length))
    }
  }
  return content.subarray(0, size)
}

test.skipIf(!isTraceable)(
  `of ${POWER_CUTS} power cuts no acknowledged write is lost, whatever of the unsynced pages got to the disk (S-02)`,
  async () => {
    const directory = join(root, 'power')
    mkdirSync(directory)
    const calls = await recordFileCalls([WRITER, `sqlite:${directory}/gw.db`, '60'], directory)
    const opened = calls.findIndex(call => call.kind === 'said' && call.text === 'open')
    expect(opened).toBeGreaterThan(0)
    // The log was moved into the file at least once before the end.
    const moved = calls.filter(call => call.kind === 'sync' && call.file === 'gw.db').length
    expect(moved).toBeGreaterThan(2)
    const roll = createDice(7)
    for (let cut = 0; cut < POWER_CUTS; cut++) {
      const until = calls.slice(0, opened + 1 + roll(calls.length - opened - 1))
      const place = join(root, `cut-${cut}`)
      mkdirSync(place)
      for (const file of ['gw.db', 'gw.db-wal']) {
        const own = until.filter((call): call is FileCall => call.kind !== 'said' && call.file === file)
        if (own.length > 0) writeFileSync(join(place, file), afterPowerCut(own, roll))
      }
      const told = nothing()
      hear(
        told,
        until.flatMap(call => (call.kind === 'said' ? [call.text] : [])),
      )
      const store = await openStore(`sqlite:${place}/gw.db`, { clock: systemClock, log: silent })
      await store.close()
      expectKept(join(place, 'gw.db'), told)
      rmSync(place, { recursive: true })
    }
  },
  60_000,
)

/** TABLE of system calls that fail, how, and after how many calls they fail again. */
const FAULTS = [
  { call: 'pwrite64', error: 'ENOSPC', every: 61, kinds: /^!unavailable$/ },
  { call: 'pwrite64', error: 'EIO', every: 61, kinds: /^!unavailable$/ },
  { call: 'fsync', error: 'EIO', every: 13, kinds: /^!unavailable$/ },
  // To SQLite a page that cannot be read may be one that is damaged.
  { call: 'pread64', error: 'EIO', every: 37, kinds: /^!(unavailable|damaged)$/ },
] as const

test.skipIf(!isTraceable).each([...FAULTS])(
  '$call answers $error now and then: refused in the store’s own terms, the rest goes on, nothing is torn (S-03, S-12)',
  async ({ call, error, every, kinds }) => {
    let refused = 0
    for (let first = 1; first <= every; first += Math.min(FAULT_STRIDE, Math.ceil(every / 3))) {
      const place = join(root, `${call}-${error}-${first}`)
      mkdirSync(place)
      const path = join(place, 'gw.db')
      const files = ['', '-wal'].flatMap(ending => ['-P', path + ending])
      const fault = `inject=${call}:error=${error}:when=${first}+${every}`
      const command = [
        '-qq',
        '-o',
        '/dev/null',
        ...files,
        '-e',
        `trace=${call}`,
        '-e',
        fault,
        process.execPath,
        WRITER,
        `sqlite:${path}`,
        '15',
      ]
      const { status, stdout, stderr } = spawnSync('strace', command, { encoding: 'utf8' })
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
      const lines = stdout.split('\n').slice(0, -1)
      const told = nothing()
      hear(told, lines)
      const failures = lines.filter(line => line.startsWith('!'))
      refused += failures.length
      for (const failure of failures) expect(failure).toMatch(failure.startsWith('!start') ? /gw\.db/ : kinds)
      const store = await openStore(`sqlite:${path}`, { clock: systemClock, log: silent })
      await store.close()
      expectKept(path, told)
    }
    expect(refused).toBeGreaterThan(0)
  },
  60_000,
)
