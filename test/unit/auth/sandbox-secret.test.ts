import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { createHmac } from 'node:crypto'
import { ANONYMOUS, type SandboxPrincipal, type User } from '../../../src/auth/principal.ts'
import { isSecretCaller, mayActFor, requireSandbox, streamEndMs } from '../../../src/auth/sandbox-binding.ts'
import { createSandboxSecrets } from '../../../src/auth/sandbox-secret.ts'
import { Secret } from '../../../src/base/secret.ts'
import { createCapturedLog } from '../../kit/captured-log.ts'
import { createFakeClock } from '../../kit/clock.ts'
import { type FakeIssuer, signingKey, startIssuer } from '../../kit/issuer.ts'
import { createHarness, MASTER, oidcConfig } from './harness.ts'

const WRONG = 'UNAUTHENTICATED invalid sandbox secret'
const REQUIRED = 'UNAUTHENTICATED sandbox secret required for this method'
const SLOWED = 'RESOURCE_EXHAUSTED too many failed attempts'
const derived = (id: string, master = MASTER) => createHmac('sha256', master).update(id).digest('base64url')

describe('the master secret (spec/auth.md §2, §9.2)', () => {
  const gateway = createHarness({})

  test('the exact bytes, first value', async () => {
    const outcome = (secret: string | readonly string[]) =>
      gateway.outcome('PushSandboxLogs', { secret, address: String(secret) })
    expect(await outcome(MASTER)).toBe('ok')
    expect(await outcome([MASTER, 'x'])).toBe('ok')
    for (const secret of ['', ` ${MASTER}`, `${MASTER} `, MASTER.toUpperCase(), MASTER.slice(1), `${MASTER}x`])
      expect(await outcome(secret)).toBe(WRONG)
    expect(await outcome(['x', MASTER])).toBe(WRONG)
    expect(await outcome([])).toBe(REQUIRED)
    expect(await outcome(`${MASTER}\u00e9`)).toBe(REQUIRED)
  })

  test('A-06 one other letter anywhere, one more or one less: all are as wrong', () => {
    const deps = { clock: createFakeClock(), log: createCapturedLog(), sandboxIds: async () => [] }
    const secrets = createSandboxSecrets({ master: new Secret(MASTER), requireBinding: false }, deps)
    for (let at = 0; at < MASTER.length; at++) {
      expect(secrets.check(`${MASTER.slice(0, at)}~${MASTER.slice(at + 1)}`, false)).toBeNull()
      expect(secrets.check(MASTER.slice(0, at), false)).toBeNull()
      expect(secrets.check(MASTER.slice(at + 1), false)).toBeNull()
    }
    expect(secrets.check(MASTER, false)).not.toBeNull()
  })

  test('it stands for any sandbox, as the reference lets it (A-10)', async () => {
    expect(await gateway.call('GetInferenceBundle', { secret: MASTER })).toEqual({
      kind: 'sandbox',
      proof: 'master',
      sandboxId: null,
    })
  })

  test('--require-sandbox-binding refuses it and takes a sandbox’s own', async () => {
    const bound = createHarness({ secret: { requireBinding: true }, sandboxes: ['s1'] })
    expect(await bound.outcome('PushSandboxLogs', { secret: MASTER })).toBe(WRONG)
    expect(await bound.outcome('PushSandboxLogs', { secret: derived('s1') })).toBe('ok')
    expect(bound.log.lines.filter(line => line.level === 'warn').length).toBe(1)
  })
})

describe('the secret of one sandbox (A-3, decision 3)', () => {
  test('is accepted everywhere a secret is and says which sandbox calls', async () => {
    const gateway = createHarness({ sandboxes: ['s1', 's2'] })
    for (const rpc of [
      'GetInferenceBundle',
      'GetSandboxConfig',
      'UpdateConfig',
      'ConnectSupervisor',
      'RelayStream',
    ] as const)
      expect(await gateway.call(rpc, { secret: derived('s2') })).toEqual({
        kind: 'sandbox',
        proof: 'derived',
        sandboxId: 's2',
      })
    const strangers = [derived('s3'), derived('s2', 'another master')].map(secret =>
      gateway.outcome('GetInferenceBundle', { secret }),
    )
    await new Promise(resolve => setImmediate(resolve))
    gateway.clock.advance(1000)
    expect(await Promise.all(strangers)).toEqual([WRONG, WRONG])
  })

  test('a known one is answered without a promise and without reading the list', async () => {
    let lists = 0
    const count = (ids: readonly string[]) => async () => {
      lists++
      return [...ids]
    }
    const clock = createFakeClock()
    const secrets = createSandboxSecrets(
      { master: new Secret(MASTER), requireBinding: false },
      { clock, log: createCapturedLog(), sandboxIds: count([]) },
    )
    const issued = secrets.issue('s1')
    expect(issued.reveal()).toBe(derived('s1'))
    expect(secrets.check(issued.reveal(), true)).toEqual({ kind: 'sandbox', proof: 'derived', sandboxId: 's1' })
    expect(lists).toBe(0)
    secrets.forget('s1')
    expect(secrets.check(issued.reveal(), false)).toBeNull()
  })

  test('what has not its shape never makes the list be read; what has, once a second', async () => {
    let lists = 0
    const count = (ids: readonly string[]) => async () => {
      lists++
      return [...ids]
    }
    const clock = createFakeClock()
    const ids = ['s1']
    const secrets = createSandboxSecrets(
      { master: new Secret(MASTER), requireBinding: false },
      { clock, log: createCapturedLog(), sandboxIds: count(ids) },
    )
    expect(secrets.check('x'.repeat(42), true)).toBeNull()
    expect(secrets.check('!'.repeat(43), true)).toBeNull()
    expect(lists).toBe(0)
    const flood = await Promise.all(Array.from({ length: 50 }, (_, i) => secrets.check(derived(`nobody-${i}`), true)))
    expect(flood.every(verdict => verdict === null)).toBe(true)
    expect(lists).toBe(1)
    ids.push('s2')
    const late = secrets.check(derived('s2'), true)
    await Promise.resolve()
    expect(lists).toBe(1)
    await new Promise(resolve => setImmediate(resolve))
    clock.advance(1000)
    expect(await late).toMatchObject({ sandboxId: 's2' })
    expect(lists).toBe(2)
  })

  test('a deleted sandbox’s secret ends with the next list, read in the background after a minute', async () => {
    const clock = createFakeClock()
    const ids = new Set(['s1', 's2'])
    const secrets = createSandboxSecrets(
      { master: new Secret(MASTER), requireBinding: false },
      { clock, log: createCapturedLog(), sandboxIds: async () => [...ids] },
    )
    expect(await secrets.check(derived('s1'), true)).not.toBeNull()
    ids.delete('s1')
    clock.advance(60_001)
    expect(secrets.check(derived('s2'), true)).toMatchObject({ sandboxId: 's2' })
    await new Promise(resolve => setImmediate(resolve))
    expect(secrets.check(derived('s1'), false)).toBeNull()
    expect(secrets.check(derived('s2'), false)).not.toBeNull()
  })

  test('a store that does not answer is UNAVAILABLE, and the waiting line is bounded', async () => {
    const broken = createHarness({ deps: { sandboxIds: () => Promise.reject(new Error('disk on fire')) } })
    expect(await broken.outcome('GetInferenceBundle', { secret: derived('s1') })).toBe(
      'UNAVAILABLE sandbox secret cannot be checked at the moment',
    )
    expect(await broken.outcome('GetInferenceBundle', { secret: MASTER })).toBe('ok')
    let release = (_ids: string[]) => {}
    const slow = createHarness({ deps: { sandboxIds: () => new Promise<string[]>(resolve => (release = resolve)) } })
    const calls = Array.from({ length: 100 }, (_, i) =>
      slow.outcome('GetInferenceBundle', { secret: derived(`s${i}`), address: `a${i}` }),
    )
    await new Promise(resolve => setImmediate(resolve))
    release(['s1'])
    const outcomes = await Promise.all(calls)
    expect(outcomes.filter(outcome => outcome.startsWith('UNAVAILABLE')).length).toBe(36)
    expect(outcomes.filter(outcome => outcome === 'ok').length).toBe(1)
  })
})

describe('supervisors (decision 2, spec/auth.md §8)', () => {
  const SUPERVISOR_ONLY = 'PERMISSION_DENIED supervisor RPCs require a sandbox principal'
  let issuer: FakeIssuer
  let user: string
  beforeAll(async () => {
    issuer = await startIssuer(await signingKey('k1'))
    user = await issuer.token({ claims: { realm_access: { roles: ['openshell-admin'] } } })
  })
  afterAll(() => issuer.close())

  const gateway = async (options: Parameters<typeof createHarness>[0] = {}) => {
    const harness = createHarness({ oidc: oidcConfig(issuer.url), ...options })
    await harness.authenticator.start()
    return harness
  }

  test.each(['ConnectSupervisor', 'RelayStream'] as const)('%s: secret, then certificate, never a user', async rpc => {
    const mtls = await gateway({ clientCa: true })
    expect(await mtls.call(rpc, { certificate: 'AB:CD' })).toEqual({
      kind: 'sandbox',
      proof: 'certificate',
      sandboxId: null,
    })
    expect(await mtls.outcome(rpc, { certificate: 'AB:CD', token: user })).toBe(SUPERVISOR_ONLY)
    expect(await mtls.call(rpc, { certificate: 'AB:CD', token: user, secret: MASTER })).toMatchObject({
      proof: 'master',
    })
    expect(await mtls.outcome(rpc, {})).toBe(REQUIRED)
    expect(await mtls.outcome(rpc, { token: 'a.b.c' })).toBe('UNAUTHENTICATED invalid token')
    const plain = await gateway()
    expect(await plain.outcome(rpc, { certificate: 'AB:CD' })).toBe(REQUIRED)
    expect(await plain.outcome(rpc, { secret: 'wrong' })).toBe(WRONG)
    expect(await plain.outcome(rpc, { secret: 'wrong', token: user })).toBe(SUPERVISOR_ONLY)
    for (const harness of [mtls, plain]) harness.authenticator.close()
  })

  test('--allow-unauthenticated-supervisors opens these two, says so at start, and still refuses users', async () => {
    const open = await gateway({ secret: { allowUnauthenticatedSupervisors: true } })
    expect(await open.call('ConnectSupervisor')).toEqual({ kind: 'anonymous' })
    expect(await open.outcome('ConnectSupervisor', { token: user })).toBe(SUPERVISOR_ONLY)
    expect(await open.outcome('PushSandboxLogs')).toBe(REQUIRED)
    expect(
      open.log.lines.some(line => line.level === 'warn' && line.message.startsWith('--allow-unauthenticated')),
    ).toBe(true)
    open.authenticator.close()
  })
})

describe('who may act for a sandbox', () => {
  const sandbox = (proof: SandboxPrincipal['proof'], sandboxId: string | null): SandboxPrincipal => ({
    kind: 'sandbox',
    proof,
    sandboxId,
  })
  const user = { kind: 'user', expiresAtMs: 5000 } as User

  test('a derived secret acts for its own sandbox only', () => {
    expect(() => requireSandbox(sandbox('derived', 's1'), 's2')).toThrow(
      'sandbox secret does not belong to this sandbox',
    )
    expect(() => requireSandbox(sandbox('derived', 's1'), 's1')).not.toThrow()
    for (const principal of [sandbox('master', null), sandbox('certificate', null), ANONYMOUS, user])
      expect(mayActFor(principal, 's2')).toBe(true)
  })

  test('UpdateConfig is restricted for secrets alone', () => {
    expect(
      [sandbox('master', null), sandbox('derived', 's1'), sandbox('certificate', null), user, ANONYMOUS].map(
        isSecretCaller,
      ),
    ).toEqual([true, true, false, false, false])
  })

  test('A-14 a stream ends a grace time after its token, or never', () => {
    expect(streamEndMs(user, 60)).toBe(65_000)
    expect(streamEndMs(user, null)).toBeNull()
    expect(streamEndMs(ANONYMOUS, 60)).toBeNull()
  })
})

describe('A-08, A-10 guessing', () => {
  test('after 20 wrong secrets of an address each further one waits a second; a right one does not', async () => {
    const gateway = createHarness({ sandboxes: ['s1'] })
    for (let i = 0; i < 20; i++) expect(await gateway.outcome('PushSandboxLogs', { secret: `guess ${i}` })).toBe(WRONG)
    let answer = ''
    const waiting = gateway.outcome('PushSandboxLogs', { secret: 'guess' }).then(text => (answer = text))
    await new Promise(resolve => setImmediate(resolve))
    expect(answer).toBe('')
    expect(await gateway.outcome('PushSandboxLogs', { secret: MASTER })).toBe('ok')
    expect(await gateway.outcome('PushSandboxLogs', {})).toBe(REQUIRED)
    expect(await gateway.outcome('PushSandboxLogs', { secret: 'x', address: '192.0.2.2' })).toBe(WRONG)
    gateway.clock.advance(1000)
    expect(await waiting).toBe(SLOWED)
    gateway.clock.advance(60_000)
    expect(await gateway.outcome('PushSandboxLogs', { secret: 'x' })).toBe(WRONG)
  })

  test('a connection with 50 wrong secrets is given up', async () => {
    const given: unknown[] = []
    const gateway = createHarness({ deps: { onAbuse: peer => given.push(peer.connection) } })
    const connection = {}
    for (let i = 0; i < 49; i++) void gateway.outcome('GetSandboxConfig', { secret: `x${i}`, connection })
    expect(given).toEqual([])
    void gateway.outcome('GetSandboxConfig', { secret: 'x', connection })
    expect(given).toEqual([connection])
    gateway.clock.advance(2000)
  })

  test('all of an IPv6 /64 counts as one address', async () => {
    const gateway = createHarness({})
    for (let i = 0; i < 20; i++)
      expect(await gateway.outcome('PushSandboxLogs', { secret: 'x', address: `2001:db8::${i.toString(16)}` })).toBe(
        WRONG,
      )
    const waiting = gateway.outcome('PushSandboxLogs', { secret: 'x', address: '2001:db8:0:0:ffff::1' })
    await new Promise(resolve => setImmediate(resolve))
    gateway.clock.advance(1000)
    expect(await waiting).toBe(SLOWED)
    expect(await gateway.outcome('PushSandboxLogs', { secret: 'x', address: '2001:db8:0:1::1' })).toBe(WRONG)
  })
})
