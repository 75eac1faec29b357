import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { chmodSync, copyFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { LIMITS } from '../../src/limits.ts'
import { createTls } from '../../src/net/tls.ts'
import { createCapturedLog } from '../kit/captured-log.ts'
import { type Certificates, createCertificates } from '../kit/certificates.ts'
import { createFakeClock } from '../kit/clock.ts'
import { openRaw } from '../kit/raw-socket.ts'
import { openSharedPort, SILENT } from '../kit/shared-port.ts'

let certificates: Certificates
beforeAll(() => {
  certificates = createCertificates()
  for (const name of ['ca', 'foreign-ca']) certificates.authority(name)
  certificates.leaf('server', 'ca', 'serverAuth')
  certificates.leaf('renewed', 'ca', 'serverAuth')
  certificates.leaf('client', 'ca', 'clientAuth')
  certificates.leaf('any-use', 'ca', null)
  certificates.leaf('not-for-clients', 'ca', 'serverAuth')
  certificates.leaf('foreign', 'foreign-ca', 'clientAuth')
  certificates.authority('self-signed')
})
afterAll(() => certificates[Symbol.dispose]())

const read = (name: string) => readFileSync(certificates.path(name))

const config = (clientCertificateOptional = false, leaf = 'server') => ({
  certFile: certificates.path(`${leaf}.crt`),
  keyFile: certificates.path(`${leaf}.key`),
  clientCaFile: certificates.path('ca.crt'),
  clientCertificateOptional,
})

/** Status of a plain HTTP/1.1 request through TLS, or `refused`. */
function ask(port: number, certificate: string | null, options: ConnectionOptions = {}): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>()
  const shown = certificate === null ? {} : { cert: read(`${certificate}.crt`), key: read(`${certificate}.key`) }
  const socket = connect(
    { port, host: '127.0.0.1', servername: 'localhost', ca: read('ca.crt'), ...shown, ...options },
    () => socket.write('GET /nope HTTP/1.1\r\nHost: x\r\n\r\n'),
  )
  socket.on('data', (chunk: Buffer) => {
    resolve(chunk.toString().split(' ')[1] ?? 'nonsense')
    socket.destroy()
  })
  socket.on('error', () => resolve('refused'))
  socket.on('close', () => resolve('refused'))
  return promise
}

describe('who may connect (T-06)', () => {
  const CASES: Array<[certificate: string | null, required: string, optional: string]> = [
    [null, 'refused', '404'],
    ['client', '404', '404'],
    ['any-use', '404', '404'],
    ['not-for-clients', 'refused', 'refused'],
    ['foreign', 'refused', 'refused'],
    ['self-signed', 'refused', 'refused'],
  ]
  test.each(CASES)('client certificate %s: required %s, optional %s', async (certificate, required, optional) => {
    for (const [isOptional, expected] of [
      [false, required],
      [true, optional],
    ] as const) {
      await using port = await openSharedPort({ tls: createTls(config(isOptional), SILENT) })
      for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
        expect(await ask(port.port, certificate, { minVersion: version, maxVersion: version })).toBe(expected)
      }
    }
  })

  test('the peer carries the fingerprint of a verified certificate and nothing else', async () => {
    await using port = await openSharedPort({ tls: createTls(config(true), SILENT) })
    const { connect: connectHttp2 } = await import('node:http2')
    for (const shown of [{ cert: read('client.crt'), key: read('client.key') }, {}]) {
      const session = connectHttp2(`https://localhost:${port.port}`, { ca: read('ca.crt'), ...shown })
      const stream = session.request({ ':path': '/' })
      await new Promise((resolve, reject) => stream.once('response', resolve).once('error', reject))
      session.destroy()
    }
    const { fingerprint256 } = new (await import('node:crypto')).X509Certificate(read('client.crt'))
    const expected = fingerprint256.replaceAll(':', '').toLowerCase()
    expect(port.peers.map(peer => peer.certificateFingerprint)).toEqual([expected, null])
    expect(port.peers[0]?.address).toBe('127.0.0.1')
  })
})

describe('protocol versions, suites, ALPN (T-08, T-09)', () => {
  test('TLS 1.1 and suites without forward secrecy are refused', async () => {
    await using port = await openSharedPort({ tls: createTls(config(true), SILENT) })
    expect(await ask(port.port, null, { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1' })).toBe('refused')
    const only = (ciphers: string) => ask(port.port, null, { maxVersion: 'TLSv1.2', ciphers })
    expect(await only('ECDHE-ECDSA-AES128-GCM-SHA256')).toBe('404')
    expect(await only('ECDHE-ECDSA-CHACHA20-POLY1305')).toBe('404')
    expect(await only('ECDHE-ECDSA-AES128-SHA')).toBe('refused')
    expect(await only('AES128-GCM-SHA256')).toBe('refused')
  })

  test.each([
    [undefined, '404'],
    [['h2'], '404'],
    [['http/1.1'], '404'],
    [['h2', 'http/1.1'], '404'],
    [['made-up'], 'refused'],
  ])('ALPN %p: the first octets decide, an unknown protocol is refused', async (ALPNProtocols, expected) => {
    await using port = await openSharedPort({ tls: createTls(config(true), SILENT) })
    expect(await ask(port.port, null, ALPNProtocols ? { ALPNProtocols } : {})).toBe(expected)
  })
})

describe('broken handshakes (F-10)', () => {
  test('plaintext on the TLS port is closed without an HTTP answer', async () => {
    await using port = await openSharedPort({ tls: createTls(config(), SILENT) })
    const raw = await openRaw(port.port)
    raw.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    expect((await raw.closed()).toString('latin1')).not.toContain('HTTP')
    raw.destroy()
  })

  test(
    'silence and half a ClientHello are closed at 5 s and leave nothing behind',
    async () => {
      await using port = await openSharedPort({ tls: createTls(config(), SILENT) })
      const raws = await Promise.all(Array.from({ length: 20 }, () => openRaw(port.port)))
      for (const [n, raw] of raws.entries()) if (n % 2) raw.send('\x16\x03\x01\x02\x00\x01')
      await Promise.all(raws.map(raw => raw.closed(LIMITS.tlsHandshakeMs + 2000)))
      expect(port.listener.connections()).toBe(0)
      for (const raw of raws) raw.destroy()
    },
    LIMITS.tlsHandshakeMs + 5000,
  )
})

describe('files on disk (T-05, T-07)', () => {
  const serial = (port: number): Promise<string> => {
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    const socket: TLSSocket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca: read('ca.crt') }, () => {
      resolve(socket.getPeerX509Certificate()?.subject ?? '')
      socket.destroy()
    })
    socket.on('error', reject)
    return promise
  }

  test('a rotation is picked up by reload and by the poll; a half-written one keeps the old pair', async () => {
    for (const end of ['crt', 'key']) copyFileSync(certificates.path(`server.${end}`), certificates.path(`live.${end}`))
    const log = createCapturedLog()
    const clock = createFakeClock()
    const tls = createTls(config(true, 'live'), log, clock)
    await using port = await openSharedPort({ tls })
    tls.startWatching()
    expect(await serial(port.port)).toBe('CN=server')

    // Only the certificate is there yet: it does not fit the key.
    copyFileSync(certificates.path('renewed.crt'), certificates.path('live.crt'))
    clock.advance(LIMITS.tlsPollMs)
    expect(log.lines.at(-1)?.message).toBe('TLS reload failed, the previous certificate stays in use')
    expect(await serial(port.port)).toBe('CN=server')

    copyFileSync(certificates.path('renewed.key'), certificates.path('live.key.new'))
    renameSync(certificates.path('live.key.new'), certificates.path('live.key'))
    clock.advance(LIMITS.tlsPollMs)
    expect(await serial(port.port)).toBe('CN=renewed')

    writeFileSync(certificates.path('live.crt'), 'nonsense')
    expect(tls.reload()).toBe(false)
    expect(await serial(port.port)).toBe('CN=renewed')
    tls.close()
  })

  test('T-04 its end is announced 30, 7 and 1 days before and when it comes, once each; it keeps serving', async () => {
    certificates.leaf('quarter', 'ca', 'serverAuth', 90)
    const log = createCapturedLog()
    const clock = createFakeClock(Date.now())
    const tls = createTls(config(true, 'quarter'), log, clock)
    expect(log.lines).toMatchObject([{ message: 'TLS certificate loaded', fields: { not_after: expect.any(String) } }])
    await using port = await openSharedPort({ tls })
    tls.startWatching()
    const said = (daysLeft: number) => {
      const before = log.lines.length
      clock.jumpWall(tls.notAfterMs() - daysLeft * 86_400_000 - clock.nowMs())
      for (let polls = 0; polls < 2; polls++) clock.advance(LIMITS.tlsPollMs)
      return log.lines.slice(before).map(({ level, message, fields }) => [level, message, fields['days_left']])
    }
    const soon = 'TLS certificate expires soon'
    expect([31, 30, 29, 7, 6, 1, 0.5, 0, -1].map(said)).toEqual([
      ...[[], [['warn', soon, 29]], [], [['warn', soon, 6]], [], [['warn', soon, 0]], []],
      ...[[['warn', 'TLS certificate has expired', -1]], []],
    ])
    expect(await serial(port.port)).toBe('CN=quarter')
    tls.close()
  })

  test('no handshake fails while the pair is swapped back and forth', async () => {
    const names = ['server', 'renewed']
    for (const end of ['crt', 'key']) copyFileSync(certificates.path(`server.${end}`), certificates.path(`swap.${end}`))
    const tls = createTls(config(true, 'swap'), SILENT)
    await using port = await openSharedPort({ tls })
    for (let round = 0; round < 30; round++) {
      const asked = serial(port.port)
      for (const end of ['crt', 'key']) {
        copyFileSync(certificates.path(`${names[round % 2]}.${end}`), certificates.path(`swap.${end}`))
      }
      expect(tls.reload()).toBe(true)
      expect(await asked).toMatch(/^CN=(server|renewed)$/)
    }
  })

  test('a key others may read is announced, one others may write is refused with exit 2', () => {
    copyFileSync(certificates.path('server.key'), certificates.path('open.key'))
    const open = { ...config(), keyFile: certificates.path('open.key') }
    const warnings = (mode: number) => {
      chmodSync(open.keyFile, mode)
      const log = createCapturedLog()
      createTls(open, log)
      return log.lines.filter(({ level }) => level === 'warn' || level === 'error').map(({ message }) => message)
    }
    // The certificates of this test end in two days, which is announced too.
    expect(warnings(0o600)).not.toContain('TLS private key file is open to other users')
    expect(warnings(0o644)).toContain('TLS private key file is open to other users')
    expect(() => warnings(0o666)).toThrow(expect.objectContaining({ exitCode: 2 }))
  })
})
