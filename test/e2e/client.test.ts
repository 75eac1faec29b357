/**
 * Signing in and using a gateway from a terminal, with the executable: against the embedded issuer, which is a real
 * one, and against one that counts what it is asked (P-05, P-11; spec/client.md §5 to §9, §18).
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { existsSync, readFileSync, statSync, utimesSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { DevIssuer } from '../../src/dev/issuer.ts'
import { type ClientHome, createClientHome, scripted } from '../kit/client-home.ts'
import { type GatewayProcess, until } from '../kit/gateway.ts'
import { signIn } from '../kit/scripted-browser.ts'
import { startGatewayWithIssuer } from '../kit/signed-in-gateway.ts'
import { beginLogin as begin } from '../kit/terminal-login.ts'
import { startTokenIssuer, type TokenIssuer } from '../kit/token-issuer.ts'

setDefaultTimeout(30_000)

let issuer: DevIssuer
let gateway: GatewayProcess
let home: ClientHome

beforeAll(async () => {
  ;({ issuer, gateway } = await startGatewayWithIssuer())
})
afterAll(async () => {
  await gateway?.stop()
  await issuer?.close()
})
beforeEach(() => {
  home = createClientHome()
})
afterEach(() => home[Symbol.dispose]())

const url = () => `http://${gateway.address}`
const addArgs = (name = 'dev', extra: readonly string[] = []) => [
  ...['gateway', 'add', url(), '--name', name, '--oidc-issuer', issuer.url, '--oidc-scopes', 'openshell:all'],
  ...extra,
]
const add = (script = 'admin@test:admin', extra: readonly string[] = []) =>
  home.run(addArgs('dev', extra), scripted(script, join(home.dir, 'page')))
const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8)
const listeners = () => {
  const text = ['/proc/net/tcp', '/proc/net/tcp6'].map(file => readFileSync(file, 'utf8')).join('\n')
  return new Set([...text.matchAll(/:\s\S+:(\w{4}) \S+ 0A /g)].map(match => Number.parseInt(match[1]!, 16)))
}

const beginLogin = (args: readonly string[], more: Record<string, string> = {}) => begin(home.env, args, more)

describe('signing in by browser', () => {
  test('add signs in, registers, and every command works from then on', async () => {
    const added = await add()
    expect(added).toMatchObject({ code: 0, stdout: '' })
    expect(added.stderr).toContain('Authenticated successfully as admin@test')
    expect(home.read('active_gateway')).toBe('dev')
    expect(JSON.parse(home.read('gateways', 'dev', 'metadata.json'))).toEqual({
      name: 'dev',
      gateway_endpoint: url(),
      is_remote: true,
      gateway_port: 0,
      auth_mode: 'oidc',
      oidc_issuer: issuer.url,
      oidc_client_id: 'openshell-cli',
      oidc_scopes: 'openshell:all',
    })
    const token = JSON.parse(home.read('gateways', 'dev', 'oidc_token.json'))
    expect(Object.keys(token)).toEqual(['access_token', 'refresh_token', 'expires_at', 'issuer', 'client_id'])
    expect(await home.run(['call', 'ListSandboxes'])).toMatchObject({ code: 0, stdout: '{}\n', stderr: '' })
    expect((await home.run(['token'])).stdout).toBe(`${token.access_token}\n`)
    const status = await home.run(['gateway', 'status', '-o', 'json'])
    expect(JSON.parse(status.stdout)).toMatchObject({ gateway: 'dev', status: 'Connected', access: 'granted' })
    expect(JSON.parse((await home.run(['gateway', 'list', '-o', 'json'])).stdout)).toEqual([
      { name: 'dev', endpoint: url(), type: 'remote', auth: 'oidc', source: 'user', active: true },
    ])
  })

  test('P-11 what is written is for its owner only, whatever the umask', async () => {
    await add()
    for (const file of ['active_gateway', 'gateways/dev/metadata.json', 'gateways/dev/oidc_token.json'])
      expect(modeOf(home.path(file))).toBe('600')
    for (const folder of ['', 'gateways/dev']) expect(modeOf(home.path(folder))).toBe('700')
  })

  test('the page tells the person, holds no script, and lets nothing be loaded', async () => {
    await add()
    const page = await until(
      'the page',
      () => existsSync(join(home.dir, 'page')) && readFileSync(join(home.dir, 'page'), 'utf8'),
    )
    expect(page).toStartWith('200 ')
    expect(page).toContain('You are signed in')
    expect(page).not.toContain('<script')
  })

  test('a sign-in that is refused leaves nothing behind and says so in one sentence', async () => {
    const { code, stderr } = await add('cancel')
    expect(code).toBe(6)
    expect(stderr).toContain('error: the issuer refused the sign-in: access_denied')
    expect(existsSync(home.path())).toBe(false)
    expect(readFileSync(join(home.dir, 'page'), 'utf8')).toContain('You are not signed in')
  })

  test('a wrong password stays at the issuer: the right one afterwards still works', async () => {
    const login = beginLogin(addArgs())
    const address = await login.address()
    expect((await signIn(address, 'admin@test:wrong')).text).toContain('Wrong user name or password')
    expect((await signIn(address, 'admin@test:admin')).text).toContain('You are signed in')
    expect(await login.ended()).toMatchObject({ code: 0 })
  })

  test('callbacks made by other pages neither end a sign-in nor get anything', async () => {
    const login = beginLogin(addArgs())
    const address = await login.address()
    const callback = new URL(new URL(address).searchParams.get('redirect_uri')!)
    const state = new URL(address).searchParams.get('state')!
    const forged = ['', '?error=access_denied', '?code=x', '?code=x&state=y', `?code=x&state=${state}&state=${state}`]
    for (const query of [...forged, '?state=%ff']) expect((await fetch(callback.href + query)).status).toBe(400)
    const posted = await fetch(`${callback.href}?state=${state}&code=x`, { method: 'POST' })
    expect(posted.status).toBe(400)
    expect((await fetch(new URL('/callbackx', callback))).status).toBe(404)
    expect((await fetch(`${callback.href}?state=${state}&code=x`, { headers: { host: 'evil.example' } })).status).toBe(
      404,
    )
    expect((await signIn(address, 'user@test:user')).text).toContain('You are signed in')
    const end = await login.ended()
    expect(end).toMatchObject({ code: 0 })
    expect(end.said).toContain('as user@test')
    expect(listeners().has(Number(callback.port))).toBe(false)
  })

  test('an answer that names another issuer ends the sign-in', async () => {
    const login = beginLogin(addArgs())
    const address = new URL(await login.address())
    const state = address.searchParams.get('state')
    const back = `${address.searchParams.get('redirect_uri')}?state=${state}&code=x&iss=https%3A%2F%2Fevil.example`
    const page = await fetch(back)
    expect([page.status, page.headers.get('content-security-policy')]).toEqual([
      400,
      expect.stringContaining("default-src 'none'"),
    ])
    expect(await login.ended()).toMatchObject({ code: 6, said: expect.stringContaining('is not from the issuer') })
    expect(existsSync(home.path())).toBe(false)
  })

  test('an error text of the issuer is shown as text', async () => {
    const login = beginLogin(addArgs())
    const address = new URL(await login.address())
    const answer = new URL(address.searchParams.get('redirect_uri')!)
    for (const [name, value] of Object.entries({
      state: address.searchParams.get('state')!,
      iss: issuer.url,
      error: 'access_denied',
      error_description: '<script>alert(1)</script>\u001b[31m',
    }))
      answer.searchParams.set(name, value)
    const page = await (await fetch(answer)).text()
    expect(page).toContain('&lt;script&gt;')
    expect(page).not.toContain('<script>')
    const end = await login.ended()
    expect(end.code).toBe(6)
    expect(end.said).not.toContain('\u001b')
  })

  test('two sign-ins at once each get their own answer', async () => {
    const [one, two] = [beginLogin(addArgs('one')), beginLogin(addArgs('two'))]
    const addresses = [await one.address(), await two.address()]
    await signIn(addresses[1]!, 'user@test:user')
    await signIn(addresses[0]!, 'admin@test:admin')
    expect((await one.ended()).said).toContain('as admin@test')
    expect((await two.ended()).said).toContain('as user@test')
  })

  test('of sign-ins for one name the first to end has it, and the others take nothing away', async () => {
    const [refused, late] = [beginLogin(addArgs()), beginLogin(addArgs())]
    const addresses = [await refused.address(), await late.address()]
    expect(await add()).toMatchObject({ code: 0 })
    await signIn(addresses[0]!, 'cancel')
    await signIn(addresses[1]!, 'user@test:user')
    expect(await refused.ended()).toMatchObject({ code: 6 })
    expect(await late.ended()).toMatchObject({ code: 1, said: expect.stringContaining("'dev' already exists.") })
    const claims = (await home.run(['token'])).stdout.split('.')[1]!
    expect(Buffer.from(claims, 'base64url').toString()).toContain('admin@test')
  })

  test('a callback port that is taken is one sentence, before the browser opens', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    await new Promise(resolve => taken.once('listening', resolve))
    const { port } = taken.address() as { port: number }
    const { code, stderr } = await add('admin@test:admin', ['--callback-port', String(port)])
    taken.close()
    expect(code).toBe(1)
    expect(stderr).toBe(
      `error: 127.0.0.1:${port} cannot be listened on for the answer of the browser: Address already in use (os error 98)\n`,
    )
    expect(existsSync(home.path())).toBe(false)
  })

  test('Ctrl-C during a sign-in leaves no registration and nothing listening', async () => {
    const login = beginLogin(addArgs())
    const port = Number(new URL(new URL(await login.address()).searchParams.get('redirect_uri')!).port)
    expect(listeners().has(port)).toBe(true)
    login.child.kill('SIGINT')
    await login.ended()
    expect(listeners().has(port)).toBe(false)
    expect(existsSync(home.path('gateways', 'dev', 'metadata.json'))).toBe(false)
  })
})

const fakeTime = [...new Bun.Glob('/usr/lib/*/faketime/libfaketime.so.1').scanSync('/')][0]
if (!fakeTime) console.log('skipped: a clock that is off needs libfaketime')

test.skipIf(!fakeTime).each([
  ['+10m', 'ahead of'],
  ['-10m', 'behind'],
])('with a clock that is off by %s the sign-in works, and says so', async (offset, side) => {
  const clock = { LD_PRELOAD: fakeTime, FAKETIME: offset }
  const added = await home.run(addArgs(), { ...scripted('admin@test:admin'), ...clock })
  expect(added).toMatchObject({ code: 0 })
  expect(added.stderr).toContain(`the clock of this machine is 10 minutes ${side} that of the issuer`)
  expect(await home.run(['call', 'ListSandboxes'], clock)).toMatchObject({ code: 0, stderr: '' })
})

test('OPENSHELL_NO_BROWSER=1 signs in with a code on another device', async () => {
  const login = beginLogin(addArgs(), { OPENSHELL_NO_BROWSER: '1' })
  const address = await login.address()
  expect(login.said()).toContain('confirm the code')
  const jar = new Map<string, string>()
  const { browse } = await import('../kit/scripted-browser.ts')
  const confirm = await browse(address, jar)
  const fields = (text: string) =>
    [...text.matchAll(/name="(\w+)"[^>]*value="([^"]*)"/g)].map(match => [match[1]!, match[2]!] as [string, string])
  const post = (at: string, form: [string, string][]) =>
    browse(at, jar, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams(form).toString(),
    })
  const login1 = await post(confirm.url, [...fields(confirm.text), ['confirm', 'yes']])
  const action = new URL(/action="([^"]+)"/.exec(login1.text)![1]!, login1.url).href
  await post(action, [
    ['username', 'admin@test'],
    ['password', 'admin'],
  ])
  const end = await login.ended()
  expect(end).toMatchObject({ code: 0, said: expect.stringContaining('as admin@test') })
  expect(await home.run(['call', 'ListSandboxes'])).toMatchObject({ code: 0 })
})

test('health finds a gateway beside it that was told by argument to do without TLS', async () => {
  expect(await home.run(['health'], { OPENSHELL_SERVER_PORT: String(gateway.port) })).toMatchObject({ code: 0 })
})

test('BROWSER may say where the address belongs', async () => {
  const { BROWSER, ...script } = scripted('admin@test:admin')
  expect(await home.run(addArgs(), { ...script, BROWSER: `${BROWSER} %s` })).toMatchObject({ code: 0 })
})

describe('client credentials', () => {
  const ci = ['--oidc-client-id', 'openshell-ci']
  const args = () => ['gateway', 'add', url(), '--name', 'ci', '--oidc-issuer', issuer.url, ...ci]

  test('a secret in the environment signs in without anybody, and again when the token has ended', async () => {
    const secret = { OPENSHELL_OIDC_CLIENT_SECRET: 'ci-test-secret' }
    expect(await home.run(args(), secret)).toMatchObject({ code: 0 })
    expect(await home.run(['call', 'ListSandboxes'])).toMatchObject({ code: 0 })
    const path = ['gateways', 'ci', 'oidc_token.json'] as const
    home.write(JSON.stringify({ ...JSON.parse(home.read(...path)), expires_at: 1 }), ...path)
    expect(await home.run(['call', 'ListSandboxes'])).toMatchObject({ code: 3 })
    expect(await home.run(['call', 'ListSandboxes'], secret)).toMatchObject({ code: 0 })
    expect(JSON.parse(home.read(...path)).expires_at).toBeGreaterThan(1)
  })

  test('a wrong secret is refused in one sentence that does not hold it', async () => {
    const { code, stderr } = await home.run(args(), { OPENSHELL_OIDC_CLIENT_SECRET: 'canary-secret' })
    expect(code).toBe(6)
    expect(stderr).toMatch(/^error: client credentials token exchange failed: invalid_client.*\n$/)
    expect(stderr).not.toContain('canary')
    expect(existsSync(home.path())).toBe(false)
  })
})

describe('renewing', () => {
  let counting: TokenIssuer
  const bundlePath = ['gateways', 'g', 'oidc_token.json'] as const
  const store = (extra: Record<string, unknown>) =>
    home.write(
      JSON.stringify({ access_token: 'old', issuer: counting.url, client_id: 'openshell-cli', ...extra }),
      ...bundlePath,
    )
  const now = () => Math.floor(Date.now() / 1000)

  beforeEach(() => {
    counting = startTokenIssuer()
    const registration = {
      ...{ name: 'g', gateway_endpoint: url(), is_remote: false, gateway_port: 0 },
      ...{ auth_mode: 'oidc', oidc_issuer: counting.url, x_mine: { kept: true } },
    }
    home.write(JSON.stringify(registration), 'gateways', 'g', 'metadata.json')
    home.write('g\n', 'active_gateway')
  })
  afterEach(() => counting.stop())

  test('a token with more than a minute to live is used as it is', async () => {
    store({ expires_at: now() + 3600, refresh_token: 'refresh-0' })
    expect(await home.run(['token'])).toMatchObject({ code: 0, stdout: 'old\n' })
    expect(counting.requests).toHaveLength(0)
  })

  test('20 processes whose token has ended make one request in all', async () => {
    store({ expires_at: now() - 5, refresh_token: 'refresh-0' })
    const ends = await Promise.all(Array.from({ length: 20 }, () => home.run(['token'])))
    expect(new Set(ends.map(end => `${end.code} ${end.stdout} ${end.stderr}`))).toEqual(new Set(['0 access-1\n ']))
    expect(counting.requests).toHaveLength(1)
    expect(JSON.parse(home.read(...bundlePath))).toMatchObject({ access_token: 'access-1', refresh_token: 'refresh-1' })
    expect(modeOf(home.path(...bundlePath))).toBe('600')
  })

  test('a revoked refresh token is one sentence and exit 3, and is not tried again', async () => {
    store({ expires_at: now() - 5, refresh_token: 'revoked' })
    const first = await home.run(['call', 'ListSandboxes'])
    expect(first).toMatchObject({ code: 3, stdout: '' })
    expect(first.stderr).toBe(
      "error: gateway 'g': the issuer has ended your sign-in (invalid_grant: Token is not active); sign in with: openshell-gateway gateway login g\n",
    )
    expect(await home.run(['call', 'ListSandboxes'])).toMatchObject({ code: 3 })
    expect(counting.requests).toHaveLength(1)
  })

  test('a refused refresh token is not the end for who has a secret', async () => {
    store({ expires_at: now() - 5, refresh_token: 'revoked' })
    const secret = { OPENSHELL_OIDC_CLIENT_SECRET: 'a secret' }
    expect(await home.run(['token'], secret)).toMatchObject({ code: 0, stdout: 'access-1\n', stderr: '' })
    expect(counting.requests.map(form => form.get('grant_type'))).toEqual(['refresh_token', 'client_credentials'])
    expect(JSON.parse(home.read(...bundlePath)).access_token).toBe('access-1')
  })

  test('an issuer that is down is exit 4 when the token has ended, and a warning while it lives', async () => {
    counting.answer = () => new Response('down', { status: 503 })
    store({ expires_at: now() - 5, refresh_token: 'refresh-0' })
    const ended = await home.run(['token'])
    expect(ended).toMatchObject({ code: 4, stdout: '' })
    expect(ended.stderr).toContain('has expired and no issuer there')
    counting.answer = path =>
      path === '/token' ? Response.json({ error: 'temporarily_unavailable' }, { status: 503 }) : null
    store({ expires_at: now() + 20, refresh_token: 'refresh-0' })
    const living = await home.run(['token'])
    expect(living).toMatchObject({ code: 0, stdout: 'old\n' })
    expect(living.stderr).toContain('warning: the token could not be renewed')
    expect(JSON.parse(home.read(...bundlePath)).refresh_token).toBe('refresh-0')
  })

  test('an expired token without anything to renew it is never sent', async () => {
    store({ expires_at: now() - 5 })
    const { code, stderr } = await home.run(['call', 'ListSandboxes'])
    expect(code).toBe(3)
    expect(stderr).toContain('the token has expired')
  })

  test('a token that another issuer made is not used', async () => {
    store({ expires_at: now() + 3600, issuer: 'https://other.example' })
    expect(await home.run(['call', 'ListSandboxes'])).toMatchObject({ code: 3 })
  })

  test('a token goes to its own gateway only', async () => {
    store({ expires_at: now() + 3600 })
    const { code, stderr } = await home.run([
      'call',
      'ListSandboxes',
      '-g',
      'g',
      '--gateway-endpoint',
      'http://127.0.0.1:1',
    ])
    expect(code).toBe(2)
    expect(stderr).toContain('are not sent to http://127.0.0.1:1')
  })

  test('a refused token is renewed once and the call made again', async () => {
    store({ expires_at: now() + 3600, refresh_token: 'refresh-0' })
    const { code, stderr } = await home.run(['call', 'ListSandboxes'])
    expect([code, counting.requests.length]).toEqual([3, 1])
    expect(stderr).toMatch(/^error: UNAUTHENTICATED: /)
    expect(JSON.parse(home.read(...bundlePath)).access_token).toBe('access-1')
  })

  test('keys of other programs survive', async () => {
    store({ expires_at: now() + 3600 })
    await home.run(['gateway', 'select', 'g'])
    expect(JSON.parse(home.read('gateways', 'g', 'metadata.json'))).toMatchObject({ x_mine: { kept: true } })
  })

  test('a lock file left behind by a process that died does not hold anybody up', async () => {
    store({ expires_at: now() - 5, refresh_token: 'refresh-0' })
    home.write('', 'gateways', 'g', 'oidc_token.json.lock')
    utimesSync(home.path('gateways', 'g', 'oidc_token.json.lock'), 1, 1)
    expect(await home.run(['token'])).toMatchObject({ code: 0, stdout: 'access-1\n' })
  })
})

describe('logout', () => {
  test('forgets the tokens, revokes them, and has the next sign-in ask who it is', async () => {
    await add()
    const { refresh_token } = JSON.parse(home.read('gateways', 'dev', 'oidc_token.json'))
    expect(await home.run(['gateway', 'logout'])).toMatchObject({ code: 0, stderr: "Logged out of gateway 'dev'\n" })
    expect(existsSync(home.path('gateways', 'dev', 'oidc_token.json'))).toBe(false)
    const again = await fetch(`${issuer.url}/token`, {
      // An idle connection of an earlier request may be closing.
      keepalive: false,
      method: 'POST',
      body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token, client_id: 'openshell-cli' }),
    })
    expect(await again.json()).toMatchObject({ error: 'invalid_grant' })
    expect(await home.run(['call', 'ListSandboxes'])).toMatchObject({ code: 3 })
    const login = beginLogin(['gateway', 'login'])
    expect(new URL(await login.address()).searchParams.get('prompt')).toBe('login')
    login.child.kill()
    await login.ended()
  })

  test('forgets a token that cannot be read', async () => {
    await add()
    home.write('x'.repeat(300_000), 'gateways', 'dev', 'oidc_token.json')
    expect(await home.run(['gateway', 'logout'])).toMatchObject({ code: 0, stderr: "Logged out of gateway 'dev'\n" })
    expect(existsSync(home.path('gateways', 'dev', 'oidc_token.json'))).toBe(false)
  })

  test('an issuer that is down is a warning: the tokens are gone here', async () => {
    await add()
    const path = ['gateways', 'dev', 'oidc_token.json'] as const
    home.write(JSON.stringify({ ...JSON.parse(home.read(...path)), issuer: 'http://127.0.0.1:1' }), ...path)
    const { code, stderr } = await home.run(['gateway', 'logout'])
    expect(code).toBe(0)
    expect(stderr).toContain('warning: the session at the issuer may live on')
    expect(existsSync(home.path(...path))).toBe(false)
  })
})

describe('bad input is one sentence, and nothing is written', () => {
  const oidc = (at: string) => ['gateway', 'add', 'http://127.0.0.1:1', '--name', 'x', '--oidc-issuer', at]
  const rows: readonly (readonly [string, () => readonly string[], number, string])[] = [
    ['an issuer that is not there', () => oidc('http://127.0.0.1:1'), 4, 'cannot be reached: connection refused'],
    ['an issuer of another realm', () => oidc(issuer.url.replace('127.0.0.1', 'localhost')), 4, 'issuer mismatch'],
    ['a page that is no issuer', () => oidc(`${issuer.url}/elsewhere`), 4, 'no issuer there'],
    ['an issuer without encryption', () => oidc('http://issuer.example'), 2, 'has no encryption'],
    ['an issuer that is no URL', () => oidc('issuer'), 2, 'is not an http or https URL'],
    ['a token of an issuer that is no URL', () => ['token', '--issuer', 'x', '--user', 'u'], 2, 'is not an http or'],
    [
      'a name that leaves the registry',
      () => ['gateway', 'add', 'http://127.0.0.1:1', '--name', '../x'],
      2,
      "'../x' cannot name a gateway",
    ],
    ['a URL that is none', () => ['gateway', 'add', 'ftp://h:1'], 2, 'has an http:// or https:// URL'],
    ['a user of an SSH URL that is none', () => ['gateway', 'add', 'ssh://%zz@h:22'], 2, 'Invalid ssh:// URL'],
    ['a URL with a path', () => ['gateway', 'add', 'http://127.0.0.1:1/x'], 2, 'ends with its port'],
    ['an unknown gateway', () => ['call', 'Health', '-g', 'nobody'], 1, "Unknown gateway 'nobody'."],
    ['no gateway at all', () => ['call', 'ListSandboxes'], 1, 'No active gateway.'],
    [
      'a gateway that is not there',
      () => ['call', 'Health', '--gateway-endpoint', 'http://127.0.0.1:1'],
      5,
      'cannot reach',
    ],
    ['a request that is not JSON', () => ['call', 'Health', '{', '--gateway-endpoint', url()], 2, 'is not JSON'],
    [
      'a field that does not exist',
      () => ['call', 'GetSandbox', '{"nam":1}', '--gateway-endpoint', url()],
      2,
      "has no field 'nam'",
    ],
    [
      'a method that does not exist',
      () => ['call', 'GetSandboxx', '--gateway-endpoint', url()],
      2,
      'did you mean GetSandbox?',
    ],
  ]
  test.each(rows)('%s', async (_what, args, exit, text) => {
    const { code, stdout, stderr } = await home.run(args(), scripted('look'))
    expect([code, stdout]).toEqual([exit, ''])
    expect(stderr).toContain(text)
    expect(stderr.trimEnd().split('\n')).toHaveLength(1)
    expect(existsSync(home.path())).toBe(false)
  })

  test('a registration that is not JSON', async () => {
    home.write('{', 'gateways', 'x', 'metadata.json')
    for (const args of [
      ['call', 'Health', '-g', 'x'],
      ['gateway', 'add', 'http://127.0.0.1:1', '--name', 'x'],
    ]) {
      const { code, stderr } = await home.run(args)
      expect([code, stderr]).toEqual([
        1,
        `error: ${home.path('gateways', 'x', 'metadata.json')} is no registration of a gateway: it is not JSON\n`,
      ])
    }
    expect(home.read('gateways', 'x', 'metadata.json')).toBe('{')
    expect(await home.run(['gateway', 'list'])).toMatchObject({ code: 0, stdout: 'No gateways found.\n' })
    expect(await home.run(['gateway', 'remove', 'x'])).toMatchObject({ code: 0 })
  })
})

test('P-05 no token and no secret is on any command line of ours, and errors do not print them', async () => {
  const canary = 'canary.token.value'
  const refused = await home.run(['call', 'ListSandboxes', '--gateway-endpoint', url()], { OPENSHELL_TOKEN: canary })
  expect(refused.code).toBe(3)
  expect(refused.stderr).not.toContain('canary')
  expect((await home.run(['call', 'Health', '--token', canary])).code).toBe(2)
})
