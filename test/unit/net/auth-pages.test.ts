import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { LIMITS } from '../../../src/limits.ts'
import {
  type AuthPagesOptions,
  createAuthPages,
  extractCookie,
  isValidCode,
  parseConnectQuery,
} from '../../../src/net/auth-pages.ts'
import { connectPage, escapeHtml, waitingPage } from '../../../src/net/auth-pages-html.ts'
import type { RequestHead } from '../../../src/net/http-answer.ts'
import { createFakeClock } from '../../kit/clock.ts'

const OPTIONS: AuthPagesOptions = {
  oidc: { issuer: 'https://issuer.test/realms/openshell/', audience: 'openshell-cli' },
  edgeLogin: true,
  trustedProxies: ['10.0.0.1', '192.168.0.0/16'],
  bindAddress: () => '0.0.0.0:8080',
  version: '1.2.3',
}
const pages = createAuthPages(OPTIONS)
const GOOD = 'callback_port=43210&code=AB7-X9KM'
const COOKIE = { cookie: 'CF_Authorization=tok.en.x' }

function get(query: string, headers: RequestHead['headers'] = {}, peerAddress = '127.0.0.1', from = pages) {
  const path = `/auth/connect${query === '' ? '' : `?${query}`}`
  return from.connect({ method: 'GET', path, headers: { host: 'gw.test', ...headers }, version: '1.1', peerAddress })
}

describe('/auth/oidc-config', () => {
  test('tells issuer as configured and audience, uncached', () => {
    const answer = pages.oidcConfig()
    expect(answer.body).toBe('{"audience":"openshell-cli","issuer":"https://issuer.test/realms/openshell/"}')
    expect(answer).toMatchObject({
      status: 200,
      headers: { 'content-type': 'application/json', 'cache-control': 'no-store' },
    })
  })
  test('is 404 without a body when OIDC is off', () => {
    expect(createAuthPages({ ...OPTIONS, oidc: null }).oidcConfig()).toEqual({
      status: 404,
      headers: { 'content-length': '0' },
      body: '',
    })
  })
})

describe('cookie', () => {
  const CASES: Array<[string | undefined, string | null]> = [
    [undefined, null],
    ['', null],
    ['CF_Authorization=tok.en.x', 'tok.en.x'],
    ['a=1; CF_Authorization=tok; b=2', 'tok'],
    ['a=1;CF_Authorization=tok;b=2', 'tok'],
    ['a=1 ;  CF_Authorization = tok  ; b', 'tok'],
    ['CF_Authorization=', ''],
    ['CF_Authorization', null],
    ['x; CF_Authorization=tok', 'tok'],
    ['cf_authorization=tok', null],
    ['CF_Authorization2=tok', null],
    ['xCF_Authorization=tok', null],
    ['CF_Authorization=one; CF_Authorization=two', 'one'],
    ['CF_Authorization=; CF_Authorization=two', ''],
    ['CF_Authorization=a=b==', 'a=b=='],
    ['CF_Authorization="tok"', '"tok"'],
    ['CF_Authorization=a%3Cb', 'a%3Cb'],
    ['CF_Authorization=a\tb', 'a\tb'],
    ['CF_Authorization=t\u00f6k', null],
    ['x=\u00f6; CF_Authorization=tok', null],
  ]
  test.each(CASES)('%p gives %p', (header, value) => {
    expect(extractCookie(header, 'CF_Authorization')).toBe(value)
  })
})

describe('query', () => {
  const say = (text: string) => `Failed to deserialize query string: ${text}`
  const CASES: Array<[string, string | [number, string]]> = [
    ['', say('missing field `callback_port`')],
    ['callback_port=43210', say('missing field `code`')],
    ['code=AB7-X9KM', say('missing field `callback_port`')],
    ['callback_port=65536&code=x', say('callback_port: number too large to fit in target type')],
    ['callback_port=-1&code=x', say('callback_port: invalid digit found in string')],
    ['callback_port=abc&code=x', say('callback_port: invalid digit found in string')],
    ['callback_port=&code=x', say('callback_port: cannot parse integer from empty string')],
    ['callback_port=+4321&code=x', say('callback_port: invalid digit found in string')],
    ['callback_port=%2B4321&code=x', [4321, 'x']],
    ['callback_port=004321&code=x', [4321, 'x']],
    ['callback_port=1.5&code=x', say('callback_port: invalid digit found in string')],
    ['callback_port=0x1000&code=x', say('callback_port: invalid digit found in string')],
    ['callback_port=4321&callback_port=4322&code=x', say('duplicate field `callback_port`')],
    [`${GOOD}&code=AB7-X9KM`, say('duplicate field `code`')],
    [`${GOOD}&x=1&x=2&y&`, [43210, 'AB7-X9KM']],
    ['callback_port=43210;code=AB7-X9KM', say('callback_port: invalid digit found in string')],
    ['CALLBACK_PORT=43210&CODE=x', say('missing field `callback_port`')],
    ['callback%5Fport=43210&c%6Fde=AB7-X9KM', [43210, 'AB7-X9KM']],
    ['callback_port=43210&code=AB7%2DX9KM', [43210, 'AB7-X9KM']],
    ['callback_port=65535&code=x', [65535, 'x']],
  ]
  test.each(CASES)('%s', (query, expected) => {
    const result = parseConnectQuery(`/auth/connect?${query}`)
    expect('problem' in result ? result.problem : [result.port, result.code]).toEqual(expected)
  })
  test('A-17: ports of system services are refused', () => {
    for (const port of [0, 80, 1023]) expect(get(`callback_port=${port}&code=AB7-X9KM`, COOKIE).status).toBe(400)
    expect(get('callback_port=1024&code=AB7-X9KM', COOKIE).status).toBe(200)
  })
})

describe('code', () => {
  test('three, dash, four of A-Z 0-9', () => {
    for (const code of ['AB7-X9KM', '222-AAAA', 'ZZZ-9999', 'O01-IL10']) expect(isValidCode(code)).toBe(true)
  })
  const BAD = [
    '',
    'AB7-X9KMM',
    'ab7-x9km',
    'AB7X9KMM',
    'AB7-X9K',
    'AB-7X9KM',
    'AB7 X9KM',
    '<script>',
    'A<B-X9KM',
    'AB7-X9K\n',
    'AB7-X9KM\n',
    '\u00c4B-X9KM',
    '\uff21-X9KM',
    'AB7-X9K\0',
  ]
  test.each(BAD)('%p is refused with 400 and is not shown', code => {
    expect(isValidCode(code)).toBe(false)
    const answer = get(`callback_port=43210&code=${encodeURIComponent(code)}`, COOKIE)
    expect(answer.status).toBe(400)
    expect(answer.body).toContain('<p>Invalid confirmation code format.</p>')
    if (code.length > 2) expect(answer.body).not.toContain(code)
  })
})

describe('waiting page', () => {
  test('reloads itself with port and code and runs no script', () => {
    const answer = get(GOOD)
    expect(answer.status).toBe(200)
    expect(answer.body).toContain(
      'http-equiv="refresh" content="2;url=/auth/connect?callback_port=43210&amp;code=AB7-X9KM"',
    )
    expect(answer.body).toContain('<title>OpenShell — Authenticating</title>')
    expect(answer.body).toContain('Authenticating...')
    expect(answer.body).not.toContain('<script')
    expect(answer.body).not.toContain('var token')
    expect(answer.headers['content-security-policy']).toStartWith("default-src 'none'; style-src 'unsafe-inline'")
  })
  test('escapes the code (I-08)', () => {
    expect(waitingPage(1, `"'><b>`, true)).toContain('code=&quot;&#x27;&gt;&lt;b&gt;')
  })
  test('stops reloading after 60 rounds, each tab for itself, and starts anew later', () => {
    const clock = createFakeClock()
    const own = createAuthPages({ ...OPTIONS, clock })
    const reloads = (code: string) =>
      get(`callback_port=43210&code=${code}`, {}, '1.1.1.1', own).body.includes('http-equiv="refresh"')
    for (let round = 0; round < LIMITS.waitingPageRounds; round++) expect(reloads('AB7-X9KM')).toBe(true)
    expect(reloads('AB7-X9KM')).toBe(false)
    expect(reloads('AB7-X9KN')).toBe(true)
    clock.advance(LIMITS.waitingPageMs)
    expect(reloads('AB7-X9KM')).toBe(true)
  })
})

describe('connect page', () => {
  const page = (changes: Partial<Parameters<typeof connectPage>[0]> = {}) =>
    connectPage({
      token: 'tok.en.x',
      code: 'XY7-9KLM',
      port: 43210,
      gateway: 'gw.test',
      version: '1.2.3',
      nonce: 'test-nonce',
      ...changes,
    })

  test('holds all a user and the command line tool need', () => {
    for (const part of [
      ...[
        'OpenShell',
        'XY7-9KLM',
        '>gw.test<',
        '>v1.2.3<',
        'Connect to Gateway',
        'Connected',
        'connect()',
        'nonce="test-nonce"',
      ],
      ...['var token = "tok.en.x";', 'var code = "XY7-9KLM";', 'var port = 43210;', 'code: code', "method: 'POST'"],
      ...["fetch('http://127.0.0.1:' + port + '/callback'", 'JSON.stringify({ token: token, code: code })'],
      ...['<title>OpenShell — Connect to Gateway</title>', 'name="viewport"'],
    ])
      expect(page()).toContain(part)
    expect(page()).not.toContain('window.location.href')
  })

  test('A-17: there is one script, no inline handler, and a fresh nonce that the policy names', () => {
    const [first, second] = [get(GOOD, COOKIE), get(GOOD, COOKIE)]
    expect(first.body.match(/<script/g)).toHaveLength(1)
    expect(first.body).not.toMatch(/\son\w+=/)
    const nonce = /nonce="([0-9a-f-]{36})"/.exec(first.body)?.[1] ?? ''
    const policy = first.headers['content-security-policy'] ?? ''
    expect(policy).toContain(`script-src 'nonce-${nonce}'`)
    expect(policy).toContain('connect-src http://127.0.0.1:43210;')
    for (const part of ["frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"])
      expect(policy).toContain(part)
    expect(second.body).not.toContain(nonce)
    expect(first.headers).toMatchObject({
      ...{ 'cache-control': 'no-store', 'referrer-policy': 'no-referrer', 'x-content-type-options': 'nosniff' },
      ...{ 'x-frame-options': 'DENY', 'cross-origin-opener-policy': 'same-origin' },
    })
    expect(first.headers['set-cookie']).toBeUndefined()
  })

  test('A-17: whatever the token is, it stays one JavaScript string in one script element', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', maxLength: 60 }),
        fc.constantFrom('', '</script>', '<!--', '<script>', '\\"', '\u2028'),
        (noise, bait) => {
          const html = page({ token: noise + bait })
          expect(html.match(/<\/script/gi)).toHaveLength(1)
          expect(html.match(/<script/gi)).toHaveLength(1)
          const literal = /var token = (".*");\nvar code/s.exec(html)?.[1] ?? ''
          expect(literal).not.toMatch(/[<>\n\r]/)
          expect(JSON.parse(literal)).toBe(noise + bait)
        },
      ),
      { numRuns: 200 },
    )
  })

  test('html escape covers the five characters', () => {
    expect(escapeHtml(`&"'<>a`)).toBe('&amp;&quot;&#x27;&lt;&gt;a')
  })

  test('the answer to a script instead of a navigation is 403', () => {
    for (const destination of ['empty', 'iframe', 'object']) {
      const answer = get(GOOD, { ...COOKIE, 'sec-fetch-dest': destination })
      expect(answer).toMatchObject({ status: 403, body: '' })
    }
    expect(get(GOOD, { ...COOKIE, 'sec-fetch-dest': 'document' }).status).toBe(200)
  })

  test('it can be switched off', () => {
    const off = createAuthPages({ ...OPTIONS, edgeLogin: false })
    expect(get(GOOD, COOKIE, '127.0.0.1', off)).toMatchObject({ status: 404, body: '' })
  })
})

describe('name of the gateway (A-13, A-16)', () => {
  const shown = (headers: RequestHead['headers'], peer = '8.8.8.8') =>
    /<dt>Gateway<\/dt>\n<dd>(.*)<\/dd>/.exec(get(GOOD, { ...COOKIE, ...headers }, peer).body)?.[1]
  test('is the host the client asked for', () => {
    expect(shown({})).toBe('gw.test')
    expect(shown({ ':authority': 'h2.test' })).toBe('h2.test')
    expect(shown({ host: `a'b<c` })).toBe('a&#x27;b&lt;c')
  })
  test('is the bind address when there is no readable host', () => {
    expect(shown({ host: undefined })).toBe('0.0.0.0:8080')
    expect(shown({ host: '\u00e9.test' })).toBe('0.0.0.0:8080')
  })
  test('is the forwarded host only when a trusted proxy says so', () => {
    expect(shown({ 'x-forwarded-host': 'edge.test' })).toBe('gw.test')
    expect(shown({ 'x-forwarded-host': 'edge.test' }, '10.0.0.1')).toBe('edge.test')
    expect(shown({ 'x-forwarded-host': 'edge.test' }, '192.168.7.7')).toBe('edge.test')
    expect(shown({ 'x-forwarded-host': 'edge.test' }, '10.0.0.2')).toBe('gw.test')
    expect(shown({ 'x-forwarded-host': `<b>&"'` }, '10.0.0.1')).toBe('&lt;b&gt;&amp;&quot;&#x27;')
  })
})
