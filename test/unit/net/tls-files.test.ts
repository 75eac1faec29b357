import { afterAll, beforeAll, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { createTls } from '../../../src/net/tls.ts'
import { type Certificates, createCertificates } from '../../kit/certificates.ts'
import { SILENT } from '../../kit/shared-port.ts'

let made: Certificates
beforeAll(() => {
  made = createCertificates()
  made.authority('ca')
  made.authority('ca2')
  made.leaf('server', 'ca', 'serverAuth')
  made.leaf('other', 'ca', 'serverAuth')
  const text = (name: string) => readFileSync(made.path(name), 'latin1')
  const block = (label: string, body: string) => `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`
  made.write('empty', '')
  made.write('text', 'hello\n')
  made.write('bad-base64', block('CERTIFICATE', '!!!!'))
  made.write('cut', '-----BEGIN CERTIFICATE-----\nAAAA\n')
  made.write('not-der', block('CERTIFICATE', 'AAAA'))
  made.write('bad-key', block('PRIVATE KEY', 'AAAA'))
  made.write('encrypted', block('ENCRYPTED PRIVATE KEY', 'AAAA'))
  made.write('both', text('server.crt') + text('server.key'))
  made.write('noise', `Subject: x\r\n\r\n${text('server.crt').replaceAll('\n', '\r\n')}\ntrailing\n`)
  made.write('two-cas', text('ca.crt') + text('ca2.crt'))
})
afterAll(() => made[Symbol.dispose]())

const load = (cert: string, key: string, ca: string) => {
  const [certFile, keyFile, clientCaFile] = [made.path(cert), made.path(key), made.path(ca)]
  return createTls({ certFile, keyFile, clientCaFile, clientCertificateOptional: false }, SILENT)
}

/** certificate, key, CA, sentence behind `TLS error: `, file it names */
const BAD: Array<[string, string, string, string, string]> = [
  ['none', 'server.key', 'ca.crt', 'failed to open cert file: No such file or directory (os error 2)', 'none'],
  ['server.crt', 'none', 'ca.crt', 'failed to open key file: No such file or directory (os error 2)', 'none'],
  ['server.crt', 'server.key', 'none', 'failed to open cert file: No such file or directory (os error 2)', 'none'],
  ['.', 'server.key', 'ca.crt', 'failed to parse certificates: Is a directory (os error 21)', ''],
  ['server.crt', '.', 'ca.crt', 'failed to parse key file: Is a directory (os error 21)', ''],
  ['empty', 'server.key', 'ca.crt', 'no certificates found in file', 'empty'],
  ['text', 'server.key', 'ca.crt', 'no certificates found in file', 'text'],
  ['bad-base64', 'server.key', 'ca.crt', 'failed to parse certificates: InvalidCharacter(33)', 'bad-base64'],
  ['cut', 'server.key', 'ca.crt', 'failed to parse certificates: section end "CERTIFICATE" missing', 'cut'],
  ['not-der', 'server.key', 'ca.crt', 'failed to create TLS config: invalid peer certificate: BadEncoding', 'not-der'],
  ['server.crt', 'empty', 'ca.crt', 'no private key found in file', 'empty'],
  ['server.crt', 'server.crt', 'ca.crt', 'no private key found in file', 'server.crt'],
  ['server.crt', 'encrypted', 'ca.crt', 'no private key found in file', 'encrypted'],
  [
    'server.crt',
    'bad-key',
    'ca.crt',
    'failed to create TLS config: unexpected error: failed to parse private key as RSA, ECDSA, or EdDSA',
    'bad-key',
  ],
  [
    'server.crt',
    'other.key',
    'ca.crt',
    'failed to create TLS config: keys may not be consistent: KeyMismatch',
    'other.key',
  ],
  ['server.crt', 'server.key', 'text', 'no certificates found in file', 'text'],
  [
    'server.crt',
    'server.key',
    'not-der',
    'failed to add CA certificate: invalid peer certificate: BadEncoding',
    'not-der',
  ],
]

test.each(BAD)('certificate %s, key %s, CA %s: %s', (cert, key, ca, sentence, file) => {
  const start = () => load(cert, key, ca)
  expect(start).toThrow(`TLS error: ${sentence} (file ${made.path(file)}`)
  expect(start).toThrow(expect.objectContaining({ name: 'StartError', exitCode: 1 }))
})

test.each([
  ['both', 'both', 'ca.crt'],
  ['noise', 'server.key', 'ca.crt'],
  ['server.crt', 'server.key', 'two-cas'],
  ['server.crt', 'server.key', 'server.crt'],
])('certificate %s, key %s, CA %s are fine', (cert, key, ca) => {
  expect(load(cert, key, ca).notAfterMs()).toBeGreaterThan(Date.now())
})
