import { type Endpoint, parseEndpoint } from './channel.ts'
import type { Credential } from './credential.ts'
import { ClientFailure } from './failure.ts'
import { defaultRoots, readPem } from './trust.ts'

/** A gateway, and as whom to talk to it. */
export interface Target {
  /** Name in the registry; null = only the URL is known. */
  readonly gateway: string | null
  readonly endpoint: Endpoint
  readonly credential: Credential
}

/** Paths of PEM files; null = not given. */
export interface TlsFiles {
  readonly ca: string | null
  readonly cert: string | null
  readonly key: string | null
}

type Env = Readonly<Record<string, string | undefined>>

/** The endpoint of a URL with the files named. Throws a `ClientFailure` that says what is wrong with them. */
export function endpointWith(url: string, files: TlsFiles, env: Env): Endpoint {
  const parsed = parseEndpoint(url)
  if ((files.cert === null) !== (files.key === null))
    throw new ClientFailure('usage', 'a client certificate needs both --cert and --key')
  if (parsed.protocol === 'http:') return { url: parsed, tls: {} }
  const pair =
    files.cert !== null && files.key !== null
      ? { cert: readPem(files.cert, '--cert'), key: readPem(files.key, '--key') }
      : {}
  return { url: parsed, tls: { ca: files.ca === null ? defaultRoots(env) : readPem(files.ca, '--ca'), ...pair } }
}
