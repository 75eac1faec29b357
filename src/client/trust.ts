import { closeSync, openSync, readSync } from 'node:fs'
import { createSecureContext, getCACertificates, rootCertificates, type SecureContextOptions } from 'node:tls'
import { LIMITS } from '../limits.ts'
import { ClientFailure } from './failure.ts'

/**
 * The authorities a client trusts when none is named: those of the runtime, those of the system, and the bundle that
 * `SSL_CERT_FILE` names. Throws a `ClientFailure` when that file cannot be used: silence would end in a riddle.
 */
export function defaultRoots(env: Readonly<Record<string, string | undefined>>): string[] {
  const named = env['SSL_CERT_FILE']
  const roots = new Set([...rootCertificates, ...systemRoots()])
  if (named) roots.add(readAuthorities(named, 'SSL_CERT_FILE'))
  return [...roots]
}

function systemRoots(): readonly string[] {
  try {
    return getCACertificates('system')
  } catch {
    return []
  }
}

const PART_BYTES = 65_536

/** A client certificate and its private key, as texts. */
export interface KeyPair {
  readonly cert: string
  readonly key: string
}

/** Whether TLS can be spoken with these texts. */
function fits(options: SecureContextOptions): boolean {
  try {
    createSecureContext(options)
    return true
  } catch {
    return false
  }
}

/** The text of a PEM file of authorities that `source` names. Throws a `ClientFailure` when nothing can be checked with it. */
export function readAuthorities(path: string, source: string): string {
  const ca = readPem(path, source)
  if (!fits({ ca })) throw new ClientFailure('failed', `${source}: ${path} holds a certificate that cannot be read`)
  return ca
}

/** A client certificate with its key. Throws a `ClientFailure` when they cannot be read or do not belong together. */
export function readPair(paths: KeyPair): KeyPair {
  const pair = { cert: readPem(paths.cert, 'client certificate'), key: readPem(paths.key, 'private key') }
  if (!fits(pair))
    throw new ClientFailure('failed', `${paths.cert} and ${paths.key} are not a client certificate and its private key`)
  return pair
}

/** The text of a file, a pipe among them, up to `most` bytes; null when there is more. */
function readUpTo(path: string, most: number): string | null {
  const fd = openSync(path, 'r')
  try {
    const parts: Buffer[] = []
    let size = 0
    for (;;) {
      const part = Buffer.alloc(PART_BYTES)
      const read = readSync(fd, part, 0, PART_BYTES, null)
      if (read === 0) return Buffer.concat(parts).toString('utf8')
      parts.push(part.subarray(0, read))
      size += read
      if (size > most) return null
    }
  } finally {
    closeSync(fd)
  }
}

/** The text of a PEM file that `source` names. Throws a `ClientFailure` when it cannot be one. */
function readPem(path: string, source: string): string {
  let text: string | null
  try {
    text = readUpTo(path, LIMITS.pemFileBytes)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error'
    throw new ClientFailure('failed', `${source}: ${path} cannot be read: ${code}`, { cause: error })
  }
  if (text === null) throw new ClientFailure('failed', `${source}: ${path} is larger than ${LIMITS.pemFileBytes} bytes`)
  if (!text.includes('-----BEGIN ')) throw new ClientFailure('failed', `${source}: ${path} holds no PEM`)
  return text
}
