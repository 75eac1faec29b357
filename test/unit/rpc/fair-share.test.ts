import { expect, test } from 'bun:test'
import { ANONYMOUS, type User } from '../../../src/auth/principal.ts'
import { LIMITS } from '../../../src/limits.ts'
import { createFairShare } from '../../../src/rpc/fair-share.ts'
import { createFakeClock } from '../../kit/clock.ts'

const user = (subject: string): User => ({
  ...{ kind: 'user', subject, issuer: 'https://issuer.test', displayName: null, clientId: null },
  ...{ roles: [], scopes: [], expiresAtMs: 0 },
})
const granted = (count: number, take: () => boolean) => Array.from({ length: count }, take).filter(Boolean).length

test('F-18: a user gets twice the rate at once, then the rate, and takes nothing from another', () => {
  const clock = createFakeClock()
  const share = createFairShare(500, clock)
  expect(granted(5000, () => share.take(user('flood')))).toBe(1000)
  expect(granted(1000, () => share.take(user('other')))).toBe(1000)
  clock.advance(1000)
  expect(granted(5000, () => share.take(user('flood')))).toBe(500)
})

test('F-18: without a rate, and for those who are no users, there is no limit', () => {
  const clock = createFakeClock()
  expect(granted(5000, () => createFairShare(0, clock).take(user('flood')))).toBe(5000)
  const share = createFairShare(1, clock)
  const sandbox = { kind: 'sandbox', proof: 'master', sandboxId: null } as const
  expect(granted(5000, () => share.take(sandbox) && share.take(ANONYMOUS))).toBe(5000)
})

test('F-18: the users that are counted are bounded, and one who calls on stays counted', () => {
  const share = createFairShare(1, createFakeClock())
  expect(granted(3, () => share.take(user('flood')))).toBe(2)
  for (let n = 0; n < 2 * LIMITS.fairShareUsers; n++) {
    share.take(user(`user-${n}`))
    if (n % 1000 === 0) expect(share.take(user('flood'))).toBe(false)
  }
})
