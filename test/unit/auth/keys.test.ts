import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { generateKeyPairSync } from 'node:crypto'
import zlib from 'node:zlib'
import { StartError } from '../../../src/base/errors.ts'
import { createFakeClock, type FakeClock, until } from '../../kit/clock.ts'
import { type FakeIssuer, type Page, type SigningKey, signingKey, startIssuer } from '../../kit/issuer.ts'
import { createHarness, type Harness, oidcConfig } from './harness.ts'

const UNKNOWN = 'UNAUTHENTICATED invalid token: unknown signing key'
const UNAVAILABLE = 'UNAVAILABLE OIDC key refresh failed'
const HOUR = 3_600_000

let key: SigningKey
let second: SigningKey
let third: SigningKey
let issuer: FakeIssuer
let clock: FakeClock
let open: Harness[] = []

beforeAll(async () => {
  ;[key, second, third] = await Promise.all([signingKey('k1'), signingKey('k2'), signingKey('k3')])
})

beforeEach(async () => {
  clock = createFakeClock(Date.now())
  issuer = await startIssuer(key)
})

afterEach(async () => {
  for (const harness of open) harness.authenticator.close()
  open = []
  await issuer.close()
  // A fetch that was cut lets go of its deadline a moment later.
  await until(() => clock.pending === 0)
})

function gateway(changes: Parameters<typeof oidcConfig>[1] = {}, url = issuer.url): Harness {
  const harness = createHarness({ oidc: oidcConfig(url, changes), clock })
  open.push(harness)
  return harness
}

async function started(changes: Parameters<typeof oidcConfig>[1] = {}): Promise<Harness> {
  const harness = gateway(changes)
  await harness.authenticator.start()
  return harness
}

const ask = async (harness: Harness, signer = key, kid = signer.kid) =>
  harness.outcome('ListSandboxes', {
    token: await issuer.token({ key: signer, header: { kid }, claims: { jti: Math.random() }, nowMs: clock.nowMs() }),
  })

const down: Page = { status: 503 }
/** Lets the background fetch that a timer has just begun come to its end. */
const settled = (harness: Harness, fetches: number) => until(() => harness.fetches.length >= fetches)

describe('at start', () => {
  test('one discovery and one fetch of keys serve any number of calls', async () => {
    const harness = await started()
    for (let i = 0; i < 10; i++) expect(await ask(harness)).toBe('ok')
    expect(issuer.hits).toEqual({ discovery: 1, jwks: 1, other: 0 })
    expect(harness.authenticator.readiness()).toEqual({ status: 'ok', keysAgeMs: 0 })
  })

  test('K-01, decision 15 an issuer that is not there yet: started, not ready, UNAVAILABLE, then found', async () => {
    issuer.pages.discovery = down
    const harness = await started()
    expect(harness.authenticator.readiness()).toMatchObject({ status: 'unavailable', keysAgeMs: null })
    expect(harness.authenticator.readiness().reason).toContain(issuer.url)
    expect(await ask(harness)).toBe(UNAVAILABLE)
    expect(await harness.outcome('ListSandboxes', { token: 'a.b.c' })).toBe('UNAUTHENTICATED invalid token')
    expect(await harness.outcome('Health')).toBe('ok')
    issuer.pages.discovery = undefined
    clock.advance(100)
    await settled(harness, 2)
    expect(await ask(harness)).toBe('ok')
    expect(harness.authenticator.readiness().status).toBe('ok')
  })

  test('decision 15 the failure is said at once and every 10 s, not at each try', async () => {
    issuer.pages.discovery = down
    const harness = await started()
    const said = () => harness.log.lines.filter(line => line.message.startsWith('keys of the issuer cannot')).length
    const startMs = clock.monotonicMs()
    for (let fetches = 2; clock.monotonicMs() - startMs < 9000; fetches++) {
      clock.runNext()
      await settled(harness, fetches)
    }
    expect(harness.fetches.length).toBeGreaterThan(5)
    expect(said()).toBeLessThanOrEqual(2)
    clock.advance(4000)
    clock.runNext()
    await settled(harness, harness.fetches.length)
    expect(said()).toBeLessThanOrEqual(3)
  })

  const unreachable: [string, Page][] = [
    ['503', down],
    ['HTML', { body: '<html>' }],
    ['an empty body', { body: '' }],
    ['a redirect to another origin', { status: 302, headers: { location: 'http://localhost:1/x' } }],
    [
      'a redirect without end',
      { status: 302, headers: { location: '/realms/openshell/.well-known/openid-configuration' } },
    ],
    ['a reset connection', request => void request.socket.destroy()],
    ['404', { status: 404 }],
    ['500 with a good body', { status: 500, body: { issuer: 'x', jwks_uri: 'x' } }],
  ]
  test.each(unreachable)('discovery answered by %s is tried again', async (_name, page) => {
    issuer.pages.discovery = page
    const harness = await started()
    expect(harness.authenticator.readiness().status).toBe('unavailable')
  })

  test('a redirect within the origin is followed', async () => {
    let asked = 0
    issuer.pages.discovery = (_request, response) => {
      if (asked++ === 0)
        return void response.writeHead(302, { location: '/realms/openshell/.well-known/openid-configuration' }).end()
      response.end(JSON.stringify({ issuer: `${issuer.url}//`, jwks_uri: `${issuer.url}/certs` }))
    }
    expect(await ask(await started())).toBe('ok')
  })

  const wrong: [string, (idp: FakeIssuer) => unknown, string][] = [
    [
      'another issuer',
      () => ({ issuer: 'https://other.test', jwks_uri: 'https://other.test/c' }),
      'issuer mismatch: expected',
    ],
    ['no issuer', idp => ({ jwks_uri: `${idp.url}/certs` }), 'names no issuer'],
    ['no jwks_uri', idp => ({ issuer: idp.url }), 'names no jwks_uri'],
    ['an array', () => [], 'names no issuer'],
    [
      'all in __proto__ (I-11)',
      idp => JSON.parse(`{"__proto__":{"issuer":"${idp.url}","jwks_uri":"${idp.url}/certs"}}`),
      'names no issuer',
    ],
    ['jwks_uri file:', idp => ({ issuer: idp.url, jwks_uri: 'file:///etc/passwd' }), 'neither https nor http'],
    ['jwks_uri plain http', idp => ({ issuer: idp.url, jwks_uri: 'http://idp.example/c' }), 'is not https'],
    ['jwks_uri elsewhere', idp => ({ issuer: idp.url, jwks_uri: 'https://10.0.0.1/c' }), 'another origin'],
    ['jwks_uri with a password', idp => ({ issuer: idp.url, jwks_uri: idp.url.replace('//', '//a:b@') }), 'password'],
    ['jwks_uri no URL', idp => ({ issuer: idp.url, jwks_uri: 'certs' }), 'is not a URL'],
  ]
  test.each(wrong)(
    'K-11 a discovery document with %s ends the start with a sentence',
    async (_name, body, sentence) => {
      issuer.pages.discovery = { body: body(issuer) }
      const error = await started().catch((thrown: unknown) => thrown)
      expect(error).toBeInstanceOf(StartError)
      expect((error as StartError).message).toContain(sentence)
      expect((error as StartError).exitCode).toBe(1)
    },
  )

  test('K-11 an issuer that is not https is for loopback only, unless allowed', async () => {
    const plain = gateway({}, 'http://idp.example')
    await expect(plain.authenticator.start()).rejects.toThrow('is not https')
  })

  test('re-discovery after three failures finds keys that moved; a wrong document then changes nothing (K-11)', async () => {
    const harness = await started()
    issuer.pages.jwks = down
    issuer.pages.discovery = { body: { issuer: 'https://other.test', jwks_uri: 'https://other.test' } }
    for (let fetches = 2; fetches <= 5; fetches++) {
      clock.runNext()
      await settled(harness, fetches)
    }
    expect(issuer.hits).toEqual({ discovery: 2, jwks: 4, other: 0 })
    expect(await ask(harness)).toBe('ok')
    issuer.pages = {}
    clock.runNext()
    await until(() => harness.authenticator.readiness().status === 'ok')
  })
})

describe('renewal', () => {
  test('K-02 the issuer dies at the end of the TTL: no call fails, at most one fetch a minute', async () => {
    const harness = await started()
    issuer.pages.jwks = down
    issuer.pages.discovery = down
    const at: number[] = []
    for (let fetches = 2; fetches <= 20; fetches++) {
      clock.runNext()
      await settled(harness, fetches)
      at.push(clock.monotonicMs())
      expect(await ask(harness)).toBe('ok')
    }
    expect(harness.authenticator.readiness()).toMatchObject({ status: 'stale' })
    const gaps = at.slice(8).map((_ms, i) => at[i + 8]! - at[i + 7]!)
    for (const gap of gaps) expect(gap).toBeGreaterThanOrEqual(60_000)
  })

  test('K-03 after 24 h of silence the keys are no longer used', async () => {
    const harness = await started()
    issuer.pages = { jwks: down, discovery: down }
    clock.advance(23 * HOUR + 3_500_000)
    await settled(harness, 2)
    expect(await ask(harness)).toBe('ok')
    const token = await issuer.token({ nowMs: clock.nowMs() })
    expect(await harness.outcome('ListSandboxes', { token })).toBe('ok')
    clock.advance(101_000)
    await until(() => clock.pending >= 1)
    expect(await harness.outcome('ListSandboxes', { token })).toBe(UNAVAILABLE)
    expect(harness.authenticator.readiness()).toMatchObject({ status: 'unavailable' })
  })

  test('K-04 the end of the TTL under 1 000 parallel calls: one fetch, old keys meanwhile', async () => {
    const harness = await started()
    const token = await issuer.token({ nowMs: clock.nowMs() + HOUR })
    let release = () => {}
    issuer.pages.jwks = (_request, response) => {
      release = () => void response.end(JSON.stringify({ keys: [key.jwk] }))
    }
    clock.advance(HOUR)
    const outcomes = await Promise.all(Array.from({ length: 1000 }, () => harness.outcome('ListSandboxes', { token })))
    expect(new Set(outcomes)).toEqual(new Set(['ok']))
    await until(() => issuer.hits.jwks === 2)
    release()
    await settled(harness, 2)
    expect(issuer.hits.jwks).toBe(2)
  })

  test('K-10 an empty set never replaces a good one', async () => {
    const harness = await started()
    for (const body of [{ keys: [] }, { keys: [{ kid: 'x' }] }]) {
      issuer.pages.jwks = { body }
      const fetches = harness.fetches.length
      await harness.authenticator.reload()
      expect(harness.fetches[fetches]).toBe('empty')
      expect(await ask(harness)).toBe('ok')
      expect(harness.authenticator.readiness().status).toBe('stale')
    }
    expect(await ask(harness, second)).toBe(UNKNOWN)
  })

  test('K-14, T-01 a jump of the wall clock causes no fetch', async () => {
    const harness = await started()
    clock.jumpWall(86_400_000)
    clock.advance(1000)
    clock.jumpWall(-2 * 86_400_000)
    clock.advance(1000)
    expect(await ask(harness)).toBe('ok')
    expect(issuer.hits.jwks).toBe(1)
  })

  test.each([0, 1])('a TTL of %d s is 30 s, a huge one a day (A-16)', async jwksTtlSecs => {
    const harness = await started({ jwksTtlSecs })
    clock.advance(29_000)
    expect(await ask(harness)).toBe('ok')
    expect(issuer.hits.jwks).toBe(1)
    clock.advance(1000)
    await settled(harness, 2)
    const rare = await started({ jwksTtlSecs: 1.8e19 })
    clock.advance(86_400_000)
    await settled(rare, 2)
  })
})

describe('unknown key ids', () => {
  test('K-05 a new key is good for the first call that uses it, at the price of one fetch', async () => {
    const harness = await started()
    issuer.keys = [key.jwk, second.jwk]
    expect(await Promise.all([ask(harness, second), ask(harness, second), ask(harness, second)])).toEqual([
      'ok',
      'ok',
      'ok',
    ])
    expect(issuer.hits.jwks).toBe(2)
  })

  test('J-44 a withdrawn key ends with the next fetch, tokens verified before included', async () => {
    const harness = await started()
    const token = await issuer.token()
    expect(await harness.outcome('ListSandboxes', { token })).toBe('ok')
    issuer.keys = [second.jwk]
    expect(await harness.outcome('ListSandboxes', { token })).toBe('ok')
    expect(await ask(harness, second)).toBe('ok')
    expect(await harness.outcome('ListSandboxes', { token })).toBe(UNKNOWN)
  })

  test('J-13, K-06 three fetches after a quiet time, then one in 30 s', async () => {
    const harness = await started()
    for (const kid of ['a', 'b', 'c', 'd', 'e']) expect(await ask(harness, third, kid)).toBe(UNKNOWN)
    expect(issuer.hits.jwks).toBe(1 + 3)
    issuer.keys = [key.jwk, third.jwk]
    expect(await ask(harness, third)).toBe(UNKNOWN)
    clock.advance(30_000)
    expect(await ask(harness, third)).toBe('ok')
    for (const kid of ['f', 'g']) expect(await ask(harness, second, kid)).toBe(UNKNOWN)
    expect(issuer.hits.jwks).toBe(1 + 3 + 1)
  })

  test('J-14 1 000 different unknown ids cause one fetch', async () => {
    const harness = await started()
    issuer.pages.jwks = (_request, response) =>
      void setTimeout(() => response.end(JSON.stringify({ keys: [key.jwk] })), 20)
    const tokens = await Promise.all(
      Array.from({ length: 1000 }, (_, i) => issuer.token({ header: { kid: `flood-${i}` } })),
    )
    const outcomes = await Promise.all(tokens.map(token => harness.outcome('ListSandboxes', { token })))
    expect(issuer.hits.jwks).toBe(2)
    expect(new Set(outcomes)).toEqual(new Set([UNKNOWN, UNAVAILABLE]))
    expect(await ask(harness)).toBe('ok')
  })

  test('a key published after a failed fetch works at once: failures are not remembered', async () => {
    const harness = await started()
    issuer.pages.jwks = down
    expect(await ask(harness, second)).toBe(UNAVAILABLE)
    issuer.pages.jwks = undefined
    issuer.keys = [key.jwk, second.jwk]
    expect(await ask(harness, second)).toBe('ok')
  })

  test('an unknown id is remembered for 30 s', async () => {
    const harness = await started()
    expect(await ask(harness, second)).toBe(UNKNOWN)
    expect(await ask(harness, second)).toBe(UNKNOWN)
    expect(issuer.hits.jwks).toBe(2)
    issuer.keys = [second.jwk]
    clock.advance(30_001)
    expect(await ask(harness, second)).toBe('ok')
  })
})

describe('hostile documents (K-07, K-08)', () => {
  test('K-07 a body that drips is given up after 5 s and leaves no socket', async () => {
    const harness = await started()
    issuer.pages.jwks = (_request, response) => void response.write('{"keys":')
    const waiting = ask(harness, second)
    await until(() => issuer.hits.jwks === 2)
    clock.advance(5000)
    expect(await waiting).toBe(UNAVAILABLE)
    expect(await ask(harness)).toBe('ok')
    await until(() => issuer.sockets.size === 0)
  })

  const garbage: [string, () => Page][] = [
    [
      'an endless body',
      () => (_request, response) => {
        const chunk = Buffer.alloc(16_384, 0x20)
        const more = () => {
          if (!response.destroyed && response.write(chunk)) setImmediate(more)
        }
        response.on('drain', more).on('error', () => {})
        more()
      },
    ],
    [
      'a gzip bomb',
      () => ({ headers: { 'content-encoding': 'gzip' }, body: zlib.gzipSync(Buffer.alloc(5_000_000, 0x20)) }),
    ],
    ['HTML', () => ({ body: '<html>' })],
    ['301 to elsewhere', () => ({ status: 301, headers: { location: 'http://localhost:9/keys' } })],
    ['{}', () => ({ body: {} })],
    ['keys an object', () => ({ body: { keys: {} } })],
    ['null', () => ({ body: null })],
    [
      '65 keys',
      () => ({
        body: { keys: Array.from({ length: 65 }, (_, i) => ({ kty: 'RSA', kid: `${i}`, n: 'x', e: 'AQAB' })) },
      }),
    ],
    ['5 000 keys', () => ({ body: { keys: Array.from({ length: 5000 }, (_, i) => ({ ...key.jwk, kid: `${i}` })) } })],
    ['500 with a good body', () => ({ status: 500, body: { keys: [second.jwk] } })],
    ['broken UTF-8', () => ({ body: Buffer.from('7b226b657973223a5b5d2c2278223a22ff227d', 'hex') })],
    ['a reset', () => request => void request.socket.destroy()],
  ]
  test.each(garbage)('K-08 %s is refused and the old keys stay', async (_name, page) => {
    const harness = await started()
    issuer.pages.jwks = page()
    expect(await ask(harness, second)).toBe(UNAVAILABLE)
    issuer.pages.jwks = undefined
    expect(await ask(harness)).toBe('ok')
    expect(harness.fetches).toEqual(['loaded', 'failed'])
  })

  test('K-09 bad members are dropped alone, one warning each; the good ones work', async () => {
    const small = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' })
    const n = key.jwk.n!
    const poisoned: [unknown, string][] = [
      [{ kty: 'oct', kid: 'oct', k: 'AAAA' }, 'key type'],
      [{ ...key.jwk, kid: 'enc', use: 'enc' }, 'not for signatures'],
      [{ ...key.jwk, kid: 'alg', alg: 'PS256' }, 'algorithm'],
      [{ ...key.jwk, kid: 'private', d: 'AAAA' }, 'private key'],
      [{ ...small, kid: 'small' }, '1024 bits'],
      [{ kty: 'RSA', kid: 'huge', n: Buffer.alloc(1025, 0xff).toString('base64url'), e: 'AQAB' }, '8200 bits'],
      [{ kty: 'RSA', kid: 'one', n, e: 'AQ' }, 'exponent'],
      [{ kty: 'RSA', kid: 'even', n, e: 'AQAA' }, 'exponent'],
      [{ kty: 'RSA', kid: 'no-n', e: 'AQAB' }, 'modulus or exponent'],
      [{ kty: 'RSA', kid: 'bad-n', n: '!!!', e: 'AQAB' }, 'modulus or exponent'],
      [{ kty: 'RSA', kid: 'padded', n: `${n}==`, e: 'AQAB' }, 'modulus or exponent'],
      [
        {
          kty: 'RSA',
          kid: 'zero',
          n: Buffer.concat([Buffer.alloc(1), Buffer.from(n, 'base64url')]).toString('base64url'),
          e: 'AQAB',
        },
        'modulus',
      ],
      [{ kty: 'EC', kid: 'curve', crv: 'P-256', x: 'AA', y: 'AA' }, 'algorithm'],
      [{ ...key.jwk, kid: 'ops', key_ops: ['sign'] }, 'not for verifying'],
      [{ ...key.jwk, kid: undefined }, 'no usable kid'],
      [{ ...key.jwk, kid: 5 }, 'no usable kid'],
      [{ kid: 'no-kty' }, 'key type'],
      [{ kty: 'constructor', kid: 'proto' }, 'key type'],
      // I-11: what a member inherits is not in it.
      [JSON.parse(`{"kid":"own","__proto__":${JSON.stringify(key.jwk)}}`), 'key type'],
      ['text', 'not an object'],
      [null, 'not an object'],
    ]
    issuer.keys = [key.jwk, ...poisoned.map(([member]) => member as never), second.jwk]
    const harness = await started()
    expect(await ask(harness)).toBe('ok')
    expect(await ask(harness, second)).toBe('ok')
    const reasons = harness.log.lines
      .filter(line => line.message.includes('is not used'))
      .map(line => line.fields['reason'])
    expect(reasons).toEqual(poisoned.map(([, reason]) => reason))
  })

  test('K-09 one id for two keys: both dropped, unless they are the same key', async () => {
    issuer.keys = [
      key.jwk,
      { ...second.jwk, kid: 'dup' },
      { ...third.jwk, kid: 'dup' },
      { ...second.jwk },
      { ...second.jwk },
    ]
    const harness = await started()
    expect(await ask(harness, second)).toBe('ok')
    expect(await ask(harness, second, 'dup')).toBe(UNKNOWN)
    expect(await ask(harness, third, 'dup')).toBe(UNKNOWN)
    expect(issuer.hits.jwks).toBe(1)
  })

  test('a bad x5c, a missing alg and use, an empty kid: the key is good all the same', async () => {
    const { alg: _alg, use: _use, ...bare } = key.jwk
    issuer.keys = [
      { ...bare, kid: '' },
      { ...key.jwk, x5c: ['AAAA'] },
    ]
    const harness = await started()
    expect(await ask(harness, key, '')).toBe('ok')
    expect(await ask(harness)).toBe('ok')
  })
})
