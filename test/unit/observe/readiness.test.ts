import { expect, test } from 'bun:test'
import { LIMITS } from '../../../src/limits.ts'
import { createReadinessProber, NotReady } from '../../../src/observe/readiness.ts'
import { createFakeClock } from '../../kit/clock.ts'

test('not ready before the first probe, ready when every part answers', async () => {
  const prober = createReadinessProber({ database: async () => {} }, createFakeClock())
  expect((await prober.readiness()).ready).toBe(false)
  await prober.probeNow()
  expect(await prober.readiness()).toEqual({ ready: true, checks: { database: { status: 'healthy', latency_ms: 0 } } })
})

test('C-13: a fault shows by name only, within one period', async () => {
  const clock = createFakeClock()
  let fault: Error | null = null
  const prober = createReadinessProber(
    {
      compute: async () => {
        if (fault) throw fault
      },
    },
    clock,
  )
  prober.start()
  await prober.probeNow()
  expect((await prober.readiness()).ready).toBe(true)
  fault = new Error('password of postgres://user:secret@host')
  clock.advance(LIMITS.readinessPeriodMs)
  await prober.probeNow()
  expect((await prober.readiness()).checks['compute']).toMatchObject({ status: 'unhealthy', error: 'unavailable' })
  fault = new NotReady('connecting')
  clock.advance(LIMITS.readinessPeriodMs)
  await prober.probeNow()
  expect((await prober.readiness()).checks['compute']?.error).toBe('connecting')
  prober.stop()
  expect(clock.pending).toBe(0)
})

test('a part that never answers is unhealthy after 2 s and its probe is aborted', async () => {
  const clock = createFakeClock()
  let aborted = false
  const prober = createReadinessProber(
    {
      issuer: signal =>
        new Promise(() => {
          signal.addEventListener('abort', () => {
            aborted = true
          })
        }),
    },
    clock,
  )
  const probed = prober.probeNow()
  await Promise.resolve()
  clock.advance(LIMITS.readinessTimeoutMs)
  await probed
  expect(aborted).toBe(true)
  expect((await prober.readiness()).checks['issuer']).toEqual({
    status: 'unhealthy',
    latency_ms: 2000,
    error: 'no answer in time',
  })
})

test('a draining gateway is never ready', async () => {
  const prober = createReadinessProber({}, createFakeClock())
  expect((await prober.readiness()).ready).toBe(true)
  prober.drain()
  expect(await prober.readiness()).toEqual({
    ready: false,
    checks: { gateway: { status: 'unhealthy', error: 'draining' } },
  })
})
