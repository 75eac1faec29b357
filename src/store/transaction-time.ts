import type { Clock } from '../base/clock.ts'
import { StoreFailure } from './store.ts'

/** The result of `work`, or `StoreFailure` after `ms`: whoever keeps all other writers out does so for a bounded time. */
export async function withinTime<T>(clock: Clock, ms: number, work: Promise<T>): Promise<T> {
  const over = Promise.withResolvers<never>()
  const timer = clock.after(ms, () => over.reject(new StoreFailure('unavailable', `not done within ${ms} ms`)))
  try {
    return await Promise.race([work, over.promise])
  } finally {
    timer.cancel()
  }
}
