/** Row 11: pages and gRPC on one TLS port, by clients that are not ours, with and without a client certificate (spec/auth.md §8). */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { X509Certificate } from 'node:crypto'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { freePort } from '../../src/dev/free-port.ts'
import { type Certificates, createCertificates } from '../kit/certificates.ts'
import { canRunForeignDriver } from '../kit/foreign-driver.ts'
import { type GatewayProcess, startGateway, until } from '../kit/gateway.ts'
import { type FakeIssuer, signingKey, startIssuer } from '../kit/issuer.ts'

setDefaultTimeout(30_000)

const HEALTH_CLIENT = join(import.meta.dir, '../kit/foreign/health_client.py')
const PYTHON = process.env['FOREIGN_PYTHON'] ?? 'python3'
const hasGrpcio = canRunForeignDriver()
const curl = Bun.which('curl')
if (!curl) console.log('skipped: pages by another client need curl')

/** What a client shows: a pair of files, or nothing. */
type Shown = 'client' | 'stranger' | 'nothing'

let certificates: Certificates
let issuer: FakeIssuer

beforeAll(async () => {
  certificates = createCertificates()
  certificates.authority('ca')
  certificates.authority('other-ca')
  certificates.leaf('server', 'ca', 'serverAuth')
  certificates.leaf('renewed', 'ca', 'serverAuth')
  certificates.leaf('client', 'ca', 'clientAuth')
  certificates.leaf('stranger', 'other-ca', 'clientAuth')
  issuer = await startIssuer(await signingKey('k1'))
})
afterAll(async () => {
  await issuer.close()
  certificates[Symbol.dispose]()
})

const start = (more: readonly string[] = [], cert = 'server') => {
  const path = certificates.path
  const files = ['--tls-cert', path(`${cert}.crt`), '--tls-key', path(`${cert}.key`), '--tls-client-ca', path('ca.crt')]
  const oidc = ['--oidc-issuer', issuer.url]
  return startGateway({
    tls: [...files, ...more],
    args: ['--compute-driver-socket', '/run/openshell-none/c.sock', ...oidc],
  })
}

const shownFiles = (shown: Shown): string[] =>
  shown === 'nothing' ? [] : [certificates.path(`${shown}.crt`), certificates.path(`${shown}.key`)]

/** The page's JSON, or null when there was no answer at all. */
async function page(gateway: GatewayProcess, shown: Shown, ...flags: string[]): Promise<unknown> {
  const [cert, key] = shownFiles(shown)
  const pair = cert && key ? ['--cert', cert, '--key', key] : []
  const url = `https://localhost:${gateway.port}/auth/oidc-config`
  const child = Bun.spawn([
    curl!,
    '--silent',
    '--max-time',
    '10',
    '--cacert',
    certificates.path('ca.crt'),
    ...pair,
    ...flags,
    url,
  ])
  const text = await new Response(child.stdout).text()
  return (await child.exited) === 0 ? JSON.parse(text) : null
}

async function health(gateway: GatewayProcess, shown: Shown): Promise<string> {
  const args = [PYTHON, HEALTH_CLIENT, `localhost:${gateway.port}`, certificates.path('ca.crt'), ...shownFiles(shown)]
  const child = Bun.spawn(args, { stderr: 'ignore' })
  const [said = ''] = (await new Response(child.stdout).text()).trim().split(' ')
  await child.exited
  return said
}

describe.each([
  { mode: 'certificates required', flags: [], nothing: false },
  { mode: 'certificates optional', flags: ['--disable-gateway-auth'], nothing: true },
])('$mode', ({ flags, nothing }) => {
  let gateway: GatewayProcess
  beforeAll(async () => {
    gateway = await start(flags)
  })
  afterAll(async () => {
    expect(await gateway.stop()).toBe(0)
  })

  test.skipIf(!curl)('curl reads the page over HTTP/1.1 and HTTP/2, as its certificate deserves', async () => {
    const body = { issuer: issuer.url, audience: 'openshell-cli' }
    for (const version of ['--http1.1', '--http2']) {
      expect(await page(gateway, 'client', version)).toMatchObject(body)
      expect(await page(gateway, 'stranger', version)).toBeNull()
      const anonymous = await page(gateway, 'nothing', version)
      if (nothing) expect(anonymous).toMatchObject(body)
      else expect(anonymous).toBeNull()
    }
  })

  test.skipIf(!hasGrpcio)('grpcio gets Health on the same port, as its certificate deserves', async () => {
    expect(await health(gateway, 'client')).toBe('OK')
    expect(await health(gateway, 'stranger')).toBe('UNAVAILABLE')
    expect(await health(gateway, 'nothing')).toBe(nothing ? 'OK' : 'UNAVAILABLE')
  })
})

/** One handshake; the SHA-256 of the certificate that was shown, or the error's text. */
function handshake(port: number): Promise<string> {
  const read = (name: string) => readFileSync(certificates.path(name))
  return new Promise(resolve => {
    const socket = connect({
      ...{ host: '127.0.0.1', port, servername: 'localhost', ALPNProtocols: ['h2'] },
      ...{ ca: read('ca.crt'), cert: read('client.crt'), key: read('client.key') },
    })
    socket.once('secureConnect', () => {
      const fingerprint = socket.getPeerX509Certificate()?.fingerprint256 ?? 'no certificate'
      socket.destroy()
      resolve(fingerprint)
    })
    socket.once('error', error => resolve(String(error)))
  })
}

test('T-05 a certificate renewed under load, half written in between: no handshake fails, and the new one is taken up', async () => {
  const path = certificates.path
  const fingerprintOf = (name: string) => new X509Certificate(readFileSync(path(`${name}.crt`))).fingerprint256
  for (const suffix of ['crt', 'key']) copyFileSync(path(`server.${suffix}`), path(`live.${suffix}`))
  const gateway = await start([], 'live')
  const seen: string[] = []
  let loading = true
  const load = Array.from({ length: 4 }, async () => {
    while (loading) seen.push(await handshake(gateway.port))
  })
  const more = (count: number) => {
    const wanted = seen.length + count
    return until('handshakes', () => seen.length >= wanted)
  }
  await more(50)
  expect(new Set(seen)).toEqual(new Set([fingerprintOf('server')]))
  // The certificate first, in two pieces, then the key: what is there in between does not fit together.
  const renewed = readFileSync(path('renewed.crt'), 'utf8')
  writeFileSync(path('live.crt'), renewed.slice(0, 200))
  gateway.child.kill('SIGHUP')
  await more(50)
  writeFileSync(path('live.crt'), renewed)
  gateway.child.kill('SIGHUP')
  await more(50)
  copyFileSync(path('renewed.key'), path('live.key'))
  gateway.child.kill('SIGHUP')
  await until('the new certificate', () => seen.at(-1) === fingerprintOf('renewed'))
  await more(50)
  loading = false
  await Promise.all(load)
  expect(new Set(seen)).toEqual(new Set([fingerprintOf('server'), fingerprintOf('renewed')]))
  // From then on nobody sees the old one.
  expect(seen.slice(-40).every(one => one === fingerprintOf('renewed'))).toBe(true)
  expect(await gateway.stop()).toBe(0)
})

test('T-04 the end of the certificate is a warning and a metric', async () => {
  const port = await freePort(0, true)
  const gateway = await start(['--metrics-port', String(port), '--metrics-bind-address', '127.0.0.1'])
  expect(await gateway.logged(line => line.message === 'TLS certificate expires soon')).toMatchObject({
    ...{ level: 'WARN', days_left: 1 },
  })
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
  const endMs = Date.parse(new X509Certificate(readFileSync(certificates.path('server.crt'))).validTo)
  expect(metrics).toContain(`\nopenshell_gateway_tls_certificate_not_after_seconds ${endMs / 1000}\n`)
  await gateway.stop()
})
