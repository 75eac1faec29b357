/** The executable killed, restarted and asked to stop while it works. */
import { Database } from 'bun:sqlite'
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, renameSync, rmSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js'
import { freePort } from '../../src/dev/free-port.ts'
import { LIMITS } from '../../src/limits.ts'
import { messageFromJson } from '../../src/wire/json.ts'
import { type DriverProcess, startDriver } from '../kit/driver-process.ts'
import { type Answer, callUnary, EXECUTABLE, type GatewayProcess, SECRET, startGateway, until } from '../kit/gateway.ts'

setDefaultTimeout(60_000)

const fakeTime = [...new Bun.Glob('/usr/lib/*/faketime/libfaketime.so.1').scanSync('/')][0]
if (!fakeTime) console.log('skipped: a clock that is off needs libfaketime')

const KILLS = Number(process.env['CRASH_KILLS'] ?? 20)
const WORKERS = 8

let dir: string
let driver: DriverProcess
/** Flags of a gateway with its driver. */
let args: string[]
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'crash-'))
  driver = await startDriver('compute-driver.ts', join(dir, 'compute.sock'))
  args = ['--compute-driver-socket', join(dir, 'compute.sock')]
})
afterEach(async () => {
  await driver.kill()
  rmSync(dir, { recursive: true, force: true })
})

const provider = (name: string) => ({
  provider: { metadata: { name }, type: 'generic', credentials: { KEY: `value of ${name} ${'x'.repeat(300)}` } },
})

async function names(gateway: GatewayProcess): Promise<Set<string>> {
  const all = new Set<string>()
  for (let offset = 0; ; offset += 500) {
    const { response } = await gateway.call('ListProviders', { limit: 500, offset })
    const { providers = [] } = response as { providers?: { metadata: { name: string } }[] }
    for (const { metadata } of providers) all.add(metadata.name)
    if (providers.length < 500) return all
  }
}

test(`row 8, S-01: of ${KILLS} kills in a storm of writes no acknowledged write is lost, and the file is whole`, async () => {
  const created = new Set<string>()
  /** Deletions that were asked for: what was told is gone, what was not may be either. */
  const deleting = new Map<string, boolean>()
  let number = 0

  /** Writes until the gateway is gone. */
  const storm = async (gateway: GatewayProcess) => {
    for (;;) {
      const name = `p${number++}`
      if ((await gateway.call('CreateProvider', provider(name))).code !== 'OK') return
      created.add(name)
      if (number % 4 !== 0) continue
      deleting.set(name, false)
      if ((await gateway.call('DeleteProvider', { name })).code !== 'OK') return
      deleting.set(name, true)
    }
  }

  for (let kill = 0; kill < KILLS; kill++) {
    const gateway = await startGateway({ args, dir })
    const before = created.size
    const storms = Array.from({ length: WORKERS }, () => storm(gateway))
    await until('writes', () => created.size >= before + 5 + ((kill * 37) % 90))
    expect(await gateway.stop('SIGKILL')).toBe('SIGKILL')
    await Promise.all(storms)

    const database = new Database(join(dir, 'gateway.db'))
    expect(database.query('PRAGMA integrity_check').all()).toEqual([{ integrity_check: 'ok' }])
    database.close()
  }

  const gateway = await startGateway({ args, dir })
  const found = await names(gateway)
  expect([...created].filter(name => !deleting.has(name) && !found.has(name))).toEqual([])
  expect([...deleting].filter(([name, told]) => told && found.has(name))).toEqual([])
  for (const name of [...found].slice(0, 20))
    expect((await gateway.call('GetProvider', { name })).response).toMatchObject({ provider: { metadata: { name } } })
  expect(await gateway.stop()).toBe(0)
  expect(created.size).toBeGreaterThan(KILLS * 5)
})

describe('C-01, C-04', () => {
  test('killed and restarted: every sandbox keeps its phase, and the driver is asked to delete nothing', async () => {
    const phases = async (gateway: GatewayProcess): Promise<Record<string, string>> => {
      const { response } = await gateway.call('ListSandboxes', { limit: 1000 })
      const { sandboxes = [] } = response as { sandboxes?: { metadata: { name: string }; phase: string }[] }
      return Object.fromEntries(sandboxes.map(({ metadata, phase }) => [metadata.name, phase]))
    }
    const first = await startGateway({ args, dir })
    await first.logged(line => line.message === 'driver connected')
    const wanted: Record<string, string> = {}
    for (let n = 0; n < 12; n++) {
      const { response } = await first.call('CreateSandbox', { name: `s${n}`, spec: {} })
      const { id } = (response as { sandbox: { metadata: { id: string } } }).sandbox.metadata
      const isReady = n % 3 !== 0
      wanted[`s${n}`] = isReady ? 'SANDBOX_PHASE_READY' : 'SANDBOX_PHASE_PROVISIONING'
      const up = [{ type: 'Ready', status: 'True', reason: 'Up', message: '', last_transition_time: '' }]
      if (isReady) await driver.tell({ do: 'status', sandbox: id, status: { conditions: up } })
    }
    await until('the phases', async () => Bun.deepEquals(await phases(first), wanted))
    expect(await first.stop('SIGKILL')).toBe('SIGKILL')

    const watches = driver.calls('WatchSandboxes')
    const lists = driver.calls('ListSandboxes')
    const second = await startGateway({ args, dir })
    // From the very first answer on, before the driver was asked anything.
    expect(await phases(second)).toEqual(wanted)
    await until(
      'the driver to be asked',
      () => driver.calls('WatchSandboxes') > watches && driver.calls('ListSandboxes') > lists,
    )
    expect(await phases(second)).toEqual(wanted)
    expect(driver.calls('DeleteSandbox')).toBe(0)
    expect(driver.calls('CreateSandbox')).toBe(12)
    // C-05: a start costs the driver one look.
    expect(driver.calls('ListSandboxes') - lists).toBeLessThanOrEqual(2)
    expect(await second.stop()).toBe(0)
    expect(driver.calls('DeleteSandbox')).toBe(0)
  })

  test.skipIf(!fakeTime)('T-02: restarted a day earlier: sessions stay good, new records come last', async () => {
    const first = await startGateway({ args, dir })
    await first.logged(line => line.message === 'driver connected')
    const { response } = await first.call('CreateSandbox', { name: 'old', spec: {} })
    const { id, created_at_ms: oldMs } = (response as { sandbox: { metadata: Record<string, string> } }).sandbox
      .metadata
    const become = async (ready: 'True' | 'False', phase: string) => {
      const conditions = [{ type: 'Ready', status: ready, reason: 'Starting', message: '', last_transition_time: '' }]
      await driver.tell({ do: 'status', sandbox: id!, status: { conditions } })
      await until(phase, async () => JSON.stringify(await first.call('GetSandbox', { name: 'old' })).includes(phase))
    }
    await become('True', 'SANDBOX_PHASE_READY')
    const session = (await first.call('CreateSshSession', { sandbox_id: id })).response!
    await become('False', 'SANDBOX_PHASE_PROVISIONING')
    expect(Number(session['expires_at_ms'])).toBeGreaterThan(Date.now())
    expect(await first.stop('SIGKILL')).toBe('SIGKILL')

    const second = await startGateway({ args, dir, env: { LD_PRELOAD: fakeTime!, FAKETIME: '-1d' } })
    await second.logged(line => line.message === 'driver connected')
    expect(Date.parse(String(second.log[0]!['time']))).toBeLessThan(Number(oldMs))
    // 412: the session is good, its sandbox is not ready yet; an expired one is refused with 401.
    const headers = { 'x-sandbox-id': id!, 'x-sandbox-token': String(session['token']) }
    const connect = request({ host: '127.0.0.1', port: second.port, method: 'CONNECT', path: '/connect/ssh', headers })
    const answer = new Promise(resolve => {
      connect.on(
        'connect',
        ({ statusCode }: IncomingMessage, socket: Socket) => resolve(statusCode) ?? socket.destroy(),
      )
      connect.on('response', ({ statusCode }) => resolve(statusCode))
    })
    connect.end()
    expect(await answer).toBe(412)
    expect((await second.call('CreateSandbox', { name: 'new', spec: {} })).code).toBe('OK')
    const { sandboxes } = (await second.call('ListSandboxes')).response as {
      sandboxes: { metadata: { name: string; created_at_ms: string } }[]
    }
    expect(sandboxes.map(({ metadata }) => metadata.name)).toEqual(['old', 'new'])
    expect(await second.stop()).toBe(0)
  })

  test('C-01: SIGTERM under load ends with 0: what had begun is answered, streams are told, nothing acknowledged is lost', async () => {
    const gateway = await startGateway({ args, dir })
    await gateway.logged(line => line.message === 'driver connected')
    const { response } = await gateway.call('CreateSandbox', { name: 'watched', spec: {} })
    const { id } = (response as { sandbox: { metadata: { id: string } } }).sandbox.metadata

    const watcher = new Client(gateway.address, credentials.createInsecure())
    const request = messageFromJson('openshell.v1.WatchSandboxRequest', { id, follow_status: true })
    const streamEnd = new Promise<ServiceError | null>(resolve => {
      const stream = watcher.makeServerStreamRequest(
        '/openshell.v1.OpenShell/WatchSandbox',
        () => request,
        bytes => bytes,
        null,
      )
      stream
        .on('error', (error: ServiceError) => resolve(error))
        .on('end', () => resolve(null))
        .resume()
    })

    const calls: { beganMs: number; name: string; answer: Answer }[] = []
    let number = 0
    const work = async () => {
      const client = new Client(gateway.address, credentials.createInsecure(), {
        'grpc.use_local_subchannel_pool': 1,
        'grpc.enable_retries': 0,
      })
      for (;;) {
        const name = `p${number++}`
        const beganMs = performance.now()
        const answer = await callUnary(client, 'CreateProvider', provider(name), { timeoutMs: 5000 })
        calls.push({ beganMs, name, answer })
        if (answer.code === 'OK') continue
        client.close()
        return
      }
    }
    const workers = Array.from({ length: WORKERS }, work)
    await until('writes', () => calls.length > 200)

    // One that the signal meets at work: the driver takes its time.
    await driver.behave('CreateSandbox', { mode: 'slow', ms: 400 })
    const asked = driver.calls('CreateSandbox')
    const slow = gateway.call('CreateSandbox', { name: 'slow', spec: {} })
    await until('the slow call to reach the driver', () => driver.calls('CreateSandbox') > asked)

    const signalledMs = performance.now()
    const ended = gateway.stop('SIGTERM')
    const [end] = await Promise.all([streamEnd, ...workers])
    expect((await slow).code).toBe('OK')
    expect(await ended).toBe(0)
    expect(performance.now() - signalledMs).toBeLessThan(15_000)
    watcher.close()

    expect(end?.code).toBe(status.UNAVAILABLE)
    expect(end?.details).toBe('gateway shutting down')
    // What was still on its way is refused, and was not done.
    const before = calls.filter(call => call.beganMs < signalledMs - 50)
    expect(before.filter(call => call.answer.code !== 'OK')).toEqual([])
    const after = calls.filter(call => call.answer.code !== 'OK')
    expect(after.length).toBe(WORKERS)
    for (const { answer } of after) expect(answer.code).toBe('UNAVAILABLE')

    const again = await startGateway({ args, dir })
    const found = await names(again)
    expect(calls.filter(call => call.answer.code === 'OK' && !found.has(call.name))).toEqual([])
    expect(await again.stop()).toBe(0)
  })
})

describe('C-13: /readyz tells the truth about the database', () => {
  /** Status and what is said about the database. */
  const readiness = async (port: number): Promise<{ status: number; database: Record<string, unknown> } | null> => {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => null)
    if (!answer) return null
    const { checks } = (await answer.json()) as { checks: Record<string, Record<string, unknown>> }
    return { status: answer.status, database: checks['database']! }
  }

  test('while the start waits for a server that refuses: starting, the log names the place, SIGTERM ends it at once', async () => {
    const port = await freePort(0, true)
    const url = `postgres://user:hush@127.0.0.1:${await freePort(0, true)}/db`
    const flags = ['--disable-tls', '--port', '0', '--health-port', String(port), '--log-format', 'json', ...args]
    const child = Bun.spawn([EXECUTABLE, ...flags], {
      cwd: dir,
      env: { OPENSHELL_SSH_HANDSHAKE_SECRET: SECRET, OPENSHELL_DB_URL: url },
      stdout: 'pipe',
      stderr: 'pipe',
    })
    try {
      const told = await until('an answer', () => readiness(port))
      expect(told).toMatchObject({ status: 503, database: { status: 'unhealthy', error: 'starting' } })
      let said = ''
      const decoder = new TextDecoder()
      for await (const chunk of child.stdout) {
        said += decoder.decode(chunk, { stream: true })
        if (said.includes('database not reachable')) break
      }
      expect(said).toContain(`"place":"${new URL(url).host}"`)
      expect(said).not.toContain('hush')
      child.kill('SIGTERM')
      const late = Bun.sleep(LIMITS.shutdownSlackMs - 1000).then(() => 'late')
      expect(await Promise.race([child.exited, late])).toBe(0)
    } finally {
      child.kill('SIGKILL')
      await child.exited
    }
  })

  test('a file that was moved away: no write is acknowledged, reads go on, not ready', async () => {
    const port = await freePort(0, true)
    const gateway = await startGateway({ args: [...args, '--health-port', String(port)], dir })
    expect((await gateway.call('CreateProvider', provider('kept'))).code).toBe('OK')
    await until('readiness', async () => (await readiness(port))?.status === 200)
    renameSync(join(dir, 'gateway.db'), join(dir, 'elsewhere.db'))
    expect(await gateway.call('CreateProvider', provider('lost'))).toEqual({
      code: 'UNAVAILABLE',
      details: 'storage unavailable',
    })
    expect(await names(gateway)).toEqual(new Set(['kept']))
    const told = await until('unreadiness', async () => {
      const now = await readiness(port)
      return now?.status === 503 ? now : null
    })
    expect(told.database).toMatchObject({ status: 'unhealthy' })
    expect(await gateway.stop()).toBe(0)
  })
})
