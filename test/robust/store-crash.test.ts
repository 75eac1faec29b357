import { Database } from 'bun:sqlite'
import { afterAll, expect, test } from 'bun:test'
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import type { Logger } from '../../src/observe/log.ts'
import { openStore } from '../../src/store/open.ts'

const KILLS = Number(process.env['STORE_KILLS'] ?? 20)
const root = mkdtempSync(join(tmpdir(), 'gateway-crash-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
const silent: Logger = { log() {}, debug() {}, info() {}, warn() {}, error() {}, child: () => silent }
const WRITER = join(import.meta.dir, '../kit/store-writer.ts')

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

test(`of ${KILLS} kills no acknowledged write is lost and none is torn (S-01)`, async () => {
  const path = join(root, 'gw.db')
  const url = `sqlite:${path}`
  const present = new Set<string>()
  const removed = new Set<string>()
  for (let kill = 0; kill < KILLS; kill++) {
    const lines = await crash(url, line => /^\d/.test(line), Math.random() * 25)
    for (const line of lines.filter(said => /^-?\d+$/.test(said)))
      if (line.startsWith('-')) removed.add(`n${line.slice(1)}`)
      else present.add(`n${line}`)
    expect(lines).toContain('open')

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
    // The last deletion may be committed without having been told.
    const missing = [...present].filter(name => !removed.has(name) && !found.includes(name))
    expect(missing.length).toBeLessThanOrEqual(1)
    for (const name of missing) {
      expect(Number([...present].at(-1)!.slice(1)) - Number(name.slice(1))).toBe(3)
      removed.add(name)
    }
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
