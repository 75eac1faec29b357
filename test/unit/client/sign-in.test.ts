import { describe, expect, test } from 'bun:test'
import { renderPage } from '../../../src/client/callback-pages.ts'
import { parseEndpoint } from '../../../src/client/channel.ts'
import { createConfirmationCode } from '../../../src/client/edge-login.ts'
import { parseIssuerUrl } from '../../../src/client/issuer-http.ts'
import { findMethod, METHOD_NAMES, requestFromText } from '../../../src/client/json-call.ts'
import { scopeOf } from '../../../src/client/login.ts'
import { type AddWish, newRegistration } from '../../../src/client/new-registration.ts'
import { bundleFrom, peekClaims } from '../../../src/client/token-bundle.ts'
import { renewalMarginMs } from '../../../src/client/token-source.ts'

const NO_OIDC = { issuer: null, clientId: null, audience: null, scopes: null }
const wish = (endpoint: string, extra: Partial<AddWish> = {}): AddWish => ({
  ...{ endpoint, name: null, remote: null, isLocal: false, oidc: NO_OIDC },
  ...extra,
})

describe('what gateway add registers', () => {
  test.each([
    ['http://h:1', {}, { name: 'h', is_remote: true, auth_mode: 'plaintext' }],
    [
      'http://127.0.0.1:1/',
      {},
      { name: 'openshell', gateway_endpoint: 'http://127.0.0.1:1', is_remote: false, auth_mode: 'plaintext' },
    ],
    ['http://h:1', { isLocal: true }, { is_remote: false, auth_mode: 'plaintext' }],
    ['h:1', { isLocal: true }, { gateway_endpoint: 'https://h:1', is_remote: false, auth_mode: 'mtls' }],
    ['HTTPS://H:1', {}, { gateway_endpoint: 'https://h:1', is_remote: true, auth_mode: 'cloudflare_jwt' }],
    [
      'https://h:1',
      { name: 'n', oidc: { ...NO_OIDC, issuer: 'https://i/realm/' } },
      { name: 'n', auth_mode: 'oidc', oidc_issuer: 'https://i/realm', oidc_client_id: 'openshell-cli' },
    ],
  ] as const)('%s with %p', (endpoint, extra, expected) => {
    expect(newRegistration(wish(endpoint, extra as Partial<AddWish>), {})).toMatchObject(expected)
  })

  test.each([
    ['ssh://h:1', { isLocal: true }, 'Cannot use --local with an ssh:// endpoint.'],
    ['ssh://h:1', { remote: 'x' }, 'Cannot use --remote with an ssh:// endpoint.'],
    ['ssh://h', {}, 'ssh:// URL must include a port: ssh://h'],
    ['h:1', { remote: 'x', isLocal: true }, '--remote cannot be used with --local'],
    ['h:1', { remote: '-oProxyCommand=x' }, "not an SSH destination: '-oProxyCommand=x'"],
    [
      'h:1',
      { oidc: { ...NO_OIDC, scopes: 'a' } },
      '--oidc-client-id, --oidc-audience and --oidc-scopes need --oidc-issuer',
    ],
    ['https://u:p@h:1', {}, 'the URL of a gateway has no user, password, query or fragment'],
    ['https://h:1/x', {}, 'the URL of a gateway ends with its port: https://h:1'],
    ['', {}, "not a URL of a gateway: 'https://'"],
  ] as const)('%s with %p is refused', (endpoint, extra, text) => {
    expect(() => newRegistration(wish(endpoint, extra as Partial<AddWish>), {})).toThrow(text)
  })
})

describe('issuer URLs', () => {
  test.each(['http://127.0.0.1:1', 'http://localhost', 'http://[::1]:2', 'https://i.example/realms/x'])(
    '%s is taken',
    text => {
      expect(parseIssuerUrl(text, 'it', {}).href).toStartWith(text)
    },
  )

  test.each([
    'http://i.example',
    'http://127.0.0.1.evil.example',
    'http://localhost.evil',
    'file:///x',
    'https://u@i',
    'x',
  ])('%s is refused', text => {
    expect(() => parseIssuerUrl(text, 'it', {})).toThrow()
  })

  test('a network that is trusted by word may go without encryption', () => {
    expect(parseIssuerUrl('http://i.example', 'it', { OPENSHELL_OIDC_ALLOW_HTTP: 'true' }).host).toBe('i.example')
  })
})

describe('tokens', () => {
  const jwt = (claims: object) => `x.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.y`
  const bundle = { access_token: 'opaque', issuer: 'i', client_id: 'c' }

  test('renewal begins a minute before the end, later in a short life', () => {
    expect(renewalMarginMs({ ...bundle, expires_at: 1000 })).toBe(60_000)
    expect(renewalMarginMs({ ...bundle, access_token: jwt({ iat: 0 }), expires_at: 3600 })).toBe(60_000)
    expect(renewalMarginMs({ ...bundle, access_token: jwt({ iat: 0 }), expires_at: 60 })).toBe(15_000)
    expect(renewalMarginMs({ ...bundle, access_token: jwt({ iat: 99 }), expires_at: 60 })).toBe(60_000)
  })

  test('an answer without a refresh token keeps the old one', () => {
    const answer = { access_token: 'a', token_type: 'bearer' as const, expires_in: 300 }
    expect(bundleFrom(answer, 'i', 'c', 5_000, 'old')).toEqual({
      ...{ access_token: 'a', refresh_token: 'old', expires_at: 305, issuer: 'i', client_id: 'c' },
    })
    expect(bundleFrom({ ...answer, refresh_token: 'new' }, 'i', 'c', 0, 'old').refresh_token).toBe('new')
  })

  test('what is no JWT has no claims', () => {
    for (const text of ['', 'a', 'a.b.c', 'a.bnVsbA.c']) expect(peekClaims(text)).toBeNull()
  })

  test('openid is asked for once', () => {
    expect(scopeOf(undefined)).toBe('openid')
    expect(scopeOf(' openshell:all  openid openshell:all ')).toBe('openid openshell:all')
  })
})

describe('calls', () => {
  test('every RPC of the contract has a name of its own, by which or by its path it is found', () => {
    expect(new Set(METHOD_NAMES).size).toBe(METHOD_NAMES.length)
    expect(findMethod('openshell.v1.OpenShell/Health')).toBe(findMethod('Health'))
    expect(findMethod('/openshell.v1.OpenShell/Health')).toBe(findMethod('Health'))
    expect(findMethod('health')).toBeUndefined()
  })

  test.each([
    ['{', 'the request is not JSON: '],
    ['[]', 'CreateSandboxRequest must be an object'],
    ['{"spec":{"policy":{"version":"x"}}}', 'CreateSandboxRequest.spec.policy.version must be an integer'],
    ['{"labels":{"a":1}}', "CreateSandboxRequest.labels['a'] must be text"],
  ])('%s is refused by the name of what does not fit', (text, reason) => {
    expect(() => requestFromText(findMethod('CreateSandbox')!, text)).toThrow(reason)
  })
})

test('confirmation codes have the form the page checks, and differ', () => {
  const codes = Array.from({ length: 200 }, createConfirmationCode)
  for (const code of codes) expect(code).toMatch(/^[A-HJ-NP-Z2-9]{3}-[A-HJ-NP-Z2-9]{4}$/)
  expect(new Set(codes).size).toBe(200)
})

test('text from outside is text on a page', () => {
  const page = renderPage({ status: 400, tone: 'bad', title: '<b>', text: `"'&<script>`, hint: '</main>' })
  expect(page).toContain('&quot;&#39;&amp;&lt;script&gt;')
  expect(page).not.toContain('<script>')
  expect(page.match(/<\/main>/g)).toHaveLength(1)
})

test('endpoints keep host and port only', () => {
  expect(parseEndpoint('https://H.example').origin).toBe('https://h.example')
})
