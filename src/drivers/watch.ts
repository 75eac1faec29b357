import { createBackoff } from '../base/backoff.ts'
import { type Clock, sleep } from '../base/clock.ts'
import { errorText } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import type { ComputeWatchSandboxesEvent } from '../wire/messages.generated.ts'
import type { DriverChannel } from './channel.ts'
import { type Connection, driverMethod, TimedOut } from './connection.ts'
import type { ComputeWatchConsumer } from './contract.ts'

/** Figures of limits.ts that a test shortens. */
export interface WatchTimings {
  readonly probeEveryMs: number
  readonly probeTimeoutMs: number
  readonly backoffFirstMs: number
  readonly backoffMostMs: number
  readonly healthyMs: number
}

export const WATCH_TIMINGS: WatchTimings = {
  probeEveryMs: LIMITS.driverProbeEveryMs,
  probeTimeoutMs: LIMITS.driverCapabilitiesMs,
  backoffFirstMs: LIMITS.driverWatchBackoffFirstMs,
  backoffMostMs: LIMITS.driverWatchBackoffMostMs,
  healthyMs: LIMITS.driverWatchHealthyMs,
}

export interface WatchOptions {
  readonly channel: DriverChannel
  readonly consumer: ComputeWatchConsumer
  readonly signal: AbortSignal
  readonly log: Logger
  readonly clock: Clock
  readonly timings: WatchTimings
  /** Asks the driver something cheap on the connection of the watch (decision 16). */
  readonly probe: (connection: Connection, timeoutMs: number) => Promise<void>
}

const WATCH = driverMethod(
  'openshell.compute.v1.ComputeDriver',
  'WatchSandboxes',
  'openshell.compute.v1.WatchSandboxesRequest',
  'openshell.compute.v1.WatchSandboxesEvent',
)

/**
 * Keeps one watch open until `signal` aborts. A watch that ends OK is reopened at once, unless it lived for less than a
 * second; one that fails is reopened after a wait; one whose connection broke is reopened with the next connection
 * (spec/drivers.md §2, D-08). Nothing waits for the first answer: a quiet driver sends no headers.
 */
export async function keepWatching(options: WatchOptions): Promise<void> {
  const { channel, consumer, signal, log, clock, timings } = options
  const backoff = createBackoff(timings.backoffFirstMs, timings.backoffMostMs)
  while (!signal.aborted) {
    const connection = await channel.connected(signal)
    if (!connection) return
    const openedMs = clock.monotonicMs()
    const failure = await watchOnce(connection, options, () => consumer.onOpened())
    if (signal.aborted) return
    const livedMs = clock.monotonicMs() - openedMs
    if (livedMs >= timings.backoffMostMs) backoff.reset()
    log.debug('driver watch ended', { lived_ms: Math.round(livedMs), reason: failure ?? 'OK' })
    if (connection.isOver) continue
    if (failure === null && livedMs >= timings.healthyMs) continue
    const waitMs = backoff.nextMs()
    log.warn('driver watch ended early', {
      lived_ms: Math.round(livedMs),
      reason: failure ?? 'OK',
      retry_ms: Math.round(waitMs),
    })
    await sleep(clock, waitMs, signal)
  }
}

/** One watch; null when it ended OK, else the reason. */
async function watchOnce(connection: Connection, options: WatchOptions, onOpened: () => void): Promise<string | null> {
  const ended = new AbortController()
  const signal = AbortSignal.any([options.signal, ended.signal])
  const stream = connection.stream(WATCH, {}, event => consume(options, event), signal).then(() => null, errorText)
  onOpened()
  const probing = keepProbing(connection, options, signal)
  try {
    return await stream
  } finally {
    ended.abort()
    await probing
  }
}

/** An event that its consumer cannot take is skipped: the sweep repairs what it said (spec/sandbox.md §14). */
async function consume({ consumer, log }: WatchOptions, event: ComputeWatchSandboxesEvent): Promise<void> {
  try {
    await consumer.onEvent(event)
  } catch (error) {
    log.error('driver event not processed', { reason: errorText(error) })
  }
}

/** Finds a driver that stopped in the middle of a silent watch (decision 16). */
async function keepProbing(connection: Connection, options: WatchOptions, signal: AbortSignal): Promise<void> {
  const { clock, timings, probe, log } = options
  for (;;) {
    await sleep(clock, timings.probeEveryMs, signal)
    if (signal.aborted || connection.isOver) return
    try {
      await probe(connection, timings.probeTimeoutMs)
    } catch (error) {
      if (error instanceof TimedOut) connection.retire(error.message)
      else if (!connection.isOver) log.debug('driver probe failed', { reason: errorText(error) })
    }
  }
}
