import { expect, test } from 'bun:test'
import { systemClock } from '../../../src/base/clock.ts'

test('a timer of more than 24 days does not fire at once: --shutdown-grace-secs 4294967295 is a long time', async () => {
  let fired = false
  const long = systemClock.after(4_294_967_295_000, () => {
    fired = true
  })
  for (let n = 0; n < 5; n++) await new Promise<void>(resolve => void systemClock.after(1, resolve))
  expect(fired).toBe(false)
  long.cancel()
})
