/**
 * Reaching a gateway that speaks TLS, with the certificates that `generate-certs` makes, and one behind an edge that
 * signs people in (spec/client.md §10, §11; spec/deploy.md §6.4).
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeCertificates } from '../../src/client/certificates.ts'
import { type DevIssuer, startDevIssuer } from '../../src/dev/issuer.ts'
import { type ClientHome, createClientHome, scripted } from '../kit/client-home.ts'
import { EXECUTABLE, type GatewayProcess, startGateway } from '../kit/gateway.ts'
import { runToEnd } from '../kit/run-to-end.ts'
import { beginLogin } from '../kit/terminal-login.ts'

setDefaultTimeout(30_000)

const dir = mkdtempSync(join(tmpdir(), 'client-tls-'))
const pem = (name: string) => join(dir, 'pki', name)
const YEAR_MS = 365 * 86_400_000
let issuer: DevIssuer
let gateway: GatewayProcess
let home: ClientHome
const url = () => `https://localhost:${gateway.port}`
const own = () => ['--ca', pem('ca.crt'), '--cert', pem('client/tls.crt'), '--key', pem('client/tls.key')]

beforeAll(async () => {
  expect(await runToEnd(['generate-certs', '--output-dir', join(dir, 'pki')])).toMatchObject({ code: 0 })
  issuer = await startDevIssuer()
  gateway = await startGateway({
    args: [
      ...['--compute-driver-socket', '/run/openshell-none/compute.sock'],
      ...['--oidc-issuer', issuer.url, '--oidc-scopes-claim', 'scope', '--disable-gateway-auth'],
    ],
    tls: ['--tls-cert', pem('server/tls.crt'), '--tls-key', pem('server/tls.key'), '--tls-client-ca', pem('ca.crt')],
  })
  await gateway.logged(line => line.message.startsWith('OIDC JWT validation enabled'))
})
afterAll(async () => {
  await gateway?.stop()
  await issuer?.close()
  rmSync(dir, { recursive: true, force: true })
})
beforeEach(() => {
  home = createClientHome()
})
afterEach(() => home[Symbol.dispose]())

describe('generate-certs', () => {
  test('P-11 files are for their owner only, and none is overwritten without being told', async () => {
    for (const file of ['ca.crt', 'ca.key', 'server/tls.crt', 'server/tls.key', 'client/tls.crt', 'client/tls.key'])
      expect((statSync(pem(file)).mode & 0o777).toString(8)).toBe('600')
    const before = readFileSync(pem('ca.key'), 'utf8')
    expect(await runToEnd(['generate-certs', '--output-dir', join(dir, 'pki')])).toMatchObject({ code: 0 })
    expect(readFileSync(pem('ca.key'), 'utf8')).toBe(before)
  })

  test('the copy for the commands of this user is made also of certificates that were there', async () => {
    const again = await home.run(['generate-certs', '--output-dir', join(dir, 'pki'), '--client-copy', 'mine'])
    expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining('nothing in it was changed') })
    expect(home.read('gateways', 'mine', 'mtls', 'tls.key')).toBe(readFileSync(pem('client/tls.key'), 'utf8'))
    expect(home.read('gateways', 'mine', 'mtls', 'ca.crt')).toBe(readFileSync(pem('ca.crt'), 'utf8'))
  })

  test('a part of a set is refused, and --force makes all anew', async () => {
    const part = join(dir, 'part')
    await runToEnd(['generate-certs', '--output-dir', part, '--key-type', 'ed25519'])
    rmSync(join(part, 'ca.key'))
    const refused = await runToEnd(['generate-certs', '--output-dir', part])
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('ca.key missing') })
    expect(await runToEnd(['generate-certs', '--output-dir', part, '--force'])).toMatchObject({ code: 0 })
    expect(existsSync(join(part, 'ca.key'))).toBe(true)
  })

  test('a name that no certificate can hold is one sentence', async () => {
    const { code, stderr } = await runToEnd(['generate-certs', '--output-dir', join(dir, 'x'), '--server-san', 'a b'])
    expect([code, stderr]).toEqual([2, "error: 'a b' is neither a DNS name nor an IP address\n"])
    expect(existsSync(join(dir, 'x'))).toBe(false)
  })
})

describe('TLS', () => {
  const health = (...args: string[]) => home.run(['call', 'Health', '--gateway-endpoint', url(), ...args])

  test.each(['localhost', '127.0.0.1'])('the default names of a server certificate hold for %s', async host => {
    const answer = await home.run(['call', 'Health', '--gateway-endpoint', url().replace('localhost', host), ...own()])
    expect(answer).toMatchObject({ code: 0, stderr: '' })
  })

  test('an authority named by --ca is enough', async () => {
    expect(await health('--ca', pem('ca.crt'))).toMatchObject({ code: 0 })
  })

  test('SSL_CERT_FILE joins the roots', async () => {
    const answer = await home.run(['call', 'Health', '--gateway-endpoint', url()], { SSL_CERT_FILE: pem('ca.crt') })
    expect(answer).toMatchObject({ code: 0 })
  })

  test('an authority nobody trusts is one sentence that says what to do', async () => {
    const { code, stderr } = await health()
    expect(code).toBe(5)
    expect(stderr).toContain('not from an authority this machine trusts; name that authority with --ca')
  })

  test('another authority, an expired one, a missing file, half a pair: each its own sentence', async () => {
    const others = { keyType: 'p256', days: 30, sans: [] } as const
    const write = async (name: string, nowMs: number) => {
      const files = await makeCertificates({ ...others, nowMs })
      writeFileSync(join(dir, name), files.get('ca.crt')!)
      return join(dir, name)
    }
    const foreign = await health('--ca', await write('foreign.crt', Date.now()))
    expect(foreign).toMatchObject({ code: 5, stderr: expect.stringContaining('not from an authority') })
    const expired = await health('--ca', await write('expired.crt', Date.now() - YEAR_MS))
    expect(expired).toMatchObject({ code: 5, stderr: expect.stringMatching(/expired|not from an authority/) })
    expect(await health('--ca', join(dir, 'none.crt'))).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('ENOENT'),
    })
    expect(await health('--ca', EXECUTABLE.replace(/[^/]+$/, ''))).toMatchObject({ code: 1 })
    expect(await health('--ca', '/dev/zero')).toMatchObject({
      ...{ code: 1, stderr: 'error: authority of the gateway: /dev/zero is larger than 8388608 bytes\n' },
    })
    expect(await health('--cert', pem('client/tls.crt'))).toMatchObject({ code: 2 })
  })

  test('files that hold something else are one sentence, and none of them is kept', async () => {
    writeFileSync(join(dir, 'bad.pem'), '-----BEGIN CERTIFICATE-----\nxxxx\n-----END CERTIFICATE-----\n')
    expect(await runToEnd(['generate-certs', '--output-dir', join(dir, 'other')])).toMatchObject({ code: 0 })
    const bad = join(dir, 'bad.pem')
    const otherKey = join(dir, 'other/client/tls.key')
    const rows: readonly (readonly [readonly string[], string])[] = [
      [['--ca', bad], `${bad} holds a certificate that cannot be read\n`],
      [['--cert', bad, '--key', pem('client/tls.key')], 'are not a client certificate and its private key\n'],
      [['--cert', pem('client/tls.crt'), '--key', otherKey], 'are not a client certificate and its private key\n'],
    ]
    for (const [files, text] of rows)
      for (const args of [
        ['call', 'Health', '--gateway-endpoint', url()],
        ['gateway', 'add', url(), '--name', 'x', '--local'],
      ]) {
        const { code, stderr } = await home.run([...args, ...files])
        expect([code, stderr]).toEqual([1, expect.stringContaining(text)])
        expect(stderr.split('\n')).toHaveLength(2)
      }
    expect(await home.run(['call', 'Health', '--gateway-endpoint', url()], { SSL_CERT_FILE: bad })).toMatchObject({
      ...{ code: 1, stderr: `error: SSL_CERT_FILE: ${bad} holds a certificate that cannot be read\n` },
    })
    expect(existsSync(home.path())).toBe(false)
  })

  test('a client certificate of another authority is one sentence that says so', async () => {
    expect(await runToEnd(['generate-certs', '--output-dir', join(dir, 'foreign')])).toMatchObject({ code: 0 })
    const [cert, key] = ['tls.crt', 'tls.key'].map(file => join(dir, 'foreign/client', file))
    const { code, stderr } = await health('--ca', pem('ca.crt'), '--cert', cert!, '--key', key!)
    expect([code, stderr]).toEqual([5, expect.stringMatching(/^error: .* take the client certificate.*\n$/)])
  })

  test('a registration keeps its certificates, and the bearer goes over mutual TLS', async () => {
    const added = await home.run(
      [
        ...['gateway', 'add', url(), '--name', 'safe', ...own()],
        ...['--oidc-issuer', issuer.url, '--oidc-scopes', 'openshell:all'],
      ],
      scripted('admin@test:admin'),
    )
    expect(added).toMatchObject({ code: 0 })
    expect((statSync(home.path('gateways', 'safe', 'mtls', 'tls.key')).mode & 0o777).toString(8)).toBe('600')
    expect(await home.run(['call', 'ListSandboxes'])).toMatchObject({ code: 0, stdout: '{}\n', stderr: '' })
    expect(await home.run(['health', '-g', 'safe'])).toMatchObject({ code: 0 })
  })

  test('health needs neither name nor trust to ask the gateway beside it', async () => {
    expect(await home.run(['health'], { OPENSHELL_SERVER_PORT: String(gateway.port) })).toMatchObject({ code: 0 })
    expect(await home.run(['health'], { OPENSHELL_SERVER_PORT: '1' })).toMatchObject({ code: 1 })
  })
})

describe('a gateway behind an edge that signs people in', () => {
  const JWT = 'eyJhbGciOiJub25lIn0.eyJlbWFpbCI6ImEifQ.x'

  /** What the edge and a person do: the page gets its cookie, and its button is pressed. */
  async function pressConnect(page: string, origin = url()): Promise<Response> {
    const tls = { tls: { ca: readFileSync(pem('ca.crt'), 'utf8') } }
    const text = await (await fetch(page, { headers: { cookie: `CF_Authorization=${JWT}` }, ...tls })).text()
    const value = (name: string) => JSON.parse(new RegExp(`var ${name} = (.+?);`).exec(text)![1]!) as string
    return fetch(`http://127.0.0.1:${value('port')}/callback`, {
      method: 'POST',
      headers: { origin, 'content-type': 'application/json' },
      body: JSON.stringify({ token: value('token'), code: value('code') }),
    })
  }

  test('the page hands over the token, other origins get nothing, and calls go through the tunnel', async () => {
    const login = beginLogin(home.env, ['gateway', 'add', url(), '--name', 'edge'])
    const page = await login.address()
    expect((await pressConnect(page, 'https://evil.example')).status).toBe(403)
    expect((await pressConnect(page.replace(/code=[^&]+/, 'code=AAA-AAAA'))).status).toBe(403)
    expect(await (await pressConnect(page)).json()).toEqual({ ok: true })
    expect(await login.ended()).toMatchObject({ code: 0 })
    expect(home.read('gateways', 'edge', 'edge_token')).toBe(JWT)
    expect(JSON.parse(home.read('gateways', 'edge', 'metadata.json'))).toMatchObject({ auth_mode: 'cloudflare_jwt' })
    const trust = { SSL_CERT_FILE: pem('ca.crt') }
    expect(await home.run(['call', 'Health'], trust)).toMatchObject({ code: 0, stderr: '' })
    expect(await home.run(['gateway', 'logout'])).toMatchObject({ code: 0 })
    expect(await home.run(['call', 'Health'], trust)).toMatchObject({ code: 3 })
  })

  test('an edge that no longer knows the token says so', async () => {
    const edge = Bun.serve({
      port: 0,
      hostname: '127.0.0.1',
      tls: { cert: readFileSync(pem('server/tls.crt'), 'utf8'), key: readFileSync(pem('server/tls.key'), 'utf8') },
      fetch: () => new Response(null, { status: 403 }),
    })
    const endpoint = `https://127.0.0.1:${edge.port}`
    await home.run(['gateway', 'add', endpoint, '--name', 'edge', '--no-login'])
    home.write(`${JWT}\n`, 'gateways', 'edge', 'cf_token')
    const { code, stderr } = await home.run(['call', 'Health'], { SSL_CERT_FILE: pem('ca.crt') })
    edge.stop(true)
    expect([code, stderr]).toEqual([
      5,
      `error: cannot reach ${endpoint} through its edge: it answers with status 403; your sign-in there may have ended\n`,
    ])
    expect(home.read('gateways', 'edge', 'edge_token')).toBe(JWT)
    expect(existsSync(home.path('gateways', 'edge', 'cf_token'))).toBe(false)
  })

  test('without a browser it is registered, and the sign-in is left for later', async () => {
    const { code, stderr } = await home.run(['gateway', 'add', url(), '--name', 'edge'], { OPENSHELL_NO_BROWSER: '1' })
    expect(code).toBe(0)
    expect(stderr).toContain('Authentication skipped')
    expect(home.read('active_gateway')).toBe('edge')
    expect(await home.run(['gateway', 'login'], { OPENSHELL_NO_BROWSER: '1' })).toMatchObject({
      code: 6,
      stderr: 'error: authentication skipped (OPENSHELL_NO_BROWSER is set).\n',
    })
  })
})
