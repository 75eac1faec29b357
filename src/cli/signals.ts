import { type Clock, systemClock } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'
import type { CommandIo } from './command.ts'

/** The exit code of a second interrupt (decision 23). */
const INTERRUPTED = 130

/** The signals of a running gateway; `close` gives them back to the runtime. */
export interface Signals {
  /** Resolves to the name of the first signal that asks the gateway to end. */
  readonly ending: Promise<string>
  close(): void
}

/**
 * Listens to SIGTERM and SIGINT (the first ends, the second ends at once), SIGHUP (`onReload`) and SIGUSR1, which
 * would otherwise kill the process (spec/gateway.md §19 [B]). The same signal again within `signalEchoMs` is no second
 * one: `bun run` and npx pass Ctrl-C on to a process that had it from the terminal already.
 */
export function listenToSignals(
  exit: CommandIo['exit'],
  onReload: () => void,
  clock: Pick<Clock, 'monotonicMs'> = systemClock,
): Signals {
  let asked: { readonly signal: string; readonly atMs: number } | null = null
  const { promise, resolve } = Promise.withResolvers<string>()
  const end = (signal: string) => {
    const atMs = clock.monotonicMs()
    if (asked?.signal === signal && atMs - asked.atMs < LIMITS.signalEchoMs) return
    if (asked) exit(INTERRUPTED)
    asked = { signal, atMs }
    resolve(signal)
  }
  const handlers = { SIGTERM: end, SIGINT: end, SIGHUP: onReload, SIGUSR1: () => undefined }
  for (const [signal, handler] of Object.entries(handlers)) process.on(signal, handler)
  return {
    ending: promise,
    close() {
      for (const [signal, handler] of Object.entries(handlers)) process.off(signal, handler)
    },
  }
}
