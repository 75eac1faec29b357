import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { canRunForeignDriver, type ForeignDriver, startForeignDriver } from '../kit/foreign-driver.ts'
import { type Answer, type GatewayProcess, startGateway, until } from '../kit/gateway.ts'

setDefaultTimeout(30_000)

const KILLS = 3
const WORKERS = 6
/** Creates between two kills. */
const STRIDE = 60
/** An answer that needs no driver must not wait for one. */
const FAST_MS = 500

/** One create of the load. */
interface Attempt {
  readonly name: string
  readonly beganMs: number
  readonly tookMs: number
  readonly answer: Answer
}

describe.skipIf(!canRunForeignDriver())(
  'row 6: a compute driver of another gRPC stack, killed and restarted under load',
  () => {
    let directory: string
    let gateway: GatewayProcess
    let driver: ForeignDriver

    const startDriver = async () => {
      driver = await startForeignDriver(join(directory, 'compute.sock'), 3600, join(directory, 'cluster.json'))
    }
    const inCluster = (): string[] => {
      const file = join(directory, 'cluster.json')
      return existsSync(file) ? Object.keys(JSON.parse(readFileSync(file, 'utf8')) as object).sort() : []
    }
    const listed = async (): Promise<{ name: string; phase: string }[]> => {
      const { response } = await gateway.call('ListSandboxes', { limit: 1000 })
      const { sandboxes = [] } = response as { sandboxes?: { metadata: { name: string }; phase: string }[] }
      return sandboxes.map(({ metadata, phase }) => ({ name: metadata.name, phase }))
    }

    beforeAll(async () => {
      directory = mkdtempSync(join(tmpdir(), 'foreign-'))
      await startDriver()
      gateway = await startGateway({ args: ['--compute-driver-socket', join(directory, 'compute.sock')] })
      await gateway.logged(line => line.message === 'driver connected')
    })
    afterAll(async () => {
      await gateway?.stop()
      await driver?.kill()
      rmSync(directory, { recursive: true, force: true })
    })

    test('no created sandbox is lost or doubled, calls fail fast meanwhile, and it goes on within a second', async () => {
      const attempts: Attempt[] = []
      let loading = true
      let number = 0
      const work = async () => {
        while (loading) {
          const name = `load-${number++}`
          const beganMs = performance.now()
          const answer = await gateway.call('CreateSandbox', { name, spec: {} })
          attempts.push({ name, beganMs, tookMs: performance.now() - beganMs, answer })
          if (answer.code !== 'OK') await new Promise(resolve => setTimeout(resolve, 5))
        }
      }
      const workers = Array.from({ length: WORKERS }, work)
      const made = () => attempts.filter(attempt => attempt.answer.code === 'OK')

      for (let kill = 0; kill < KILLS; kill++) {
        const before = made().length
        await until('creates to succeed', () => made().length >= before + STRIDE)
        await driver.kill()
        const lost = () => gateway.log.filter(line => line.message === 'driver connection ended').length
        await until('the gateway to notice', () => lost() > kill)
        const goneMs = performance.now()
        const meanwhile = () => attempts.filter(attempt => attempt.beganMs > goneMs)
        await until('creates to fail', () => meanwhile().length >= 20)
        for (const { answer, tookMs } of meanwhile()) {
          expect(answer.code).toBe('UNAVAILABLE')
          expect(tookMs).toBeLessThan(FAST_MS)
        }
        // What needs no driver does not notice.
        expect((await gateway.call('GetSandbox', { name: made()[0]!.name })).code).toBe('OK')
        await startDriver()
        const backMs = performance.now()
        const first = await until('a create to succeed again', () =>
          attempts.find(attempt => attempt.beganMs > goneMs && attempt.answer.code === 'OK'),
        )
        expect(first.beganMs + first.tookMs - backMs).toBeLessThan(1000)
      }
      loading = false
      await Promise.all(workers)

      // Calls that the kill met in flight may have ended either way, but nothing in between.
      const codes = new Set(attempts.map(attempt => attempt.answer.code))
      expect([...codes].filter(code => !['OK', 'UNAVAILABLE', 'INTERNAL'].includes(code))).toEqual([])
      expect(attempts.filter(attempt => attempt.answer.code === 'INTERNAL').length).toBeLessThanOrEqual(KILLS * WORKERS)

      const acknowledged = made().map(attempt => attempt.name)
      const settled = async () => {
        const all = await listed()
        return all.every(sandbox => sandbox.phase === 'SANDBOX_PHASE_READY') && all.length === inCluster().length
      }
      await until('gateway and driver to agree, everything ready', settled, 20_000)
      const names = (await listed()).map(sandbox => sandbox.name).sort()
      expect(new Set(names).size).toBe(names.length)
      expect(names).toEqual(inCluster())
      expect(acknowledged.filter(name => !names.includes(name))).toEqual([])
      expect(gateway.log.filter(line => line.message === 'bug')).toEqual([])
    })
  },
)
