import { afterEach, beforeEach, expect, test } from 'bun:test'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { watchOwner } from '../../src/dev/owner-watch.ts'
import { isAlive, processesWithEnvironment, processIdentity } from '../../src/dev/process-identity.ts'
import { createComputeDriver } from '../../src/drivers/compute.ts'
import type { ComputeDriver } from '../../src/drivers/contract.ts'
import type { ComputeWatchSandboxesEvent } from '../../src/wire/messages.generated.ts'
import { createCapturedLog } from '../kit/captured-log.ts'
import { eventually } from '../kit/driver-process.ts'

const MAIN = join(import.meta.dir, '../../src/main.ts')

let directory: string
let socket: string
let driver: ComputeDriver
let events: ComputeWatchSandboxesEvent[]
const running: Bun.Subprocess[] = []

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'drv-'))
  socket = join(directory, 'local.sock')
  events = []
  driver = createComputeDriver({ socketPath: socket, driver: 'local', connectTimeoutSecs: 0, log: createCapturedLog() })
})

afterEach(async () => {
  if (driver.state.status === 'ready') {
    for (const { id, name } of await driver.listSandboxes()) await driver.deleteSandbox(id, name)
    await eventually('nothing left', () => readdirSync(join(directory, 'state/sandboxes')).length === 0)
  }
  await driver.close()
  for (const child of running.splice(0)) {
    child.kill('SIGTERM')
    await child.exited
  }
  rmSync(directory, { recursive: true, force: true })
})

function spawnDriver(): Bun.Subprocess {
  const child = Bun.spawn(
    [process.execPath, MAIN, 'local-driver', '--socket', socket, '--state-dir', join(directory, 'state')],
    {
      stderr: 'ignore',
      env: { PATH: process.env['PATH'] ?? '', CANARY_OF_THE_DRIVER: 'must-not-travel' },
    },
  )
  running.push(child)
  return child
}

const conditionOf = (id: string): string | undefined =>
  events
    .map(event => event.sandbox?.sandbox)
    .filter(sandbox => sandbox?.id === id)
    .at(-1)?.status?.conditions[0]?.reason

const leaderOf = async (name: string): Promise<number> =>
  Number((await driver.getSandbox('', name))?.status?.instance_id.replace('local-', ''))

async function begin(): Promise<Bun.Subprocess> {
  const child = spawnDriver()
  await driver.start()
  driver.watch({ onOpened: () => undefined, onEvent: async event => void events.push(event) })
  return child
}

test('a sandbox is a private directory and a process with its own environment; deleting leaves neither', async () => {
  await begin()
  expect(driver.capabilities?.driverName).toBe('local')
  await driver.createSandbox({ id: 'one', name: 'first', spec: { environment: new Map([['COLOUR', 'blue']]) } })
  await eventually('ready', () => conditionOf('one') === 'DependenciesReady')
  const reasons = events
    .filter(event => event.sandbox)
    .map(event => event.sandbox?.sandbox?.status?.conditions[0]?.reason)
  expect(reasons).toEqual(['DependenciesNotReady', 'DependenciesReady'])
  expect(events.flatMap(event => event.platform_event?.event?.reason ?? [])).toEqual(['Scheduled', 'Started'])
  const pid = await leaderOf('first')
  const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')
  expect(environment).toContain('COLOUR=blue')
  expect(environment).toContain('OPENSHELL_SANDBOX_ID=one')
  expect(environment.some(line => line.startsWith('CANARY') || line.startsWith('PATH='))).toBe(false)
  expect(statSync(join(directory, 'state/sandboxes/one')).mode & 0o777).toBe(0o700)

  expect(await driver.deleteSandbox('one', 'first')).toBe(true)
  await eventually('deleted', () => events.some(event => event.deleted?.sandbox_id === 'one'))
  expect(existsSync(join(directory, 'state/sandboxes/one'))).toBe(false)
  expect(processIdentity(pid)).toBeNull()
  expect(await driver.deleteSandbox('one', 'first')).toBe(false)
})

test('refusals: taken id, taken name, an id that is no directory (I-08), a GPU, a wrong id for a name', async () => {
  await begin()
  await driver.createSandbox({ id: 'one', name: 'first' })
  const kind = (call: Promise<unknown>) =>
    call.then(
      () => 'OK',
      error => error.kind,
    )
  expect(await kind(driver.createSandbox({ id: 'one', name: 'other' }))).toBe('ALREADY_EXISTS')
  expect(await kind(driver.createSandbox({ id: 'two', name: 'first' }))).toBe('ALREADY_EXISTS')
  expect(await kind(driver.createSandbox({ id: '../two', name: 'two' }))).toBe('INVALID_ARGUMENT')
  expect(await kind(driver.createSandbox({ id: 'two', name: '' }))).toBe('INVALID_ARGUMENT')
  expect(await kind(driver.validateSandboxCreate({ id: 'two', name: 'two', spec: { gpu: true } }))).toBe(
    'FAILED_PRECONDITION',
  )
  expect(await kind(driver.getSandbox('two', 'first'))).toBe('FAILED_PRECONDITION')
  expect(await driver.getSandbox('two', 'two')).toBeNull()
})

test('a sandbox whose process ends is reported as ended', async () => {
  await begin()
  await driver.createSandbox({ id: 'one', name: 'first' })
  await eventually('ready', () => conditionOf('one') === 'DependenciesReady')
  process.kill(await leaderOf('first'), 'SIGKILL')
  await eventually('reported', () => conditionOf('one') === 'ProcessExited')
})

test('kill -9 of the driver: the next one takes the sandbox over and can end it', async () => {
  const first = await begin()
  await driver.createSandbox({ id: 'one', name: 'first' })
  await driver.createSandbox({ id: 'two', name: 'second' })
  await eventually(
    'ready',
    () => conditionOf('one') === 'DependenciesReady' && conditionOf('two') === 'DependenciesReady',
  )
  const [one, two] = [await leaderOf('first'), await leaderOf('second')]
  const identity = processIdentity(one) ?? ''
  first.kill('SIGKILL')
  await first.exited
  process.kill(two, 'SIGKILL')
  events.length = 0
  spawnDriver()
  await eventually(
    'found again',
    () => conditionOf('one') === 'DependenciesReady' && conditionOf('two') === 'ProcessExited',
  )
  expect(isAlive(one, identity)).toBe(true)
  expect(await leaderOf('first')).toBe(one)
  await driver.deleteSandbox('one', 'first')
  await eventually('ended', () => !isAlive(one, identity))
  expect(processesWithEnvironment('OPENSHELL_SANDBOX_ID=one')).toEqual([])
})

test('a second driver on the same directory is refused', async () => {
  await begin()
  const second = Bun.spawn(
    [
      process.execPath,
      MAIN,
      'local-driver',
      '--socket',
      join(directory, 'b.sock'),
      '--state-dir',
      join(directory, 'state'),
    ],
    { stderr: 'pipe' },
  )
  expect(await second.exited).toBe(1)
  expect(await new Response(second.stderr).text()).toContain('another local driver runs on')
})

test('a sandbox ends by itself when no driver lives any more', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const watch = watchOwner(join(directory, 'owner'), resolve, { graceMs: 20 })
  await promise
  watch.close()
})
