import { isIP } from 'node:net'
import type { ExtendedKeyUsage, Extension } from '@peculiar/x509'
import { ClientFailure } from './failure.ts'

/** The library needs a polyfill to be there before it loads, which the bundler does not promise for static imports. */
async function loadX509() {
  await import('reflect-metadata')
  return import('@peculiar/x509')
}
type X509 = Awaited<ReturnType<typeof loadX509>>

/** Kinds of keys; P-256 is understood everywhere, Ed25519 not by every TLS library. */
export const KEY_TYPES = ['p256', 'ed25519'] as const
export type KeyType = (typeof KEY_TYPES)[number]

/** TABLE Names and addresses that every server certificate holds (spec/deploy.md §6.1, §6.4). */
export const DEFAULT_SANS: readonly string[] = [
  'openshell',
  'openshell.openshell.svc',
  'openshell.openshell.svc.cluster.local',
  'localhost',
  'openshell.localhost',
  '*.openshell.localhost',
  'host.docker.internal',
  'host.containers.internal',
  '127.0.0.1',
  '::1',
]

const ALGORITHMS = {
  p256: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
  ed25519: { name: 'Ed25519' },
} as const
const DAY_MS = 86_400_000
/** Clocks of other machines may be a little behind. */
const BACKDATE_MS = 3_600_000
const SERIAL_BYTES = 16
const DNS_NAME = /^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*$/

/** PEM texts by file, relative to the output directory (spec/deploy.md §6.2). */
export type CertificateFiles = ReadonlyMap<string, string>

/** What to make. */
export interface CertificateWish {
  readonly keyType: KeyType
  readonly days: number
  /** DNS names and IP addresses beside the default ones. */
  readonly sans: readonly string[]
  readonly nowMs: number
}

/** One alternative name. Throws a `ClientFailure` for what is neither a DNS name nor an IP address. */
export function parseSan(text: string): { readonly type: 'ip' | 'dns'; readonly value: string } {
  if (isIP(text) !== 0) return { type: 'ip', value: text }
  if (text.length > 253 || !DNS_NAME.test(text))
    throw new ClientFailure('usage', `'${text}' is neither a DNS name nor an IP address`)
  return { type: 'dns', value: text }
}

interface Identity {
  readonly subject: string
  readonly keys: CryptoKeyPair
}

const makeKeys = (type: KeyType): Promise<CryptoKeyPair> =>
  crypto.subtle.generateKey(ALGORITHMS[type], true, ['sign', 'verify']) as Promise<CryptoKeyPair>

const serial = (): string => {
  const bytes = crypto.getRandomValues(new Uint8Array(SERIAL_BYTES))
  // Positive and of full length, as RFC 5280 §4.1.2.2 wants it.
  bytes[0] = (bytes[0]! & 0x7f) | 0x40
  return Buffer.from(bytes).toString('hex')
}

/** Issues one certificate; `issuer` = the identity itself for an authority. */
async function issue(
  x509: X509,
  wish: CertificateWish,
  of: Identity,
  issuer: Identity,
  extensions: readonly Extension[],
): Promise<string> {
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: of.subject,
    issuer: issuer.subject,
    notBefore: new Date(wish.nowMs - BACKDATE_MS),
    notAfter: new Date(wish.nowMs + wish.days * DAY_MS),
    publicKey: of.keys.publicKey,
    signingKey: issuer.keys.privateKey,
    signingAlgorithm: ALGORITHMS[wish.keyType],
    extensions: [
      ...extensions,
      await x509.SubjectKeyIdentifierExtension.create(of.keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.keys.publicKey),
    ],
  })
  return `${certificate.toString('pem')}\n`
}

const keyPem = async (x509: X509, keys: CryptoKeyPair): Promise<string> =>
  `${x509.PemConverter.encode(await crypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY')}\n`

const leafExtensions = (x509: X509, usage: ExtendedKeyUsage): Extension[] => [
  new x509.BasicConstraintsExtension(false, undefined, true),
  new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
  new x509.ExtendedKeyUsageExtension([usage]),
]

/**
 * Makes an authority, a server and a client certificate with their keys: PEM, PKCS#8. The authority signs nothing but
 * leaves (path length 0), the leaves serve one purpose each. Throws a `ClientFailure` for a name that cannot be.
 */
export async function makeCertificates(wish: CertificateWish): Promise<CertificateFiles> {
  const x509 = await loadX509()
  const sans = [...new Set([...DEFAULT_SANS, ...wish.sans])].map(parseSan)
  const identity = async (subject: string): Promise<Identity> => ({ subject, keys: await makeKeys(wish.keyType) })
  const authority = await identity('O=openshell,CN=openshell-ca')
  const server = await identity('O=openshell,CN=openshell-server')
  const client = await identity('O=openshell,OU=openshell-user,CN=openshell-client')
  return new Map([
    [
      'ca.crt',
      await issue(x509, wish, authority, authority, [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      ]),
    ],
    ['ca.key', await keyPem(x509, authority.keys)],
    [
      'server/tls.crt',
      await issue(x509, wish, server, authority, [
        ...leafExtensions(x509, x509.ExtendedKeyUsage.serverAuth),
        new x509.SubjectAlternativeNameExtension(sans),
      ]),
    ],
    ['server/tls.key', await keyPem(x509, server.keys)],
    [
      'client/tls.crt',
      await issue(x509, wish, client, authority, leafExtensions(x509, x509.ExtendedKeyUsage.clientAuth)),
    ],
    ['client/tls.key', await keyPem(x509, client.keys)],
  ])
}
