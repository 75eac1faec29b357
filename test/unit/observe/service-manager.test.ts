import { expect, test } from 'bun:test'
import {
  connectServiceManager,
  createServiceManager,
  parseWatchdogMs,
  unixAddress,
} from '../../../src/observe/service-manager.ts'
import { createFakeClock } from '../../kit/clock.ts'

function managed(watchdogMs: number | null) {
  const clock = createFakeClock()
  const told: string[] = []
  const notify = (state: string) => told.push(state) > 0
  return { clock, told, manager: createServiceManager({ notify, watchdogMs, clock, monotonicUs: () => 42n }) }
}

test('the watchdog is fed at half its interval, from ready to the end', () => {
  const { clock, told, manager } = managed(1000)
  clock.advance(2000)
  expect(told).toEqual([])
  manager.ready()
  clock.advance(1000)
  expect(told).toEqual(['READY=1', 'WATCHDOG=1', 'WATCHDOG=1', 'WATCHDOG=1'])
  manager.stopping(15_000)
  clock.advance(500)
  expect(told.slice(4)).toEqual(['STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000', 'WATCHDOG=1'])
  manager.close()
  clock.advance(5000)
  expect(told.length).toBe(6)
})

test('a reload is told with its moment and ends with ready, without a second watchdog', () => {
  const { clock, told, manager } = managed(1000)
  manager.ready()
  manager.reloading()
  manager.ready()
  expect(told).toEqual(['READY=1', 'WATCHDOG=1', 'RELOADING=1\nMONOTONIC_USEC=42', 'READY=1'])
  clock.advance(500)
  expect(told.length).toBe(5)
})

test('without a watchdog nothing is fed', () => {
  const { clock, told, manager } = managed(null)
  manager.ready()
  clock.advance(60_000)
  expect(told).toEqual(['READY=1'])
})

test('the address of a notification socket is a path or an abstract name', () => {
  const hex = (socket: string) => Buffer.from(unixAddress(socket) ?? []).toString('hex')
  expect(hex('/run/n')).toBe('01002f72756e2f6e00')
  expect(hex('@abc')).toBe('010000616263')
  for (const socket of ['', '@', '/', 'vsock:2:9', 'relative', `/${'x'.repeat(107)}`])
    expect(unixAddress(socket)).toBeNull()
})

test('a watchdog time that is none is no watchdog', () => {
  expect(parseWatchdogMs('30000000')).toBe(30_000)
  expect(parseWatchdogMs('1')).toBe(100)
  for (const text of [undefined, '', '0', '-1', '1e9', 'infinity', '9'.repeat(17)])
    expect(parseWatchdogMs(text)).toBeNull()
})

test('the variables of the service manager are not handed on to children', () => {
  const environment = { NOTIFY_SOCKET: '', WATCHDOG_USEC: '1000000', WATCHDOG_PID: '1', KEPT: 'yes' }
  expect(connectServiceManager(environment)).toBeNull()
  expect(environment as Record<string, string>).toEqual({ KEPT: 'yes' })
})
