import { readFileSync } from 'node:fs'
import { getCACertificates, rootCertificates } from 'node:tls'
import { ClientFailure } from './failure.ts'

/**
 * The authorities a client trusts when none is named: those of the runtime, those of the system, and the bundle that
 * `SSL_CERT_FILE` names. Throws a `ClientFailure` when that file cannot be used: silence would end in a riddle.
 */
export function defaultRoots(env: Readonly<Record<string, string | undefined>>): string[] {
  const named = env['SSL_CERT_FILE']
  const roots = new Set([...rootCertificates, ...systemRoots()])
  if (named) roots.add(readPem(named, 'SSL_CERT_FILE'))
  return [...roots]
}

function systemRoots(): readonly string[] {
  try {
    return getCACertificates('system')
  } catch {
    return []
  }
}

/** The text of a PEM file that `source` names. Throws a `ClientFailure` when it cannot be one. */
export function readPem(path: string, source: string): string {
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
