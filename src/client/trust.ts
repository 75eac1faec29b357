import { readFileSync } from 'node:fs'
import { createSecureContext, getCACertificates, rootCertificates, type SecureContextOptions } from 'node:tls'
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

/** The text of a PEM file that `source` names. Throws a `ClientFailure` when it cannot be one. */
function readPem(path: string, source: string): string {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error'
    throw new ClientFailure('failed', `${source}: ${path} cannot be read: ${code}`, { cause: error })
  }
  if (!text.includes('-----BEGIN ')) throw new ClientFailure('failed', `${source}: ${path} holds no PEM`)
  return text
}
