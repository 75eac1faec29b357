import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { linkSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { StartError } from '../../src/base/errors.ts'
import { createDriverChannel } from '../../src/drivers/channel.ts'
import { type ComputeDriverOptions, createComputeDriver } from '../../src/drivers/compute.ts'
import { driverMethod } from '../../src/drivers/connection.ts'
import { type ComputeDriver, DriverError, type ResolvedCredential } from '../../src/drivers/contract.ts'
import { createCredentialsDriver } from '../../src/drivers/credentials.ts'
import { peerUid, refusePeer } from '../../src/drivers/peer-user.ts'
import { LIMITS } from '../../src/limits.ts'
import type { MessageName } from '../../src/wire/codec.ts'
import type { ComputeWatchSandboxesEvent } from '../../src/wire/messages.generated.ts'
import { createCapturedLog } from '../kit/captured-log.ts'
import { type DriverProcess, eventually, startDriver } from '../kit/driver-process.ts'
import { answerBytes, startMutantDriver } from '../kit/mutant-driver.ts'
import { listenOddly } from '../kit/odd-peer.ts'

const VALIDATE = driverMethod(
  'openshell.compute.v1.ComputeDriver',
  'ValidateSandboxCreate',
  'openshell.compute.v1.ValidateSandboxCreateRequest',
  'openshell.compute.v1.ValidateSandboxCreateResponse',
)

let directory: string
let socket: string
let log: ReturnType<typeof createCapturedLog>
const cleanups: (() => Promise<unknown> | unknown)[] = []

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'drv-'))
  socket = join(directory, 'compute.sock')
  log = createCapturedLog()
})

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  rmSync(directory, { recursive: true, force: true })
})

function make(options: Partial<ComputeDriverOptions> = {}): ComputeDriver {
  const driver = createComputeDriver({ socketPath: socket, driver: 'external', connectTimeoutSecs: 0, log, ...options })
  cleanups.push(() => driver.close())
  return driver
}

async function run(): Promise<DriverProcess> {
  const process = await startDriver('compute-driver.ts', socket)
  cleanups.push(async () => {
    process.signal('SIGCONT')
    await process.kill()
  })
  return process
}

const failure = async (call: Promise<unknown>): Promise<DriverError> => {
  const error = await call.then(
    value => new Error(`answered ${JSON.stringify(value)}`),
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(DriverError)
  return error as DriverError
}

const startFailure = async (driver: ComputeDriver): Promise<StartError> => {
  const error = await driver.start().then(
    () => new Error('started'),
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(StartError)
  return error as StartError
}

const watchInto = (driver: ComputeDriver) => {
  const seen = { opened: 0, events: [] as ComputeWatchSandboxesEvent[] }
  const watch = driver.watch({
    onOpened: () => void seen.opened++,
    onEvent: async event => void seen.events.push(event),
  })
  cleanups.push(() => watch.close())
  return seen
}

describe('a driver that comes late or never', () => {
  test('D-01: calls before it exists are refused at once and name it; it is taken up when it appears', async () => {
    const driver = make()
    const started = driver.start()
    await eventually('first try', () => log.lines.length > 0)
    const refused = await failure(driver.validateSandboxCreate({}))
    expect(refused.kind).toBe('UNAVAILABLE')
    expect(refused.message).toBe('compute driver unavailable: No such file or directory (os error 2)')
    expect(refused.mayHaveHappened).toBe(false)
    expect(driver.state.status).toBe('unavailable')
    await run()
    const upMs = performance.now()
    await started
    expect(performance.now() - upMs).toBeLessThan(500)
    expect(driver.state).toEqual({ status: 'ready' })
    expect(driver.capabilities?.defaultImage).toBe('registry.test/base:1')
  })

  test('D-01: with a connect time-out the start fails with the words operators know', async () => {
    const error = await startFailure(make({ connectTimeoutSecs: 0.05 }))
    expect(error.exitCode).toBe(1)
    expect(error.message).toStartWith(
      `execution error: timed out waiting for external compute driver socket '${socket}': execution error: failed to connect to external compute driver socket '${socket}': transport error`,
    )
  })

  test('decision 15: an absent driver is logged at the first failure, then only now and then', async () => {
    const driver = make({ timings: { backoffFirstMs: 1, backoffMostMs: 2, logEveryMs: 60 } })
    const started = driver.start().catch(() => undefined)
    const reached = () => log.lines.filter(line => line.message === 'driver not reachable').length
    const tookMs = await eventually('two lines', () => reached() >= 2)
    expect(tookMs).toBeGreaterThan(40)
    await driver.close()
    await started
  })

  test('D-19: a dead socket file is a driver that is not there; the file is left alone', async () => {
    const child = Bun.spawn([
      process.execPath,
      '-e',
      `require('net').createServer().listen(${JSON.stringify(socket)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ])
    await child.exited
    const driver = make()
    const started = driver.start()
    await eventually('first try', () => log.lines.length > 0)
    expect((await failure(driver.listSandboxes())).message).toContain('Connection refused (os error 111)')
    await run()
    await started
  })
})

describe('a peer that is wrong ends the start (D-16, decision 15)', () => {
  const wrong: [string, () => void, string][] = [
    ['a plain file', () => writeFileSync(socket, ''), 'is a plain file, not a socket'],
    ['a directory', () => mkdirSync(socket), 'is a directory, not a socket'],
    ['a symbolic link', () => symlinkSync('/nowhere', socket), 'is a symbolic link, not a socket'],
    ['a FIFO', () => void Bun.spawnSync(['mkfifo', socket]), 'is a FIFO, not a socket'],
  ]
  for (const [what, put, words] of wrong)
    test(what, async () => {
      put()
      const error = await startFailure(make())
      expect(error.exitCode).toBe(1)
      expect(error.message).toContain(words)
    })

  test('a credentials driver in the place of the compute driver is named', async () => {
    const other = await startDriver('credentials-driver.ts', socket)
    cleanups.push(() => other.kill())
    const error = await startFailure(make())
    expect(error.message).toContain('failed to create compute runtime')
    expect(error.message).toEndWith('it is a credentials driver')
  })

  test('D-17: permissions that let others in are said, once', async () => {
    await run()
    Bun.spawnSync(['chmod', '0777', socket, directory])
    await make().start()
    const said = log.lines
      .filter(line => line.message === 'driver socket has loose permissions')
      .map(line => line.fields['warning'])
    expect(said).toEqual([
      'the socket may be written by every user',
      'its directory may be written by every user and has no sticky bit',
    ])
  })
})

describe('D-15: --driver-uids', () => {
  const me = process.getuid!()
  const connected = () => log.lines.find(line => line.message === 'driver connected')?.fields['uid']

  test('a driver of a named user is taken, and the log names the user', async () => {
    await run()
    await make({ uids: [me + 1, me] }).start()
    expect(connected()).toBe(me)
  })

  test('a driver of nobody who is named is not there: nothing is asked of it, calls are refused', async () => {
    const other = await run()
    const driver = make({ uids: [me + 1] })
    void driver.start().catch(() => undefined)
    const refusal = () => log.lines.find(({ message }) => message === 'driver not reachable')
    await eventually('the refusal', () => refusal() !== undefined)
    expect(refusal()!.fields['reason']).toBe(`it belongs to user ${me}, --driver-uids allows ${me + 1}`)
    expect(driver.state.status).toBe('unavailable')
    expect((await failure(driver.listSandboxes())).kind).toBe('UNAVAILABLE')
    expect(other.calls('GetCapabilities')).toBe(0)
  })

  test.skipIf(me !== 0)('D-18: the path is swapped back and forth: the other user is never taken', async () => {
    await run()
    const named = join(directory, 'named')
    renameSync(socket, named)
    // Bound and listened to by another user, as the kernel sees it.
    process.seteuid!(65_534)
    const stranger = createServer(peer => peer.on('error', () => undefined).resume())
    const elsewhere = mkdtempSync(join(tmpdir(), 'drv-foreign-'))
    const foreign = join(elsewhere, 'x.sock')
    try {
      await new Promise<void>(resolve => stranger.listen(foreign, resolve))
    } finally {
      process.seteuid!(0)
    }
    cleanups.push(
      () => rmSync(elsewhere, { recursive: true, force: true }),
      () => void stranger.close(),
    )
    for (let round = 0; round < 20; round++) {
      const aside = round % 2 === 0 ? foreign : named
      rmSync(socket, { force: true })
      linkSync(aside, socket)
      const uid = await new Promise<number | null>((resolve, reject) => {
        const client = connect(socket, () => {
          const found = peerUid(client)
          client.destroy()
          resolve(found)
        }).on('error', reject)
      })
      expect(uid).toBe(aside === foreign ? 65_534 : 0)
      expect(refusePeer(uid, [0]) === null).toBe(aside === named)
    }
  })
})

describe('garbage behind the socket (D-05)', () => {
  const random = () => Buffer.from(crypto.getRandomValues(new Uint8Array(512)))
  const peers: [string, (write: (bytes: Buffer | string) => void, end: () => void) => void][] = [
    ['random bytes', write => write(random())],
    ['HTTP/1', write => write('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n')],
    [
      'half a frame, then the end',
      (write, end) => {
        write(Buffer.from([0, 0, 6, 4]))
        end()
      },
    ],
    ['a frame of 16 MB announced', write => write(Buffer.from([255, 255, 255, 0, 0, 0, 0, 0, 1, 1, 2, 3]))],
    [
      'settings, then random bytes',
      write => write(Buffer.concat([Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]), random()])),
    ],
    ['the end at once', (_write, end) => end()],
  ]
  for (const [what, behave] of peers)
    test(`${what}: not connected, calls refused, a real driver is taken up after it`, async () => {
      const peer = await listenOddly(socket, connection =>
        behave(
          bytes => void connection.write(bytes),
          () => void connection.end(),
        ),
      )
      const driver = make({ timings: { dialMs: 200 } })
      const started = driver.start()
      await eventually('a try', () => peer.connections > 0 && log.lines.length > 0)
      expect((await failure(driver.listSandboxes())).kind).toBe('UNAVAILABLE')
      await peer.close()
      await run()
      await started
      expect(await driver.listSandboxes()).toEqual([])
    })

  test('a peer that accepts and says nothing is given up after the dial time and leaves no socket behind', async () => {
    const closed: number[] = []
    const peer = await listenOddly(socket, connection => connection.on('close', () => closed.push(1)))
    cleanups.push(() => peer.close())
    const driver = make({ timings: { dialMs: 50 } })
    const started = driver.start().catch(() => undefined)
    await eventually('given up twice', () => closed.length >= 2)
    expect(driver.state.status === 'unavailable' && driver.state.reason).toContain('does not speak HTTP/2')
    await driver.close()
    await started
  })
})

describe('answers that were changed on their way (D-05)', () => {
  const CASES = Number(process.env['DRIVER_FUZZ'] ?? 2000)
  const sandbox = {
    id: 'id-1',
    name: 'n',
    namespace: 'ns',
    spec: { environment: { A: 'b' } },
    status: { sandbox_name: 'n', conditions: [{ type: 'Ready', status: 'True', reason: 'Up', message: '' }] },
  }
  /** Settles as a value or a `DriverError`, whatever came back. */
  const isSettled = (call: Promise<unknown>) =>
    call.then(
      () => true,
      (error: unknown) => error instanceof DriverError || error,
    )

  test(`compute driver: each of ${CASES} calls ends as an answer or a driver's error; then all is as before`, async () => {
    const mutant = await startMutantDriver('openshell.compute.v1.ComputeDriver', socket, 1)
    cleanups.push(() => mutant.close())
    const answers: [rpc: string, message: MessageName, value: object][] = [
      ['GetCapabilities', 'openshell.compute.v1.GetCapabilitiesResponse', { driver_name: 'm', default_image: 'i' }],
      ['ListSandboxes', 'openshell.compute.v1.ListSandboxesResponse', { sandboxes: [sandbox] }],
      ['GetSandbox', 'openshell.compute.v1.GetSandboxResponse', { sandbox }],
      ['DeleteSandbox', 'openshell.compute.v1.DeleteSandboxResponse', { deleted: true }],
      ['WatchSandboxes', 'openshell.compute.v1.WatchSandboxesEvent', { sandbox: { sandbox } }],
    ]
    for (const [rpc, message, value] of answers) mutant.answers.set(rpc, answerBytes(message, value))
    const driver = make()
    await driver.start()
    const seen = watchInto(driver)
    mutant.isSane = false
    for (let n = 0; n < CASES; n += 4)
      expect(
        await Promise.all(
          [
            driver.listSandboxes(),
            driver.getSandbox('id-1', 'n'),
            driver.deleteSandbox('id-1', 'n'),
            driver.createSandbox(sandbox),
          ].map(isSettled),
        ),
      ).toEqual([true, true, true, true])
    expect(mutant.given).toBeGreaterThan(CASES)
    mutant.isSane = true
    expect(await driver.getSandbox('id-1', 'n')).toMatchObject({ id: 'id-1', spec: { environment: { A: 'b' } } })
    const before = seen.events.length
    await eventually('events again', () => seen.events.length > before + 20)
    expect(seen.events.at(-1)?.sandbox?.sandbox?.id).toBe('id-1')
  })

  test(`credentials driver: each of ${CASES} calls ends as a token that a header can carry or a driver's error`, async () => {
    const mutant = await startMutantDriver('openshell.credentials.v1.CredentialsDriver', socket, 2)
    cleanups.push(() => mutant.close())
    const answer = { token: 'tok', token_type: 'Bearer', expires_at_ms: BigInt(Date.now() + 60_000) }
    mutant.answers.set('ResolveCredential', answerBytes('openshell.credentials.v1.ResolveCredentialResponse', answer))
    const driver = createCredentialsDriver({ socketPath: socket, connectTimeoutSecs: 0, log })
    cleanups.push(() => driver.close())
    await driver.start()
    mutant.isSane = false
    for (let n = 0; n < CASES; n++) {
      const found = await driver.resolve('c').catch((error: unknown) => error)
      if (found instanceof Error) expect(found).toBeInstanceOf(DriverError)
      else expect((found as ResolvedCredential).token.reveal()).toMatch(/^[\x21-\x7e]+$/)
    }
    mutant.isSane = true
    expect((await driver.resolve('c')).token.reveal()).toBe('tok')
  })
})

describe('a driver that dies', () => {
  test('D-02: killed while idle; ready is false, and true again within 500 ms of its return', async () => {
    const first = await run()
    const driver = make()
    await driver.start()
    await first.kill()
    await eventually('noticed', () => driver.state.status === 'unavailable')
    await eventually('a late try', () => log.lines.some(line => line.message === 'driver not reachable'))
    await run()
    expect(await eventually('back', () => driver.state.status === 'ready')).toBeLessThan(500)
  })

  test('D-03: dies in the middle of Create: UNAVAILABLE, may have happened, never sent again', async () => {
    const first = await run()
    const driver = make()
    await driver.start()
    await first.behave('CreateSandbox', { mode: 'die' })
    const error = await failure(driver.createSandbox({ id: 'a', name: 'a' }))
    expect([error.kind, error.message, error.mayHaveHappened]).toEqual([
      'UNAVAILABLE',
      'compute driver connection lost',
      true,
    ])
    const second = await run()
    await eventually('back', () => driver.state.status === 'ready')
    expect(second.calls('CreateSandbox')).toBe(0)
  })

  test('D-03: dies in the middle of List: asked once more on the next connection', async () => {
    const first = await run()
    const driver = make()
    await driver.start()
    await first.behave('ListSandboxes', { mode: 'die' })
    const answer = driver.listSandboxes()
    answer.catch(() => undefined)
    const second = await run()
    expect(await answer).toEqual([])
    expect(second.calls('ListSandboxes')).toBe(1)
  })

  test('killed and restarted under load: every call ends, none twice, no bug', async () => {
    let driverProcess = await run()
    const driver = make()
    await driver.start()
    let stop = false
    const outcomes: string[] = []
    const worker = async (n: number) => {
      for (let i = 0; !stop; i++) {
        const call = i % 2 ? driver.createSandbox({ id: `${n}-${i}`, name: `n${i}` }) : driver.listSandboxes()
        outcomes.push(
          await call.then(
            () => 'OK',
            (error: DriverError) => error.kind ?? String(error),
          ),
        )
        await Bun.sleep(1)
      }
    }
    const workers = Array.from({ length: 8 }, (_, n) => worker(n))
    for (let round = 0; round < 3; round++) {
      const before = outcomes.filter(kind => kind === 'OK').length
      await eventually('answers', () => outcomes.filter(kind => kind === 'OK').length > before + 20)
      await driverProcess.kill()
      driverProcess = await run()
    }
    stop = true
    await Promise.all(workers)
    expect([...new Set(outcomes)].toSorted()).toEqual(['OK', 'UNAVAILABLE'])
  }, 20_000)
})

describe('a driver that does not answer', () => {
  test('D-04: a stopped driver ends a call at its deadline, other calls go on being refused or timed alone', async () => {
    const stopped = await run()
    const driver = make()
    await driver.start()
    stopped.signal('SIGSTOP')
    const beganMs = performance.now()
    const error = await failure(driver.getSandbox('a', 'a', { timeoutMs: 200 }))
    expect(performance.now() - beganMs).toBeLessThan(300)
    expect([error.kind, error.mayHaveHappened]).toEqual(['DEADLINE_EXCEEDED', true])
    expect(error.message).toBe('compute driver did not answer GetSandbox within 0.2 s')
  })

  test('D-04: after five calls in a row without an answer the connection is given up; the next must answer a greeting', async () => {
    const stuck = await run()
    await stuck.behave('ValidateSandboxCreate', { mode: 'hang' })
    let greeted = 0
    const channel = createDriverChannel({
      path: socket,
      label: 'compute driver',
      startLabel: 'external compute driver socket',
      connectTimeoutMs: 0,
      log,
      greet: async () => void greeted++,
    })
    cleanups.push(() => channel.close())
    await channel.start()
    const call = { timeoutMs: 20, canRepeat: false }
    for (let i = 1; i <= LIMITS.driverTimeoutsToTrip; i++) {
      expect([i, channel.state.status]).toEqual([i, 'ready'])
      expect((await failure(channel.call(VALIDATE, {}, call))).kind).toBe('DEADLINE_EXCEEDED')
    }
    expect(channel.state.status).toBe('unavailable')
    const refused = await failure(channel.call(VALIDATE, {}, call))
    expect([refused.kind, refused.mayHaveHappened]).toEqual(['UNAVAILABLE', false])
    await eventually('greeted again', () => greeted === 2 && channel.state.status === 'ready')
    await stuck.behave('ValidateSandboxCreate', { mode: 'ok' })
    await channel.call(VALIDATE, {}, { timeoutMs: 2000, canRepeat: false })
  })

  test('a caller who is impatient does not trip the breaker', async () => {
    const slow = await run()
    const driver = make()
    await driver.start()
    await slow.behave('ValidateSandboxCreate', { mode: 'hang' })
    for (let i = 0; i < LIMITS.driverTimeoutsToTrip + 1; i++)
      await failure(driver.validateSandboxCreate({}, { timeoutMs: 10 }))
    expect(driver.state.status).toBe('ready')
  })

  test('decision 16: a stopped driver under a silent watch is found by the probe; back after SIGCONT', async () => {
    const stopped = await run()
    const driver = make({ timings: { dialMs: 100 }, watchTimings: { probeEveryMs: 20, probeTimeoutMs: 100 } })
    await driver.start()
    const seen = watchInto(driver)
    await eventually('watching', () => stopped.calls('WatchSandboxes') === 1)
    stopped.signal('SIGSTOP')
    await eventually('found', () => driver.state.status === 'unavailable')
    stopped.signal('SIGCONT')
    await eventually('back', () => driver.state.status === 'ready' && seen.opened === 2)
    await eventually('the old watch is let go', () =>
      stopped.said.some(line => line.say === 'cancelled' && line.rpc === 'WatchSandboxes'),
    )
  })

  test('D-07: above 64 calls in flight a call is refused at once; the queue does not grow', async () => {
    const slow = await run()
    const driver = make()
    await driver.start()
    await slow.behave('ValidateSandboxCreate', { mode: 'hang' })
    const give = new AbortController()
    const calls = Array.from({ length: 100 }, () => failure(driver.validateSandboxCreate({}, { signal: give.signal })))
    await eventually('all arrived', () => slow.calls('ValidateSandboxCreate') === LIMITS.driverCallsInFlight)
    give.abort()
    const kinds = (await Promise.all(calls)).map(error => `${error.kind} ${error.mayHaveHappened}`)
    expect(kinds.filter(kind => kind === 'RESOURCE_EXHAUSTED false').length).toBe(100 - LIMITS.driverCallsInFlight)
    expect(kinds.filter(kind => kind === 'CANCELLED true').length).toBe(LIMITS.driverCallsInFlight)
  })

  test('a cancelled call is cancelled at the driver', async () => {
    const slow = await run()
    const driver = make()
    await driver.start()
    await slow.behave('CreateSandbox', { mode: 'hang' })
    const give = new AbortController()
    const call = failure(driver.createSandbox({}, { signal: give.signal }))
    await eventually('arrived', () => slow.calls('CreateSandbox') === 1)
    give.abort()
    expect((await call).kind).toBe('CANCELLED')
    await eventually('told', () => slow.said.some(line => line.say === 'cancelled' && line.rpc === 'CreateSandbox'))
  })
})

describe('answers', () => {
  test('D-06: an answer above 4 MiB is refused and the channel lives', async () => {
    const big = await run()
    const driver = make()
    await driver.start()
    await big.behave('ListSandboxes', { mode: 'huge', bytes: LIMITS.driverAnswerBytes + 1 })
    expect((await failure(driver.listSandboxes())).kind).toBe('RESOURCE_EXHAUSTED')
    await big.behave('ListSandboxes', { mode: 'ok' })
    expect(await driver.listSandboxes()).toEqual([])
  })

  test('the driver’s code and text come through unchanged (spec/sandbox.md §16)', async () => {
    const refusing = await run()
    const driver = make()
    await driver.start()
    for (const code of [
      'FAILED_PRECONDITION',
      'UNIMPLEMENTED',
      'DATA_LOSS',
      'UNKNOWN',
      'CANCELLED',
      'UNAVAILABLE',
    ] as const) {
      await refusing.behave('ValidateSandboxCreate', { mode: 'fail', code, text: 'zeile 1\nünï' })
      const error = await failure(driver.validateSandboxCreate({}))
      expect([error.kind, error.message, error.mayHaveHappened]).toEqual([code, 'zeile 1\nünï', true])
    }
  })

  test('NOT_FOUND of Get is null', async () => {
    await run()
    const driver = make()
    await driver.start()
    expect(await driver.getSandbox('nobody', 'nobody')).toBeNull()
    await driver.createSandbox({ id: 'a', name: 'a-name' })
    expect((await driver.getSandbox('a', 'a-name'))?.name).toBe('a-name')
    expect(await driver.deleteSandbox('a', 'a-name')).toBe(true)
    expect(await driver.deleteSandbox('a', 'a-name')).toBe(false)
  })
})

describe('watch', () => {
  test('a quiet driver sends no headers and the watch is open all the same', async () => {
    const quiet = await run()
    const driver = make()
    await driver.start()
    const seen = watchInto(driver)
    await eventually('asked', () => quiet.calls('WatchSandboxes') === 1)
    expect(seen).toEqual({ opened: 1, events: [] })
    await driver.createSandbox({ id: 'a', name: 'a' })
    await eventually('event', () => seen.events[0]?.sandbox?.sandbox?.id === 'a')
  })

  test('ended OK after a healthy time: open again at once, everything replayed', async () => {
    const driverProcess = await run()
    const driver = make({ watchTimings: { healthyMs: 0, backoffFirstMs: 60_000 } })
    await driver.start()
    const seen = watchInto(driver)
    await driver.createSandbox({ id: 'a', name: 'a' })
    await eventually('event', () => seen.events.length === 1)
    await driverProcess.tell({ do: 'endWatches', code: null })
    await eventually('again', () => seen.opened === 2 && seen.events.length === 2, 500)
  })

  test('D-08: a watch that flaps is reopened more and more slowly', async () => {
    const driverProcess = await run()
    await driverProcess.behave('WatchSandboxes', { mode: 'fail', code: 'INTERNAL', text: 'no watch' })
    const driver = make({ watchTimings: { backoffFirstMs: 20, backoffMostMs: 200 } })
    await driver.start()
    const seen = watchInto(driver)
    const tookMs = await eventually('six times', () => seen.opened >= 6)
    expect(tookMs).toBeGreaterThan(150)
    await driverProcess.behave('WatchSandboxes', { mode: 'ok' })
    const before = driverProcess.calls('WatchSandboxes')
    await eventually('open', () => driverProcess.calls('WatchSandboxes') > before)
  })

  test('a slow consumer slows the stream and misses nothing', async () => {
    const driverProcess = await run()
    const driver = make()
    await driver.start()
    let count = 0
    let atOnce = 0
    const watch = driver.watch({
      onOpened: () => undefined,
      async onEvent() {
        expect(++atOnce).toBe(1)
        await Promise.resolve()
        atOnce--
        if (++count === 3) throw new Error('a consumer that fails loses one event, not the watch')
      },
    })
    cleanups.push(() => watch.close())
    await eventually('watching', () => driverProcess.calls('WatchSandboxes') === 1)
    await driverProcess.tell({ do: 'burst', count: 2000 })
    await eventually('all', () => count === 2000)
  })

  test('moves to the next connection when the driver is restarted', async () => {
    const first = await run()
    const driver = make()
    await driver.start()
    const seen = watchInto(driver)
    await eventually('watching', () => first.calls('WatchSandboxes') === 1)
    await first.kill()
    const second = await run()
    await eventually('watching again', () => second.calls('WatchSandboxes') === 1 && seen.opened === 2)
  })
})
