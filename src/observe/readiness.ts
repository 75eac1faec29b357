import { type Clock, systemClock, type Timer } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'

/** What a probe found: short fixed words, because `/readyz` shows them to anybody (C-13). */
export interface CheckResult {
  readonly status: 'healthy' | 'unhealthy' | 'unknown'
  /** Whole milliseconds the last probe took. */
  readonly latency_ms?: number
  /** A name for what is wrong, never a message of the failing part. */
  readonly error?: string
}

export interface Readiness {
  readonly ready: boolean
  readonly checks: Readonly<Record<string, CheckResult>>
}

/**
 * Looks at one dependency. Resolving means usable; it throws a `NotReady` to say why not, and anything else it throws
 * reads `unavailable`. `signal` aborts at the time limit.
 */
export type Probe = (signal: AbortSignal) => Promise<void>

/** Why a dependency is unusable, in words fit for `/readyz`. */
export class NotReady extends Error {
  override readonly name = 'NotReady'
}

export interface ReadinessProber {
  /** The latest state; never probes in the request (spec/gateway.md §11.2 [B]). */
  readiness(): Promise<Readiness>
  /** Probes everything at once; resolves when all have answered or timed out. */
  probeNow(): Promise<void>
  /** From now on never ready, reason `draining`. */
  drain(): void
  start(): void
  stop(): void
}

/** Probes each named dependency every 5 s, 2 s at most, all side by side (spec/gateway.md §11.2 [B]). */
export function createReadinessProber(
  probes: Readonly<Record<string, Probe>>,
  clock: Clock = systemClock,
): ReadinessProber {
  const names = Object.keys(probes)
  const checks = new Map<string, CheckResult>(names.map(name => [name, { status: 'unknown', error: 'not probed yet' }]))
  let timer: Timer | null = null
  let isDraining = false
  let running: Promise<void> | null = null

  const probeAll = async () => {
    await Promise.all(names.map(async name => checks.set(name, await runProbe(probes[name] as Probe, clock))))
    running = null
  }
  const probeNow = () => {
    running ??= probeAll()
    return running
  }
  const again = () => {
    void probeNow()
    timer = clock.after(LIMITS.readinessPeriodMs, again)
  }

  return {
    async readiness() {
      const shown: Record<string, CheckResult> = Object.fromEntries(checks)
      if (isDraining) shown['gateway'] = { status: 'unhealthy', error: 'draining' }
      return { ready: Object.values(shown).every(({ status }) => status === 'healthy'), checks: shown }
    },
    probeNow,
    drain() {
      isDraining = true
    },
    start() {
      if (timer === null) again()
    },
    stop() {
      timer?.cancel()
      timer = null
    },
  }
}

async function runProbe(probe: Probe, clock: Clock): Promise<CheckResult> {
  const startedMs = clock.monotonicMs()
  const abort = new AbortController()
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = clock.after(LIMITS.readinessTimeoutMs, () => {
    reject(new NotReady('no answer in time'))
    abort.abort()
  })
  try {
    await Promise.race([late, Promise.resolve().then(() => probe(abort.signal))])
    return { status: 'healthy', latency_ms: Math.round(clock.monotonicMs() - startedMs) }
  } catch (error) {
    const latency_ms = Math.round(clock.monotonicMs() - startedMs)
    return { status: 'unhealthy', latency_ms, error: error instanceof NotReady ? error.message : 'unavailable' }
  } finally {
    timer.cancel()
  }
}
