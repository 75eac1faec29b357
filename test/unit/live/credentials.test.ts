import { describe, expect, test } from 'bun:test'
import { Secret } from '../../../src/base/secret.ts'
import { type CredentialsDriver, DriverError, type ResolvedCredential } from '../../../src/drivers/contract.ts'
import { LIMITS } from '../../../src/limits.ts'
import { createCredentials } from '../../../src/live/credentials.ts'
import { createCapturedLog } from '../../kit/captured-log.ts'
import { createFakeClock } from '../../kit/clock.ts'

const CANARY = 'token-that-must-not-show'

function setUp(options: { lifeMs?: number | null; none?: boolean } = {}) {
  const clock = createFakeClock()
  const log = createCapturedLog()
  const calls: string[] = []
  let lifeMs: number | null = options.lifeMs === undefined ? 300_000 : options.lifeMs
  let answer: (name: string) => Promise<ResolvedCredential> = async name => ({
    token: new Secret(`${CANARY}-${name}-${calls.length}`),
    expiresAtMs: lifeMs === null ? null : clock.nowMs() + lifeMs,
    tokenType: 'Bearer',
  })
  const usual = answer
  const driver: CredentialsDriver = {
    state: { status: 'ready' },
    resolve(name) {
      calls.push(name)
      return answer(name)
    },
    list: async () => [],
    start: async () => undefined,
    close: async () => undefined,
  }
  const credentials = createCredentials({ driver: options.none ? null : driver, clock, log })
  const token = async (name = 'github') => (await credentials.resolve(name)).reveal()
  return {
    clock,
    log,
    calls,
    credentials,
    token,
    answering: (next: typeof answer | null) => {
      answer = next ?? usual
    },
    living: (ms: number | null) => {
      lifeMs = ms
    },
  }
}

const away = () => Promise.reject(new DriverError('UNAVAILABLE', 'the issuer said: hunter2', true))

describe('credentials held by the driver', () => {
  test('200 sandboxes asking at once make one call (D-13)', async () => {
    const { credentials, calls } = setUp()
    const tokens = await Promise.all(Array.from({ length: 200 }, () => credentials.resolve('github')))
    expect(new Set(tokens.map(token => token.reveal()))).toEqual(new Set([`${CANARY}-github-1`]))
    expect(calls).toEqual(['github'])
  })

  test('an answer serves until 30 s before its end, then a new one is fetched (decision 17)', async () => {
    const { clock, token, calls } = setUp({ lifeMs: 300_000 })
    await token()
    clock.advance(239_999)
    expect(await token()).toBe(`${CANARY}-github-1`)
    expect(calls).toHaveLength(1)
    clock.advance(30_001)
    expect(await token()).toBe(`${CANARY}-github-2`)
  })

  test('from 60 s before the end it is refreshed in the background, nobody waits', async () => {
    const { clock, token, calls, answering } = setUp({ lifeMs: 300_000 })
    await token()
    clock.advance(240_001)
    let finish = () => {}
    answering(
      () =>
        new Promise(resolve => {
          finish = () =>
            resolve({ token: new Secret('new'), expiresAtMs: clock.nowMs() + 300_000, tokenType: 'Bearer' })
        }),
    )
    const held = `${CANARY}-github-1`
    expect(await Promise.all([token(), token(), token()])).toEqual([held, held, held])
    expect(calls).toHaveLength(2)
    finish()
    await Promise.resolve()
    await Bun.sleep(0)
    expect(await token()).toBe('new')
  })

  test.each<[string, number | null]>([
    ['no expiry', null],
    ['an expiry of now', 0],
    ['an expiry in 20 s', 20_000],
  ])('%s is kept for 5 s and no longer', async (_title, lifeMs) => {
    const { clock, token, calls } = setUp({ lifeMs })
    await token()
    clock.advance(LIMITS.credentialFloorMs - 1)
    await token()
    expect(calls).toHaveLength(1)
    clock.advance(2)
    await token()
    expect(calls).toHaveLength(2)
  })

  test('a token that still lives is given out while the driver is dead', async () => {
    const { clock, token, answering } = setUp({ lifeMs: 300_000 })
    await token()
    answering(away)
    clock.advance(280_000)
    expect(await token()).toBe(`${CANARY}-github-1`)
    clock.advance(20_001)
    expect(token()).rejects.toMatchObject({ kind: 'UNAVAILABLE' })
  })

  test('a failing name is left alone for a while, other names are not (drivers.md §4)', async () => {
    const { clock, token, calls, answering } = setUp()
    answering(name =>
      name === 'bad' ? away() : Promise.resolve({ token: new Secret('good'), expiresAtMs: null, tokenType: 'Bearer' }),
    )
    for (let i = 0; i < 50; i++) await token('bad').catch(() => undefined)
    expect(calls.filter(name => name === 'bad')).toHaveLength(1)
    expect(await token('other')).toBe('good')
    clock.advance(LIMITS.credentialBackoffFirstMs)
    await token('bad').catch(() => undefined)
    expect(calls.filter(name => name === 'bad')).toHaveLength(2)
    clock.advance(LIMITS.credentialBackoffMostMs)
    answering(null)
    expect(await token('bad')).toStartWith(CANARY)
  })

  test('a driver that was not there is asked again by the next caller: when it returns, so does the value', async () => {
    const { token, answering } = setUp()
    answering(() => Promise.reject(new DriverError('UNAVAILABLE', 'credentials driver is not connected', false)))
    for (let i = 0; i < 5; i++) expect(token()).rejects.toMatchObject({ kind: 'UNAVAILABLE' })
    await Bun.sleep(0)
    answering(null)
    expect(await token()).toStartWith(CANARY)
  })

  test('a driver that never answers holds nobody longer than its deadline (D-04)', async () => {
    const { clock, token, answering } = setUp()
    answering(() => new Promise(() => undefined))
    const waiting = token()
    clock.advance(LIMITS.credentialSettleMs)
    expect(waiting).rejects.toMatchObject({ kind: 'UNAVAILABLE' })
  })

  test('a slow name does not hold up another', async () => {
    const { token, answering } = setUp()
    answering(name =>
      name === 'slow'
        ? new Promise(() => undefined)
        : Promise.resolve({ token: new Secret('fast'), expiresAtMs: null, tokenType: 'Bearer' }),
    )
    void token('slow').catch(() => undefined)
    expect(await token('fast')).toBe('fast')
  })

  test('a caller that goes away stops waiting, the others get their answer', async () => {
    const { credentials, answering } = setUp()
    let finish = () => {}
    answering(
      () =>
        new Promise(resolve => {
          finish = () => resolve({ token: new Secret('late'), expiresAtMs: null, tokenType: 'Bearer' })
        }),
    )
    const gone = new AbortController()
    const first = credentials.resolve('github', gone.signal)
    const second = credentials.resolve('github')
    gone.abort()
    await expect(first).rejects.toMatchObject({ kind: 'CANCELLED' })
    finish()
    expect((await second).reveal()).toBe('late')
  })

  test('what a driver says stays inside: no token, no text of an issuer (D-14)', async () => {
    const { token, log, answering } = setUp()
    await token()
    answering(away)
    const refused = await token('other').catch(error => error)
    expect(refused.publicText).toBe("credential 'other' is unavailable")
    answering(() => Promise.reject(new DriverError('NOT_FOUND', 'hunter2', true)))
    expect(token('third')).rejects.toMatchObject({ kind: 'FAILED_PRECONDITION' })
    const said = JSON.stringify(log.lines)
    expect(said).not.toContain(CANARY)
    expect(said).not.toContain('hunter2')
  })

  test('without a driver the refusal is clear', async () => {
    const { token } = setUp({ none: true })
    expect(token()).rejects.toMatchObject({
      kind: 'FAILED_PRECONDITION',
      publicText: 'no credentials driver is configured',
    })
  })

  test('10 000 names cost no more than the bound', async () => {
    const { credentials } = setUp()
    for (let i = 0; i < 10_000; i++) await credentials.resolve(`n${i}`)
    expect(credentials.size).toBeLessThanOrEqual(LIMITS.credentialsCached)
  })
})
