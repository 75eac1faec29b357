import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createComputeDriver } from '../../src/drivers/compute.ts'
import type { ComputeDriver } from '../../src/drivers/contract.ts'
import type { ComputeWatchSandboxesEvent } from '../../src/wire/messages.generated.ts'
import { createCapturedLog } from '../kit/captured-log.ts'
import { eventually } from '../kit/driver-process.ts'
import { canRunForeignDriver, type ForeignDriver, startForeignDriver } from '../kit/foreign-driver.ts'

setDefaultTimeout(30_000)

describe.skipIf(!canRunForeignDriver())('a driver of another gRPC stack (spec/drivers.md)', () => {
  let directory: string
  let socket: string
  let driver: ComputeDriver
  let foreign: ForeignDriver

  const spawn = async (watchSecs: number) => {
    foreign = await startForeignDriver(socket, watchSecs)
  }

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'drv-'))
    socket = join(directory, 'compute.sock')
    driver = createComputeDriver({
      socketPath: socket,
      driver: 'external',
      connectTimeoutSecs: 0,
      log: createCapturedLog(),
      watchTimings: { healthyMs: 100, backoffFirstMs: 60_000 },
    })
  })

  afterEach(async () => {
    await driver.close()
    await foreign.kill()
    rmSync(directory, { recursive: true, force: true })
  })

  test('a whole life: create, the three states, get, list, delete; a watch that ends OK is reopened and replays', async () => {
    await spawn(0.5)
    await driver.start()
    expect(driver.capabilities).toEqual({
      driverName: 'foreign',
      driverVersion: '0.1.0',
      defaultImage: 'registry.test/base:1',
      supportsGpu: true,
    })
    const events: ComputeWatchSandboxesEvent[] = []
    let opened = 0
    driver.watch({ onOpened: () => void opened++, onEvent: async event => void events.push(event) })
    await driver.createSandbox({ id: 'a', name: 'sandbox-a', spec: { template: { image: 'i' } } })
    await eventually('ready', () => events.some(e => e.sandbox?.sandbox?.status?.conditions[0]?.status === 'True'))
    expect((await driver.getSandbox('a', 'sandbox-a'))?.spec).toBeNull()
    expect((await driver.listSandboxes()).map(sandbox => sandbox.id)).toEqual(['a'])
    await eventually('watched again', () => opened >= 3)
    expect(await driver.deleteSandbox('a', 'sandbox-a')).toBe(true)
    await eventually('deleted', () => events.some(event => event.deleted?.sandbox_id === 'a'))
    const again = await driver.deleteSandbox('a', 'sandbox-a').catch(error => error.kind)
    expect(again).toBe('INTERNAL')
  })

  test('killed and restarted on the same path: taken up again within 500 ms', async () => {
    await spawn(60)
    await driver.start()
    await foreign.kill()
    await eventually('gone', () => driver.state.status === 'unavailable')
    await spawn(60)
    expect(await eventually('back', () => driver.state.status === 'ready')).toBeLessThan(500)
    expect(await driver.listSandboxes()).toEqual([])
  })
})
