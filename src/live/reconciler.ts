import type { Clock, Timer } from '../base/clock.ts'
import { errorText } from '../base/errors.ts'
import { createTokenBucket, type TokenBucket } from '../base/token-bucket.ts'
import type { ComputeDriver } from '../drivers/contract.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import type { Store } from '../store/store.ts'
import type { ComputeDriverSandbox, ComputeWatchSandboxesEvent } from '../wire/messages.generated.ts'
import type { Deletions } from './deletions.ts'
import type { PlatformEvents } from './platform-events.ts'
import type { SandboxState } from './sandbox-state.ts'
import { createSweep, type SweepCounts } from './sweep.ts'

/**
 * Keeps records and the compute driver's world together: applies what the watch says and looks through everything
 * after each opening of the watch and once a minute (spec/sandbox.md §14, §15; W3 to W12).
 */
export interface Reconciler {
  start(): void
  close(): Promise<void>
  /** Words about ids that have no record, since the start (D-09). */
  readonly unknownEvents: number
  readonly counts: SweepCounts
}

export interface ReconcilerDeps {
  readonly driver: ComputeDriver
  readonly store: Store
  readonly state: SandboxState
  readonly events: PlatformEvents
  readonly deletions: Deletions
  readonly clock: Clock
  readonly log: Logger
  /** Tells the driver again to make a sandbox it never heard of (S-11). */
  readonly recreate: (id: string) => Promise<void>
}

/** One sandbox's budget of observations, and the newest one that waits for it. */
interface Lane {
  readonly bucket: TokenBucket
  waiting: ComputeDriverSandbox | null
  timer: Timer | null
}

export function createReconciler(deps: ReconcilerDeps): Reconciler {
  const { clock, log, state } = deps
  const sweep = createSweep(deps)
  const lanes = new Map<string, Lane>()
  let unknownEvents = 0
  let watch: { close(): void } | null = null
  let timer: Timer | null = null
  let current: Promise<void> | null = null
  let again = false
  let closed = false
  let lastEndMs = Number.NEGATIVE_INFINITY

  const lane = (id: string): Lane => {
    const known = lanes.get(id)
    if (known) return known
    const bucket = createTokenBucket(LIMITS.observationBurst, LIMITS.observationsPerSecond, () => clock.monotonicMs())
    const made = { bucket, waiting: null, timer: null }
    lanes.set(id, made)
    return made
  }

  const drop = (id: string) => {
    lanes.get(id)?.timer?.cancel()
    lanes.delete(id)
  }

  state.onRemoved(drop)

  const apply = async (sandbox: ComputeDriverSandbox) => {
    if ((await state.observe(sandbox.id, sandbox.status)) !== 'unknown') return
    drop(sandbox.id)
    unknownEvents++
    if (!state.isGone(sandbox.id)) log.debug('driver speaks of an unknown sandbox', { driver_sandbox: sandbox.id })
  }

  /** Applies at once within the budget; above it only the newest word counts (D-09). */
  const observed = async (sandbox: ComputeDriverSandbox) => {
    if (sandbox.id === '') return void unknownEvents++
    const mine = lane(sandbox.id)
    if (!mine.timer && mine.bucket.take(1) === 1) return await apply(sandbox)
    mine.waiting = sandbox
    mine.timer ??= clock.after(mine.bucket.waitMs(), () => void flush(mine))
  }

  const flush = async (mine: Lane) => {
    mine.timer = null
    const sandbox = mine.waiting
    mine.waiting = null
    mine.bucket.take(1)
    if (!sandbox || closed) return
    await guarded('event', () => apply(sandbox))
  }

  const guarded = async (what: string, work: () => Promise<unknown>) => {
    try {
      await work()
    } catch (error) {
      log.warn('driver event not applied', { event: what, cause: errorText(error) })
    }
  }

  const handle = async (event: ComputeWatchSandboxesEvent) => {
    if (event.sandbox?.sandbox) return await observed(event.sandbox.sandbox)
    if (event.deleted?.sandbox_id) {
      drop(event.deleted.sandbox_id)
      if (!(await state.remove(event.deleted.sandbox_id, 'removed'))) unknownEvents++
      return
    }
    const about = event.platform_event
    if (!about?.event || about.sandbox_id === '') return
    if (deps.events.ring(about.sandbox_id) || (await deps.store.get('sandbox', about.sandbox_id)))
      deps.events.publish(about.sandbox_id, about.event)
    else unknownEvents++
  }

  const runSweep = async () => {
    timer?.cancel()
    timer = null
    await sweep.run()
    lastEndMs = clock.monotonicMs()
    current = null
    if (closed) return
    schedule(again ? LIMITS.sweepLeastMs : LIMITS.sweepEveryMs)
    again = false
  }

  const schedule = (ms: number) => {
    timer?.cancel()
    timer = clock.after(ms, () => {
      current = runSweep()
    })
  }

  /** As soon as possible, but not more often than every few seconds (D-08). */
  const sweepSoon = () => {
    if (closed) return
    if (current) again = true
    else schedule(Math.max(0, lastEndMs + LIMITS.sweepLeastMs - clock.monotonicMs()))
  }

  return {
    start() {
      watch = deps.driver.watch({
        onOpened: sweepSoon,
        onEvent: event => guarded(event.payload ?? 'empty', () => handle(event)),
      })
      schedule(LIMITS.sweepEveryMs)
    },
    async close() {
      closed = true
      watch?.close()
      timer?.cancel()
      deps.deletions.close()
      for (const id of [...lanes.keys()]) drop(id)
      await current
    },
    get unknownEvents() {
      return unknownEvents
    },
    get counts() {
      return sweep.counts
    },
  }
}
