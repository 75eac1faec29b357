/** What a burst took goes back to the system, in the executable: compiled code, free pages, code that only the start ran. */
import { expect, setDefaultTimeout, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { startGateway, until } from '../kit/gateway.ts'

setDefaultTimeout(60_000)

const KIB_OF_8_MB = 8192

test('an idle gateway gives back what its start took, and serves on', async () => {
  const gateway = await startGateway({ args: ['--compute-driver-socket', '/run/openshell-none/compute.sock'] })
  const residentKib = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${gateway.child.pid}/status`, 'utf8'))![1])
  const start = residentKib()
  await until('memory to be given back', () => residentKib() < start - KIB_OF_8_MB, 40_000)
  for (let calls = 0; calls < 20; calls++) expect((await gateway.call('Health')).code).toBe('OK')
  expect(await gateway.stop()).toBe(0)
})
