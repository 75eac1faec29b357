import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { closeSync, fstatSync, openSync, readFileSync, type Stats, statSync } from 'node:fs'
import { StartError } from '../base/errors.ts'
import { osErrorText } from '../base/os-error.ts'
import type { TlsConfig } from '../config/config.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'

/** Certificate chain, key and client authorities that were read together and fit together. */
export interface TlsMaterial {
  /** PEM, leaf first. */
  readonly cert: string
  readonly key: string
  /** PEM, one authority each. */
  readonly ca: readonly string[]
  /** Of the leaf, milliseconds since the epoch. */
  readonly notAfterMs: number
  /** SHA-256 of the leaf, lower-case hex. */
  readonly fingerprint: string
}

/**
 * Reads and checks the three files. Throws a StartError with the sentences of spec/gateway.md §5, each naming its
 * file; text around the PEM blocks is skipped, so one file may hold certificate and key.
 */
export function loadTlsMaterial(config: TlsConfig, log: Logger): TlsMaterial {
  const { certFile, keyFile, clientCaFile } = config
  const chain = readCertificates(certFile)
  const { pem: keyPem, stats } = readKey(keyFile)
  checkKeyMode(keyFile, stats, log)
  const leaf = parseCertificate(chain[0] as string)
  if (leaf === null || chain.some(pem => parseCertificate(pem) === null)) {
    throw failure('failed to create TLS config: invalid peer certificate: BadEncoding', certFile)
  }
  const key = parseKey(keyPem)
  if (key === null) {
    const text = 'failed to create TLS config: unexpected error: failed to parse private key as RSA, ECDSA, or EdDSA'
    throw failure(text, keyFile)
  }
  if (!leaf.checkPrivateKey(key)) {
    throw failure('failed to create TLS config: keys may not be consistent: KeyMismatch', keyFile)
  }
  return {
    cert: chain.join('\n'),
    key: keyPem,
    ca: readAuthorities(clientCaFile),
    notAfterMs: Date.parse(leaf.validTo),
    fingerprint: leaf.fingerprint256.replaceAll(':', '').toLowerCase(),
  }
}

/** The certificates of a bundle of authorities, PEM each; throws a StartError when one is none. */
export function readAuthorities(file: string): readonly string[] {
  const authorities = readCertificates(file)
  if (authorities.every(pem => parseCertificate(pem) !== null)) return authorities
  throw failure('failed to add CA certificate: invalid peer certificate: BadEncoding', file)
}

/** A text that changes whenever one of the files does; a missing file is a state too. */
export function changeMark({ certFile, keyFile, clientCaFile }: TlsConfig): string {
  const mark = (file: string): string => {
    try {
      const { dev, ino, size, mtimeMs } = statSync(file)
      return `${dev}:${ino}:${size}:${mtimeMs}`
    } catch {
      return 'absent'
    }
  }
  return [certFile, keyFile, clientCaFile].map(mark).join(' ')
}

const failure = (text: string, file: string, cause?: unknown): StartError =>
  new StartError(`TLS error: ${text} (file ${file})`, 1, { cause })

/** Key blocks of the forms in use; `ENCRYPTED PRIVATE KEY` is none of them: nobody could type its password. */
const KEY_LABELS = new Set(['PRIVATE KEY', 'RSA PRIVATE KEY', 'EC PRIVATE KEY'])

function readCertificates(file: string): readonly string[] {
  const { text } = readText(file, 'failed to open cert file', 'failed to parse certificates')
  const blocks = pemBlocks(text).filter(block => block.label === 'CERTIFICATE')
  const broken = blocks.find(block => block.problem !== null)
  if (broken) throw failure(`failed to parse certificates: ${broken.problem}`, file)
  if (blocks.length === 0) throw failure('no certificates found in file', file)
  return blocks.map(block => block.pem)
}

function readKey(file: string): { pem: string; stats: Stats } {
  const { text, stats } = readText(file, 'failed to open key file', 'failed to parse key file')
  const block = pemBlocks(text).find(({ label }) => KEY_LABELS.has(label))
  if (block === undefined) throw failure('no private key found in file', file)
  if (block.problem !== null) throw failure(`failed to parse key file: ${block.problem}`, file)
  return { pem: block.pem, stats }
}

/** Mode and content of the same open file, so that neither can be swapped between the two looks. */
function readText(file: string, openProblem: string, readProblem: string): { text: string; stats: Stats } {
  let descriptor: number
  try {
    descriptor = openSync(file, 'r')
  } catch (error) {
    throw failure(`${openProblem}: ${osErrorText(error)}`, file, error)
  }
  try {
    const stats = fstatSync(descriptor)
    if (stats.isDirectory()) throw failure(`${readProblem}: Is a directory (os error 21)`, file)
    if (stats.size > LIMITS.tlsFileBytes)
      throw failure(`${readProblem}: larger than ${LIMITS.tlsFileBytes} bytes`, file)
    return { text: readFileSync(descriptor, 'latin1'), stats }
  } catch (error) {
    if (error instanceof StartError) throw error
    throw failure(`${readProblem}: ${osErrorText(error)}`, file, error)
  } finally {
    closeSync(descriptor)
  }
}

interface PemBlock {
  readonly label: string
  readonly pem: string
  /** What is wrong with the block, in the words of the reference; null = nothing. */
  readonly problem: string | null
}

/** Every block that begins in `text`, in order. */
function pemBlocks(text: string): PemBlock[] {
  const blocks: PemBlock[] = []
  const begin = /^-----BEGIN ([A-Z0-9 ]+)-----[ \t]*\r?$/gm
  for (let match = begin.exec(text); match !== null; match = begin.exec(text)) {
    const label = match[1] as string
    const ending = `-----END ${label}-----`
    const end = text.indexOf(ending, begin.lastIndex)
    if (end < 0) {
      blocks.push({ label, pem: '', problem: `section end "${label}" missing` })
      break
    }
    const body = text.slice(begin.lastIndex, end)
    const odd = /[^A-Za-z0-9+/=\s:,-]/.exec(body)
    const pem = `${match[0].trimEnd()}${body.replaceAll('\r', '')}${ending}\n`
    blocks.push({ label, pem, problem: odd ? `InvalidCharacter(${odd[0].charCodeAt(0)})` : null })
    begin.lastIndex = end
  }
  return blocks
}

function parseCertificate(pem: string): X509Certificate | null {
  try {
    return new X509Certificate(pem)
  } catch {
    return null
  }
}

function parseKey(pem: string): KeyObject | null {
  try {
    return createPrivateKey(pem)
  } catch {
    return null
  }
}

const GROUP_OR_WORLD_READABLE = 0o044
const GROUP_OR_WORLD_WRITABLE = 0o022

/**
 * T-07. A key that others may replace is refused; one that others may read is announced only, because secrets
 * mounted by container platforms look like that and the mount is what keeps others out.
 */
function checkKeyMode(file: string, stats: Stats, log: Logger): void {
  const mode = (stats.mode & 0o777).toString(8).padStart(4, '0')
  if ((stats.mode & GROUP_OR_WORLD_WRITABLE & 0o002) !== 0) {
    throw new StartError(`TLS error: private key file is writable by everybody (mode ${mode}) (file ${file})`, 2)
  }
  if ((stats.mode & (GROUP_OR_WORLD_READABLE | GROUP_OR_WORLD_WRITABLE)) !== 0) {
    log.warn('TLS private key file is open to other users', { file, mode })
  }
  const self = process.getuid?.()
  if (self !== undefined && stats.uid !== self && stats.uid !== 0) {
    log.warn('TLS private key file belongs to another user', { file, owner: stats.uid })
  }
}
