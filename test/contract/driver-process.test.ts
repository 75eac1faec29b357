import { afterEach, beforeEach, expect, test } from 'bun:test'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createComputeDriver } from '../../src/drivers/compute.ts'
import { type DriverProcess, startDriverProcess } from '../../src/drivers/process.ts'
import { createCapturedLog } from '../kit/captured-log.ts'
import { eventually } from '../kit/driver-process.ts'

let directory: string
let log: ReturnType<typeof createCapturedLog>
let spawned: DriverProcess | null = null

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'drv-'))
  log = createCapturedLog()
})

afterEach(async () => {
  await spawned?.close()
  spawned = null
  rmSync(directory, { recursive: true, force: true })
})

function start(script: string): DriverProcess {
  const executable = join(directory, 'openshell-driver-test')
  writeFileSync(executable, `#!/bin/sh\n${script}\n`)
  chmodSync(executable, 0o755)
  spawned = startDriverProcess({
    name: 'test',
    executable,
    directory: join(directory, 'run'),
    args: ['--vcpus', '2'],
    environment: { PATH: '/usr/bin:/bin', OPENSHELL_SSH_HANDSHAKE_SECRET: 'canary-5d' },
    log,
  })
  return spawned
}

const kit = join(import.meta.dir, '../kit/compute-driver.ts')

test('decision 6: it is started with its socket in a private directory, used, restarted when it dies, removed at the end', async () => {
  const running = start(`exec "${process.execPath}" "${kit}" "$2" stay`)
  expect(statSync(join(directory, 'run')).mode & 0o777).toBe(0o700)
  const driver = createComputeDriver({
    socketPath: running.socketPath,
    driver: 'test',
    connectTimeoutSecs: 0,
    log,
    explain: () => running.explain(),
  })
  try {
    await driver.start()
    expect(driver.capabilities?.driverName).toBe('scripted')
    const first = running.pid
    process.kill(first ?? 0, 'SIGKILL')
    await eventually('another process', () => running.pid !== null && running.pid !== first)
    await eventually('connected again', () => driver.state.status === 'ready')
  } finally {
    await driver.close()
  }
  await running.close()
  expect(existsSync(running.socketPath)).toBe(false)
}, 15_000)

test('a driver that ends at once is restarted more and more slowly, and readiness says so', async () => {
  const running = start('echo "cannot read its configuration" >&2; exit 3')
  const ended = () => log.lines.filter(line => line.message === 'driver process ended').length
  await eventually('two lives', () => ended() >= 2)
  await eventually('said', () => running.explain() === 'openshell-driver-test ended with status 3')
  expect(log.lines.some(line => line.fields['line'] === 'cannot read its configuration')).toBe(true)
})

test('secrets are in the environment, not among the arguments; stdin is empty', async () => {
  const seen = join(directory, 'seen')
  start(
    `{ echo "$@"; echo "$OPENSHELL_SSH_HANDSHAKE_SECRET"; wc -c; env; } > "${seen}.part"; mv "${seen}.part" "${seen}"; exec sleep 1000`,
  )
  await eventually('seen', () => existsSync(seen))
  const [args, secret, stdin, ...environment] = readFileSync(seen, 'utf8').trim().split('\n')
  expect(args).toBe(`--bind-socket ${join(directory, 'run/compute-driver.sock')} --vcpus 2`)
  expect([secret, stdin]).toEqual(['canary-5d', '0'])
  expect(environment.some(line => line.startsWith('HOME='))).toBe(false)
})

test('close: SIGTERM, then SIGKILL when that is ignored', async () => {
  const running = start(`trap '' TERM; touch "${directory}/up"; while :; do sleep 0.05; done`)
  await eventually('up', () => existsSync(join(directory, 'up')))
  const pid = running.pid ?? 0
  const beganMs = performance.now()
  await running.close()
  expect(performance.now() - beganMs).toBeLessThan(3000)
  expect(() => process.kill(pid, 0)).toThrow()
})
