import { sleep, systemClock } from '../base/clock.ts'
import type { Config } from '../config/config.ts'
import { FLAGS, type FlagName } from '../config/flags.ts'
import type { RawValues } from '../config/read.ts'
import { LIMITS } from '../limits.ts'
import { connectServiceManager } from '../observe/service-manager.ts'
import { type CommandIo, defineGatewayCommand } from './command.ts'
import { configFrom } from './load-config.ts'
import { listenToSignals } from './signals.ts'
import { VERSION } from './version.ts'

/** A gateway that runs. */
export interface RunningGateway {
  /** Stops taking work, lets what runs end within the grace period, then lets go of everything. Never rejects. */
  drain(reason: string): Promise<void>
  /** Lets go of everything at once; resolves when all is closed. */
  stop(): unknown
  /** Reads certificates and keys again (SIGHUP); reports into the log and never throws. */
  reload?(): unknown
  /** Resolves when the gateway has ended; rejects with the `StartError` that ended it. */
  readonly finished: Promise<void>
}

/** Starts a gateway; rejects with a `StartError` when it cannot. */
export type StartGateway = (
  config: Config,
  options: { readonly version: string; readonly warnings: readonly string[]; readonly signal: AbortSignal },
) => Promise<RunningGateway>

/** Drains within the grace period; what hangs longer is stopped (every wait has an end). */
async function drainBounded(gateway: RunningGateway, reason: string, graceSecs: number): Promise<void> {
  const draining = gateway.drain(reason).then(() => true)
  const late = sleep(systemClock, graceSecs * 1000 + LIMITS.shutdownSlackMs).then(() => false)
  if (!(await Promise.race([draining, late]))) gateway.stop()
}

/**
 * Runs a gateway until it ends or a signal ends it; resolves to 0 then. Shared by `serve` and `dev`. A start that is not
 * through by then hears of it from the signal it is given.
 */
export async function runGateway(
  start: (signal: AbortSignal) => Promise<RunningGateway>,
  shutdownGraceSecs: number,
  io: Pick<CommandIo, 'exit'>,
): Promise<number> {
  let gateway: RunningGateway | null = null
  const manager = connectServiceManager(process.env)
  const signals = listenToSignals(io.exit, () => {
    if (gateway === null) return
    manager?.reloading()
    gateway.reload?.()
    manager?.ready()
  })
  // A timer of its own: while everything waits for peers nothing else may keep the process alive.
  const alive = setInterval(() => undefined, 1 << 30)
  try {
    const givenUp = new AbortController()
    const starting = start(givenUp.signal)
    const early = await Promise.race([starting.then(() => null), signals.ending])
    if (early !== null) {
      givenUp.abort()
      // Why it did not come through does not matter any more.
      const ended = starting.catch(() => null)
      const started = await Promise.race([ended, sleep(systemClock, LIMITS.shutdownSlackMs)])
      await started?.stop()
      return 0
    }
    gateway = await starting
    manager?.ready()
    const reason = await Promise.race([gateway.finished.then(() => null), signals.ending])
    manager?.stopping(shutdownGraceSecs * 1000 + LIMITS.shutdownSlackMs)
    if (reason !== null) await drainBounded(gateway, reason, shutdownGraceSecs)
    return 0
  } finally {
    clearInterval(alive)
    manager?.close()
    signals.close()
  }
}

/** Judges the values, says what is wrong with them, or runs the gateway they describe. */
export async function serve(raw: RawValues<FlagName>, io: CommandIo, start: StartGateway): Promise<number> {
  const judged = configFrom(raw)
  if (!judged.ok) {
    await io.err(judged.text)
    return judged.exitCode
  }
  const { config, warnings } = judged
  return runGateway(signal => start(config, { version: VERSION, warnings, signal }), config.shutdownGraceSecs, io)
}

export const command = defineGatewayCommand({
  flags: FLAGS,
  run: (raw, io) =>
    serve(raw, io, async (config, options) => (await import('../gateway.ts')).startGateway(config, options)),
})
