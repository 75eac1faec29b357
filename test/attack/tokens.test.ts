/**
 * The token attack list of reliability §7 (J), and the K and A rows that need a process, against the executable. Every
 * refused call carries a body that no decoder survives: the answer about the token proves that it was never decoded.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import http from 'node:http'
import { exportSPKI } from 'jose'
import { systemClock } from '../../src/base/clock.ts'
import { freePort } from '../../src/dev/free-port.ts'
import { LIMITS } from '../../src/limits.ts'
import { type GatewayProcess, SECRET, startGateway, until } from '../kit/gateway.ts'
import {
  type FakeIssuer,
  mintToken,
  type SigningKey,
  signingKey,
  signRaw,
  startIssuer,
  type TokenOptions,
} from '../kit/issuer.ts'
import { type BareAnswer, type BareClient, callLiterally, openBare, UNDECODABLE } from '../kit/raw-call.ts'
import { runToEnd } from '../kit/run-to-end.ts'
import { CALLERS, MATRIX, SCOPE_CALLERS } from '../unit/auth/methods.expected.ts'

setDefaultTimeout(30_000)

const LIST = '/openshell.v1.OpenShell/ListSandboxes'
const LIST_PROVIDERS = '/openshell.v1.OpenShell/ListProviders'
const CREATE_PROVIDER = '/openshell.v1.OpenShell/CreateProvider'
const UPDATE_CONFIG = '/openshell.v1.OpenShell/UpdateConfig'
const BUNDLE = '/openshell.inference.v1.Inference/GetInferenceBundle'

const ABSENT = ['--compute-driver-socket', '/run/openshell-none/compute.sock']
const EMPTY = Buffer.alloc(5)
const ACCEPTED: BareAnswer = { http: 200, code: 0, details: '' }
const refusedWith = (details: string): BareAnswer => ({ http: 200, code: 16, details })
const MISSING = 'missing authorization header'
const INVALID = 'invalid token'
const because = (word: string) => `${INVALID}: ${word}`
const NO_USER: BareAnswer = { http: 200, code: 7, details: "role 'openshell-user' required" }
const NO_ADMIN: BareAnswer = { http: 200, code: 7, details: "role 'openshell-admin' required" }
const ADMIN = { realm_access: { roles: ['openshell-admin', 'openshell-user'] } }

let key: SigningKey
let other: SigningKey
let ec: SigningKey
let issuer: FakeIssuer
let gateway: GatewayProcess
let metricsPort: number
let client: BareClient

const oidcGateway = async (oidc: FakeIssuer, args: string[] = [], env: Record<string, string> = {}) => {
  const started = await startGateway({
    args: [...ABSENT, '--oidc-issuer', oidc.url, ...args],
    env,
  })
  await started.logged(line => line.message.startsWith('OIDC JWT validation enabled'))
  return started
}

const bugsOf = async (port: number): Promise<string | undefined> =>
  /^openshell_gateway_bugs_total (\d+)$/m.exec(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text())?.[1]

beforeAll(async () => {
  key = await signingKey('k1')
  other = await signingKey('elsewhere')
  ec = await signingKey('ec1', 'ES256')
  issuer = await startIssuer(key)
  const weak = { kty: 'RSA', kid: 'weak', n: Buffer.alloc(128, 0xff).toString('base64url'), e: 'AQAB' }
  issuer.keys = [key.jwk, ec.jwk, weak]
  metricsPort = await freePort(0, true)
  gateway = await oidcGateway(issuer, [
    ...['--metrics-port', String(metricsPort), '--metrics-bind-address', '127.0.0.1'],
    ...['--log-level', 'debug', '--oidc-scopes-claim', ''],
  ])
  client = openBare(gateway.address)
})

afterAll(async () => {
  client?.close()
  const code = await gateway?.stop()
  await issuer?.close()
  expect(code).toBe(0)
})

const mint = (options?: TokenOptions) => issuer.token(options)
const withClaims = (claims: Record<string, unknown>) => mint({ claims })
const now = () => Math.floor(Date.now() / 1000)
const claimsText = (extra = '') => {
  const claims = { iss: issuer.url, aud: 'openshell-cli', sub: 'u', exp: now() + 600 }
  return `${JSON.stringify({ ...claims, realm_access: { roles: ['openshell-user'] } }).slice(0, -1)}${extra}}`
}
const raw = (payload: string | Uint8Array, header = '{"alg":"RS256","kid":"k1"}') => signRaw(key, header, payload)
const forgeHeader = async (header: Record<string, unknown>): Promise<string> => {
  const [, body, signature] = (await mint()).split('.')
  return [Buffer.from(JSON.stringify(header)).toString('base64url'), body, signature].join('.')
}
const hmacToken = async (secret: string): Promise<string> => {
  const [, body] = (await mint()).split('.')
  const input = `${Buffer.from('{"alg":"HS256","kid":"k1"}').toString('base64url')}.${body}`
  return `${input}.${new Bun.CryptoHasher('sha256', secret || ' ').update(input).digest('base64url')}`
}
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

type Answer = string | BareAnswer
type Row = readonly [name: string, answer: Answer, token: () => string | Promise<string>, path?: string]

const ok = (name: string, token: Row[2]): Row => [name, ACCEPTED, token]
const no = (name: string, answer: string, token: Row[2]): Row => [name, answer, token]
const signature = async () => (await mint()).split('.')[2]!
const parts = async () => (await mint()).split('.') as [string, string, string]

/** TABLE one row per token of the list; none of them may make the gateway ask its issuer. */
const TOKENS: readonly Row[] = [
  ...['none', 'NoNe', 'rs256', '', 5, null].map(alg =>
    no(`J-02 alg ${JSON.stringify(alg)}, empty signature`, INVALID, async () => {
      const [head, body] = (await forgeHeader({ alg, kid: 'k1' })).split('.')
      return `${head}.${body}.`
    }),
  ),
  no('J-03 HS256 keyed with the public key as PEM', because('InvalidAlgorithm'), async () =>
    hmacToken(await exportSPKI(key.publicKey)),
  ),
  no('J-03 HS256 keyed with the public key as JWK', because('InvalidAlgorithm'), () =>
    hmacToken(JSON.stringify(key.jwk)),
  ),
  no('J-04 HS256 keyed with nothing', because('InvalidAlgorithm'), () => hmacToken('')),
  ...['RS384', 'RS512', 'PS256', 'ES256', 'EdDSA'].map(alg =>
    no(`J-05 ${alg} header on an RS256 key`, because('InvalidAlgorithm'), () => forgeHeader({ alg, kid: 'k1' })),
  ),
  no('J-05 an EC key of the set', because('unknown signing key'), () => mint({ key: ec })),
  no('J-06 jwk header', because('InvalidSignature'), () => mint({ key: other, header: { kid: 'k1', jwk: other.jwk } })),
  no('J-08 x5c header', because('InvalidSignature'), () => mint({ key: other, header: { kid: 'k1', x5c: ['AAAA'] } })),
  no('J-09 unknown crit', INVALID, () => forgeHeader({ alg: 'RS256', kid: 'k1', crit: ['x'], x: 1 })),
  no('J-09 b64 false', INVALID, () => forgeHeader({ alg: 'RS256', kid: 'k1', crit: ['b64'], b64: false })),
  no('J-10 no kid', because('missing kid'), () => mint({ header: { kid: undefined } })),
  ...[5, ['k1'], { a: 1 }, true].map(kid =>
    no(`J-11 kid ${JSON.stringify(kid)}`, INVALID, () => forgeHeader({ alg: 'RS256', kid })),
  ),
  no('J-11 kid of 10 kB', because('unknown signing key'), () => mint({ header: { kid: 'k'.repeat(10_000) } })),
  no('J-12, J-43 a key of another issuer under our kid', because('InvalidSignature'), () =>
    mint({ key: other, header: { kid: 'k1' } }),
  ),
  no('J-13 unknown kid of another issuer', because('unknown signing key'), () =>
    mint({ key: other, claims: { iss: 'https://other.test' } }),
  ),
  no('J-15 expired 62 s ago', because('ExpiredSignature'), () => withClaims({ iat: undefined, exp: now() - 62 })),
  ok('J-15 expired 30 s ago', () => withClaims({ iat: undefined, exp: now() - 30 })),
  ...[undefined, 'soon', null, true, {}].map(exp =>
    no(`J-16, J-17 exp ${JSON.stringify(exp)}`, because('Missing required claim: exp'), () => withClaims({ exp })),
  ),
  ...['1e308', '1e999', '9007199254740993', '4102444800.5'].map(exp =>
    no(`J-18 exp ${exp}`, INVALID, () => raw(`{"iss":"${issuer.url}","aud":"openshell-cli","sub":"u","exp":${exp}}`)),
  ),
  no('J-18 exp -5', because('Missing required claim: exp'), () => withClaims({ exp: -5 })),
  no('J-19 nbf 120 s ahead', because('ImmatureSignature'), () => withClaims({ nbf: now() + 120 })),
  no('J-20 iat an hour ahead', because('ImmatureSignature'), () => withClaims({ iat: now() + 3600 })),
  ok('J-21 a lifetime of five years', () => withClaims({ exp: now() + 5 * 365 * 86_400 })),
  ...[
    () => 'https://other.test',
    () => `${issuer.url}/`,
    () => issuer.url.replace('http', 'HTTP'),
    () => [issuer.url],
    () => undefined,
    () => issuer.url.replace('o', '\u043e'),
  ].map((iss, index) => no(`J-22 iss ${index}`, because('InvalidIssuer'), () => withClaims({ iss: iss() }))),
  ...[
    'other',
    'openshell',
    'openshell-cli-x',
    { 'openshell-cli': 1 },
    null,
    [],
    ['account', 1],
    ['openshell-cli', 1],
  ].map(aud =>
    no(`J-23 aud ${JSON.stringify(aud)}`, because('InvalidAudience'), () => withClaims({ aud, azp: 'openshell-cli' })),
  ),
  no('J-23, decision 1 no aud, no client', because('InvalidAudience'), () => withClaims({ aud: undefined })),
  no('J-23, decision 1 no aud, client not listed', because('InvalidAudience'), () =>
    withClaims({ aud: undefined, azp: 'other' }),
  ),
  ok('J-23, decision 1 no aud, client listed', () => withClaims({ aud: undefined, azp: 'openshell-ci' })),
  ok('J-24 aud with ours in an array', () => withClaims({ aud: ['account', 'openshell-cli'] })),
  ...[undefined, 5, '', 's'.repeat(10_000), 'a\u0007b', 'a\u0000'].map((sub, index) =>
    no(`J-25, J-26 sub ${index}`, INVALID, () => withClaims({ sub })),
  ),
  ...[',"sub":"v"', ',"exp":1', ',"realm_access":{"roles":["openshell-admin"]}', ',"s\\u0075b":"v"'].map(extra =>
    no(`J-27 twice: ${extra}`, INVALID, () => raw(claimsText(extra))),
  ),
  [
    'J-28 roles in __proto__',
    NO_ADMIN,
    () => raw(claimsText(',"__proto__":{"realm_access":{"roles":["openshell-admin"]}}')),
    CREATE_PROVIDER,
  ],
  ...[5, null, { 'openshell-user': true }, [['openshell-user']], [1, null]].map(
    (roles): Row => [`J-29 roles ${JSON.stringify(roles)}`, NO_USER, () => withClaims({ realm_access: { roles } })],
  ),
  no('J-30 1 025 roles', INVALID, () =>
    withClaims({ realm_access: { roles: [...Array(1024).fill('r'), 'openshell-user'] } }),
  ),
  no('J-30 a role of 257 bytes', INVALID, () =>
    withClaims({ realm_access: { roles: ['openshell-user', 'r'.repeat(257)] } }),
  ),
  ...[
    'openshell-\u0430dmin',
    'OpenShell-Admin',
    'openshell-admin ',
    ' openshell-admin',
    'openshell-admin\u0000',
    'openshell-\u200dadmin',
    '\uff4fpenshell-admin',
    'openshell-admin\u0301',
  ].map(
    (role): Row => [
      `J-32 ${JSON.stringify(role)} is not the admin role`,
      NO_ADMIN,
      () => withClaims({ realm_access: { roles: [role, 'openshell-user'] } }),
      CREATE_PROVIDER,
    ],
  ),
  ...['logout+jwt', 'dpop+jwt', 'secevent+jwt', 'entity-statement+jwt'].map(typ =>
    no(`J-35 typ ${typ}`, INVALID, () => mint({ header: { typ } })),
  ),
  ok('J-35 typ at+jwt', () => mint({ header: { typ: 'at+jwt' } })),
  ok('J-36 an id token for us', () => withClaims({ nonce: 'n', at_hash: 'h' })),
  no('J-37 no signature', because('InvalidSignature'), async () => `${(await parts()).slice(0, 2).join('.')}.`),
  no('J-37 cut signature', because('InvalidSignature'), async () => (await mint()).slice(0, -100)),
  no('J-37 one bit flipped', because('InvalidSignature'), async () => {
    const [head, body, sign] = await parts()
    return `${head}.${body}.${sign[0] === 'A' ? 'B' : 'A'}${sign.slice(1)}`
  }),
  no('J-37 signature of another message', because('InvalidSignature'), async () => {
    const [head, body] = (await withClaims({ sub: 'else' })).split('.')
    return `${head}.${body}.${await signature()}`
  }),
  ok('J-38 unused bits of the last character differ', async () => {
    const token = await mint()
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    return token.slice(0, -1) + alphabet[alphabet.indexOf(token.at(-1)!) ^ 1]
  }),
  no('J-39 padding', INVALID, async () => `${await mint()}==`),
  no('J-39 the other alphabet', INVALID, async () => {
    const [head, body, sign] = await parts()
    return `${head}.${body}.+/${sign.slice(2)}`
  }),
  no('J-39 white space inside', INVALID, async () => (await mint()).replace('.', ' .')),
  no('J-40 two parts', INVALID, async () => (await parts()).slice(0, 2).join('.')),
  no('J-40 four parts', INVALID, async () => `${await mint()}.x`),
  no('J-40 five parts', INVALID, async () => `${await mint()}.x.y`),
  no('J-41 a right token of over 16 KiB', INVALID, () => withClaims({ pad: 'p'.repeat(12_300) })),
  ok('J-41 a right token of nearly 16 KiB', () => withClaims({ pad: 'p'.repeat(11_500) })),
  ...['[1]', '"x"', 'null', '', '{x'].map(payload => no(`J-42 payload ${payload}`, INVALID, () => raw(payload))),
  no('J-42 nesting of 2 000', INVALID, () => raw(claimsText(`,"d":${'['.repeat(2000)}${']'.repeat(2000)}`))),
  no('J-42 a byte order mark', INVALID, () => raw(`\ufeff${claimsText()}`)),
  no('J-42 a lone surrogate', INVALID, () => raw(claimsText(',"x":"\\ud800"'))),
  no('J-42 broken UTF-8', INVALID, () =>
    raw(
      Buffer.concat([Buffer.from(claimsText().slice(0, -1)), Buffer.from([0x2c, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])]),
    ),
  ),
  no('J-45 a key of 1 024 bits in the set', because('unknown signing key'), () => mint({ header: { kid: 'weak' } })),
]

/** Rows whose key id the issuer might have published a moment ago: they may cost a fetch, at most three in a burst. */
const MAY_FETCH = /^J-45/

describe('J tokens', () => {
  test.each(TOKENS)('%s', async (name, answer, token, path = LIST) => {
    const fetches = issuer.hits.jwks
    const accepted = answer === ACCEPTED
    const got = await client.ask(path, bearer(await token()), accepted ? EMPTY : UNDECODABLE)
    expect(got).toEqual(typeof answer === 'string' ? refusedWith(answer) : answer)
    if (!MAY_FETCH.test(name)) expect(issuer.hits.jwks).toBe(fetches)
  })

  test('J-11 key ids that look like paths, SQL or members of objects are unknown, and cost three fetches in all', async () => {
    for (const kid of ['../../dev/null', "' OR 1=1 --", '__proto__', 'constructor', ''])
      expect(await client.ask(LIST, bearer(await mint({ header: { kid } })))).toEqual(
        refusedWith(because('unknown signing key')),
      )
    expect(issuer.hits.jwks).toBeLessThanOrEqual(1 + LIMITS.unknownKidBurst)
  })

  test('J-13, J-14 1 000 different unknown key ids at once: no fetch beyond the burst, all refused', async () => {
    const tokens = await Promise.all(
      Array.from({ length: 1000 }, (_, n) => raw(claimsText(), `{"alg":"RS256","kid":"x${n}"}`)),
    )
    const answers = await Promise.all(tokens.map(token => client.ask(LIST, bearer(token))))
    for (const answer of answers) expect(answer).toEqual(refusedWith(because('unknown signing key')))
    expect(issuer.hits.jwks).toBeLessThanOrEqual(1 + LIMITS.unknownKidBurst)
  })

  test('J-07 addresses in the header are never called', async () => {
    let connections = 0
    const trap = http
      .createServer()
      .on('connection', () => connections++)
      .listen(0, '127.0.0.1')
    const url = `http://127.0.0.1:${(trap.address() as { port: number }).port}/`
    for (const member of [{ jku: url }, { x5u: url }]) {
      const forged = await mint({ key: other, header: { kid: 'k1', ...member } })
      expect(await client.ask(LIST, bearer(forged))).toEqual(refusedWith(because('InvalidSignature')))
      expect(await client.ask(LIST, bearer(await mint({ header: member })), EMPTY)).toEqual(ACCEPTED)
    }
    expect(connections).toBe(0)
    trap.close()
  })

  test('J-41 a token of 1 MB does not reach the decoder, and the port goes on serving', async () => {
    const own = openBare(gateway.address)
    const got = await own.ask(LIST, bearer('a'.repeat(1_000_000)))
    expect(got.code === 0 || got.http === 200).toBe(false)
    own.close()
    expect(await client.ask(LIST, bearer(await mint()), EMPTY)).toEqual(ACCEPTED)
  })

  test('J-46 a token is good from another connection', async () => {
    const token = await mint()
    const elsewhere = openBare(gateway.address)
    expect(await elsewhere.ask(LIST, bearer(token), EMPTY)).toEqual(ACCEPTED)
    expect(await client.ask(LIST, bearer(token), EMPTY)).toEqual(ACCEPTED)
    elsewhere.close()
  })
})

describe('J headers', () => {
  test.each([
    ['none', {}, MISSING],
    ['empty', { authorization: '' }, MISSING],
    ['Basic', { authorization: 'Basic dXNlcjpwYXNz' }, MISSING],
    ['the scheme alone', { authorization: 'Bearer' }, MISSING],
    ['a tab behind the scheme', { authorization: 'Bearer\tx' }, MISSING],
    ['J-48 a forged marker', { 'x-openshell-auth-source': 'sandbox-secret' }, MISSING],
    ['J-49 authorization_', { authorization_: 'Bearer TOKEN' }, MISSING],
    ['J-50 a cookie', { cookie: 'authorization=Bearer TOKEN; access_token=TOKEN' }, MISSING],
    ['A-16 a probe by its user agent', { 'user-agent': 'kube-probe/1.30', 'x-forwarded-for': '127.0.0.1' }, MISSING],
  ])('J-01 %s', async (_name, headers, answer) => {
    const token = await mint()
    const filled = Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, String(value).replaceAll('TOKEN', token)]),
    )
    for (const path of [LIST, UPDATE_CONFIG]) expect(await client.ask(path, filled)).toEqual(refusedWith(answer))
  })

  test('J-49 x_sandbox_secret is no secret', async () => {
    expect(await client.ask(BUNDLE, { x_sandbox_secret: SECRET })).toEqual(
      refusedWith('sandbox secret required for this method'),
    )
  })

  test('J-50 a token in the query or in a trailer is not read', async () => {
    const token = await mint()
    expect((await client.ask(`${LIST}?access_token=${token}`)).code).toBe(16)
    expect(await client.ask(LIST, {}, EMPTY, bearer(token))).toEqual(refusedWith(MISSING))
  })

  test('J-01 two values are refused even when both are good; J-49 a name in capitals is no header', async () => {
    const value = `Bearer ${await mint()}`
    const before = gateway.log.length
    await callLiterally(gateway.port, LIST_PROVIDERS, [
      ['authorization', value],
      ['authorization', value],
    ])
    const audit = await until('the audit line', () =>
      gateway.log.slice(before).find(line => line.message === 'audit' && line['method'] === 'ListProviders'),
    )
    expect(audit).toMatchObject({ outcome: 'denied', code: 'UNAUTHENTICATED' })
    expect(String(audit['reason'])).toContain('repeated')
    await callLiterally(gateway.port, LIST_PROVIDERS, [['Authorization', value]])
    const allowed = gateway.log.slice(before).filter(line => line['path'] === LIST_PROVIDERS && line['code'] === 'OK')
    expect(allowed).toEqual([])
  })

  test('J-47 a wrong secret beside a good token on a method of both kinds leaves the token to decide', async () => {
    const token = await withClaims(ADMIN)
    const got = await client.ask(UPDATE_CONFIG, { ...bearer(token), 'x-sandbox-secret': 'not-the-secret' })
    expect(got.code).not.toBe(16)
    expect(got.code).not.toBe(7)
    const alone = await client.ask(UPDATE_CONFIG, { 'x-sandbox-secret': 'not-the-secret' })
    expect(alone).toEqual(refusedWith(MISSING))
  })
})

describe('J claim paths', () => {
  test.each([
    ['an empty segment', 'realm_access..roles'],
    ['50 segments', Array(50).fill('a').join('.')],
  ])('J-31 a roles claim with %s ends the start', async (_name, path) => {
    const ended = await runToEnd([
      '--db-url',
      'sqlite::memory:',
      '--disable-tls',
      '--port',
      '0',
      '--bind-address',
      '127.0.0.1',
      '--compute-driver-socket',
      '/run/openshell-none/c.sock',
      '--oidc-issuer',
      issuer.url,
      '--oidc-roles-claim',
      path,
    ])
    expect(ended.code).toBe(2)
    expect(ended.stderr).toContain('--oidc-roles-claim')
  })

  test('J-31 a path into the prototype finds no role', async () => {
    const odd = await oidcGateway(issuer, ['--oidc-roles-claim', 'constructor.name'])
    const own = openBare(odd.address)
    expect(await own.ask(LIST, bearer(await mint()))).toEqual(NO_USER)
    own.close()
    expect(await odd.stop()).toBe(0)
  })

  test('J-33, J-34 scopes: white space separates, only whole equal words count', async () => {
    const scoped = await oidcGateway(issuer, ['--oidc-scopes-claim', 'scope'])
    const own = openBare(scoped.address)
    const ask = async (scope: unknown) => own.ask(LIST, bearer(await withClaims({ scope })), EMPTY)
    for (const scope of ['  sandbox:read   x ', 'openid\nsandbox:read', [1, null, 'sandbox:read'], 'openshell:all'])
      expect(await ask(scope)).toEqual(ACCEPTED)
    const missing: BareAnswer = { http: 200, code: 7, details: "scope 'sandbox:read' required" }
    for (const scope of ['sandbox:read,x', ['openid sandbox:read'], 7, 'xopenshell:all', 'OPENSHELL:ALL', 'sandbox:*'])
      expect(await ask(scope)).toEqual(missing)
    own.close()
    expect(await scoped.stop()).toBe(0)
  })
})

const OUTCOMES: Readonly<Record<string, string>> = {
  M: `16 ${MISSING}`,
  R: '16 sandbox secret required for this method',
  W: '16 invalid sandbox secret',
  S: '7 supervisor RPCs require a sandbox principal',
  u: "7 role 'openshell-user' required",
  a: "7 role 'openshell-admin' required",
}
const INFERENCE = new Set(['GetInferenceBundle', 'GetClusterInference', 'SetClusterInference'])
const pathOf = (rpc: string) => `/openshell.${INFERENCE.has(rpc) ? 'inference.v1.Inference' : 'v1.OpenShell'}/${rpc}`

/** Who was refused by authentication or authorization; everything else got as far as the message, which is none. */
const verdict = ({ code, details }: BareAnswer) => (code === 16 || code === 7 ? `${code} ${details}` : '.')

describe('A-01, A-02 every RPC × 16 callers, over the wire', () => {
  let scoped: GatewayProcess
  let scopedClient: BareClient
  beforeAll(async () => {
    scoped = await oidcGateway(issuer, ['--oidc-scopes-claim', 'scope'])
    scopedClient = openBare(scoped.address)
  })
  afterAll(async () => {
    scopedClient.close()
    await scoped.stop()
  })

  test('each gets what the hand-written table says, and no undecodable body is an INTERNAL of a refused caller', async () => {
    const user = await mint()
    const headers: Record<(typeof CALLERS)[number], Record<string, string>> = {
      nothing: {},
      'wrong secret': { 'x-sandbox-secret': 'not-the-secret' },
      secret: { 'x-sandbox-secret': SECRET },
      user: bearer(user),
      admin: bearer(await withClaims(ADMIN)),
      'secret and user': { ...bearer(user), 'x-sandbox-secret': SECRET },
      'no role': bearer(await withClaims({ realm_access: { roles: [] } })),
    }
    const scopeTokens = await Promise.all(
      SCOPE_CALLERS.map(scope => withClaims({ ...ADMIN, scope: `openid ${scope}` })),
    )
    const got: Record<string, string[]> = {}
    const expected: Record<string, string[]> = {}
    for (const line of MATRIX.trim().split('\n')) {
      const [rpc = '', plainly = '', withScopes = '', scope = ''] = line.split('|').map(cell => cell.trim())
      const say = (letter: string) => (letter === 's' ? `7 scope '${scope}' required` : (OUTCOMES[letter] ?? '.'))
      // Health takes no token and every body is decoded.
      expected[rpc] = [...plainly.split(' '), ...withScopes.split(' ')].map(say)
      const answers = await Promise.all([
        ...CALLERS.map(caller => client.ask(pathOf(rpc), headers[caller])),
        ...scopeTokens.map(token => scopedClient.ask(pathOf(rpc), bearer(token))),
      ])
      got[rpc] = answers.map(verdict)
    }
    expect(got).toEqual(expected)
  })
})

test('O-01 each refused call and each change by a user leaves one audit line that says who, what, and how it ended', async () => {
  const headers = bearer(await withClaims({ ...ADMIN, sub: 'auditor', azp: 'openshell-ci' }))
  const expected: Record<string, string> = {}
  for (const line of MATRIX.trim().split('\n')) {
    const [rpc = '', plainly = '', , scope = ''] = line.split('|').map(cell => cell.trim())
    const { code } = await client.ask(pathOf(rpc), headers)
    const asAdmin = plainly.split(' ')[CALLERS.indexOf('admin')]
    if (asAdmin !== '.') expected[rpc] = `denied ${code}`
    else if (scope.endsWith(':write')) expected[rpc] = `failed ${code}`
  }
  const lines = () => gateway.log.filter(line => line.message === 'audit' && line['subject'] === 'auditor')
  await until('the last line', () => lines().some(line => line['method'] === 'SetClusterInference'))
  const codes: Record<string, number> = { INTERNAL: 13, PERMISSION_DENIED: 7, UNAUTHENTICATED: 16 }
  const seen = lines().map(line => [line['method'], `${line['outcome']} ${codes[String(line['code'])]}`])
  // A secret was asked for, so nobody looked at the token: that line knows no subject.
  for (const [rpc, outcome] of Object.entries(expected)) if (outcome === 'denied 16') delete expected[rpc]
  expect(Object.fromEntries(seen)).toEqual(expected)
  expect(seen).toHaveLength(Object.keys(expected).length)
  for (const line of lines())
    expect(line).toMatchObject({
      issuer: issuer.url,
      client: 'openshell-ci',
      peer: '127.0.0.1',
      call_id: expect.any(String),
    })
})

test('O-06 the call id joins all lines of a call; the client’s own id stands beside it when it is a plain word', async () => {
  const headers = bearer(await withClaims({ ...ADMIN, sub: 'correlator' }))
  const lines = async (sent: string) => {
    const before = gateway.log.length
    await client.ask(CREATE_PROVIDER, { ...headers, 'x-request-id': sent }, EMPTY)
    const response = () => gateway.log.slice(before).find(line => line.message === 'response')
    await until('the line of the call', response)
    return gateway.log.slice(before).filter(line => line['call_id'] === response()!['call_id'])
  }
  for (const sent of ['r-1', 'R'.repeat(64)]) {
    const found = await lines(sent)
    expect(found.map(line => line.message)).toEqual(['audit', 'response'])
    expect(found.map(line => line['request_id'])).toEqual([sent, sent])
  }
  for (const sent of ['R'.repeat(65), 'a b', 'a_b', 'a"b', '{}', '\u00e9', ''])
    for (const line of await lines(sent)) expect(line).not.toHaveProperty('request_id')
  await client.ask(LIST, { authorization: 'Bearer x', 'x-request-id': 'refused-1' })
  expect(await gateway.logged(line => line['request_id'] === 'refused-1')).toMatchObject({ outcome: 'denied' })
})

describe('A-08 guessing the sandbox secret', () => {
  test('after 20 wrong ones answers are held back, after 50 the connection ends; a right one still passes', async () => {
    const fresh = await oidcGateway(issuer)
    const guesser = openBare(fresh.address)
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, n) => guesser.ask(BUNDLE, { 'x-sandbox-secret': `guess-${n}` })),
    )
    const counted = answers.filter(answer => answer.details === 'invalid sandbox secret').length
    expect(counted).toBeLessThanOrEqual(LIMITS.secretFailures)
    expect(answers.some(answer => answer.code === 0)).toBe(false)
    await until('the connection to end', () => !guesser.isOpen)
    const honest = openBare(fresh.address)
    expect((await honest.ask(BUNDLE, { 'x-sandbox-secret': SECRET })).code).not.toBe(16)
    const held = performance.now()
    expect((await honest.ask(BUNDLE, { 'x-sandbox-secret': 'guess' })).code).toBe(8)
    expect(performance.now() - held).toBeGreaterThan(LIMITS.secretPenaltyMs * 0.9)
    honest.close()
    expect(await fresh.stop()).toBe(0)
  })
})

describe('K the issuer', () => {
  test('K-01 not there at start: the gateway stays, says UNAVAILABLE and why, and takes tokens as soon as it comes', async () => {
    const port = await freePort(0, true)
    const url = `http://127.0.0.1:${port}/realms/openshell`
    const early = await startGateway({
      args: [...ABSENT, '--oidc-issuer', url],
    })
    const token = await mintToken(url, key)
    expect(await early.call('ListSandboxes', {}, { token })).toEqual({
      code: 'UNAVAILABLE',
      details: 'OIDC key refresh failed',
    })
    expect((await early.call('Health')).code).toBe('OK')
    const line = await early.logged(entry => entry.message.startsWith('keys of the issuer cannot be read'))
    expect(String(line['problem'])).toContain(url)
    const late = await startIssuer(key, undefined, port)
    await until(
      'the gateway to take the token',
      async () => (await early.call('ListSandboxes', {}, { token })).code === 'OK',
    )
    expect(await early.stop()).toBe(0)
    await late.close()
  })

  test('K-02 gone later: tokens are judged with the keys that are held, also after a reload', async () => {
    const mortal = await startIssuer(key)
    const own = await oidcGateway(mortal)
    const token = await mortal.token()
    await mortal.close()
    own.child.kill('SIGHUP')
    await own.logged(entry => entry.message.startsWith('keys of the issuer cannot be read'))
    for (let n = 0; n < 20; n++) {
      expect(
        (await own.call('ListSandboxes', {}, { token: await mortal.token({ claims: { jti: `${n}` } }) })).code,
      ).toBe('OK')
      expect((await own.call('ListSandboxes', {}, { token })).code).toBe('OK')
    }
    expect(await own.stop()).toBe(0)
  })

  test('K-05, J-44 a rotation: the first call with the new key passes, the old key is out from then on', async () => {
    const rotating = await startIssuer(key)
    const own = await oidcGateway(rotating)
    const old = await rotating.token()
    expect((await own.call('ListSandboxes', {}, { token: old })).code).toBe('OK')
    rotating.keys = [other.jwk]
    expect((await own.call('ListSandboxes', {}, { token: await rotating.token({ key: other }) })).code).toBe('OK')
    expect(rotating.hits.jwks).toBe(2)
    expect(await own.call('ListSandboxes', {}, { token: old })).toEqual({
      code: 'UNAUTHENTICATED',
      details: because('unknown signing key'),
    })
    expect(await own.stop()).toBe(0)
    await rotating.close()
  })

  test('K-07, K-08 dripping, endless, huge, foreign and empty key sets: refused, ended, and the held keys go on', async () => {
    const odd = await startIssuer(key)
    const own = await oidcGateway(odd)
    const token = await odd.token()
    const reload = async () => {
      const before = odd.hits.jwks
      own.child.kill('SIGHUP')
      await until('a fetch', () => odd.hits.jwks > before)
    }
    const many = { keys: Array.from({ length: 5000 }, (_, n) => ({ ...other.jwk, kid: `n${n}` })) }
    for (const body of ['<html>', '{}', '{"keys":{}}', '[]', 'null', '{"keys":[', many, { keys: [] }]) {
      odd.pages.jwks = { body }
      await reload()
      await until('the fetch to end', () => odd.sockets.size === 0)
      expect((await own.call('ListSandboxes', {}, { token: await odd.token() })).code).toBe('OK')
    }
    let elsewhere = 0
    const trap = http
      .createServer((_request, response) => {
        elsewhere++
        response.end(JSON.stringify({ keys: [other.jwk] }))
      })
      .listen(0, '127.0.0.1')
    const trapUrl = `http://127.0.0.1:${(trap.address() as { port: number }).port}/`
    odd.pages.jwks = { status: 301, headers: { location: trapUrl } }
    await reload()
    await until('the fetch to end', () => odd.sockets.size === 0)
    expect(elsewhere).toBe(0)
    trap.close()

    let sent = 0
    odd.pages.jwks = (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      const more = () => {
        while (!response.destroyed && sent < 100_000_000) {
          sent += 65_536
          if (!response.write(' '.repeat(65_536))) return void response.once('drain', more)
        }
      }
      more()
    }
    await reload()
    await until('the endless document to be cut', () => odd.sockets.size === 0)
    // What the kernel's buffers hold comes on top of what the gateway reads.
    expect(sent).toBeLessThan(20_000_000)

    const drips = new Set<ReturnType<typeof systemClock.after>>()
    odd.pages.jwks = (_request, response) => {
      response.writeHead(200)
      const drip = () => {
        response.write(' ')
        if (!response.destroyed) drips.add(systemClock.after(100, drip))
      }
      drip()
    }
    await reload()
    const begunMs = performance.now()
    const waits = await Promise.all(
      Array.from({ length: 50 }, async (_, n) =>
        own.call('ListSandboxes', {}, { token: await odd.token({ claims: { jti: `${n}` } }) }),
      ),
    )
    for (const answer of waits) expect(answer.code).toBe('OK')
    expect(performance.now() - begunMs).toBeLessThan(LIMITS.issuerFetchMs)
    await until('the dripping document to be cut', () => odd.sockets.size === 0, LIMITS.issuerFetchMs + 2000)
    for (const drip of drips) drip.cancel()
    expect((await own.call('ListSandboxes', {}, { token })).code).toBe('OK')
    expect(await own.stop()).toBe(0)
    await odd.close()
  })

  test.each([
    [
      'names another issuer',
      () => ({ issuer: 'https://other.test', jwks_uri: 'https://other.test/c' }),
      'issuer mismatch',
    ],
    ['names no keys', () => ({ issuer: issuer.url }), 'jwks_uri'],
    [
      'points at another origin',
      () => ({ issuer: issuer.url, jwks_uri: 'http://127.0.0.1:1/certs' }),
      'another origin',
    ],
    ['points at a file', () => ({ issuer: issuer.url, jwks_uri: 'file:///etc/passwd' }), 'neither https nor http'],
  ])('K-11 an issuer whose document %s ends the start with exit 1 and a sentence', async (_name, body, words) => {
    issuer.pages.discovery = { body: body() }
    const ended = await runToEnd([...BARE_FLAGS, '--oidc-issuer', issuer.url])
    issuer.pages.discovery = undefined
    expect(ended.code).toBe(1)
    expect(ended.stderr).toContain(words)
    expect(ended.stderr.trim().split('\n')).toHaveLength(1)
  })

  test('K-13 a proxy is asked for an issuer elsewhere, never for one on this host', async () => {
    const asked: string[] = []
    const url = 'http://idp.example/realms/openshell'
    const proxy = http.createServer((request, response) => {
      asked.push(request.url ?? '')
      const body = asked.length === 1 ? { issuer: url, jwks_uri: `${url}/certs` } : { keys: [key.jwk] }
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    })
    await new Promise<void>(resolve => proxy.listen(0, '127.0.0.1', resolve))
    const address = `http://127.0.0.1:${(proxy.address() as { port: number }).port}`
    const env = { HTTP_PROXY: address, http_proxy: address, HTTPS_PROXY: address, ALL_PROXY: address }
    const near = await oidcGateway(issuer, [], env)
    expect((await near.call('ListSandboxes', {}, { token: await issuer.token() })).code).toBe('OK')
    expect(await near.stop()).toBe(0)
    expect(asked).toEqual([])
    const far = await startGateway({ args: [...ABSENT, '--oidc-issuer', url, '--oidc-allow-http'], env })
    await far.logged(line => line.message.startsWith('OIDC JWT validation enabled'))
    expect((await far.call('ListSandboxes', {}, { token: await mintToken(url, key) })).code).toBe('OK')
    expect(asked).toEqual([`${url}/.well-known/openid-configuration`, `${url}/certs`])
    expect(await far.stop()).toBe(0)
    proxy.close()
  })

  test('K-11 an issuer by plain http on another host is refused', async () => {
    const ended = await runToEnd([...BARE_FLAGS, '--oidc-issuer', 'http://idp.example/realms/openshell'])
    expect([1, 2]).toContain(ended.code)
    expect(ended.stderr).toContain('https')
  })
})

const BARE_FLAGS = [
  ...['--db-url', 'sqlite::memory:', '--disable-tls', '--port', '0', '--bind-address', '127.0.0.1'],
  ...ABSENT,
]

test('O-07 after all of it the counter of bugs is 0, no line speaks of one, and no token or secret was written down', async () => {
  expect(await bugsOf(metricsPort)).toBe('0')
  expect(gateway.log.filter(line => line.message === 'bug')).toEqual([])
  const said = gateway.output()
  expect(said).not.toContain(SECRET)
  expect(said).not.toMatch(/eyJ[A-Za-z0-9_-]{20,}\./)
})
