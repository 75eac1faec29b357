import { type Endpoint, parseEndpoint } from './channel.ts'
import { ANONYMOUS, type Credential, edgeBearer } from './credential.ts'
import { edgeDialer } from './edge-tunnel.ts'
import { ClientFailure } from './failure.ts'
import { isLoopback } from './issuer-http.ts'
import { authModeOf, type Registration } from './registration.ts'
import type { Entry, Registry } from './registry.ts'
import { TokenSource } from './token-source.ts'
import { defaultRoots, readAuthorities, readPair } from './trust.ts'

type Env = Readonly<Record<string, string | undefined>>

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

/** What flags and variables say about the gateway to use. */
export interface TargetWish {
  readonly url: string | null
  readonly name: string | null
  readonly files: TlsFiles
  /** Replaces the stored token; null = none was handed over. */
  readonly credential: Credential | null
}

/** What finding a gateway needs from around it. */
export interface TargetContext {
  readonly registry: Registry
  readonly env: Env
  readonly nowMs: () => number
  readonly warn: (text: string) => void
}

/** The endpoint of a URL with the files named. Throws a `ClientFailure` that says what is wrong with them. */
export function endpointWith(url: string, files: TlsFiles, env: Env): Endpoint {
  const parsed = parseEndpoint(url)
  if ((files.cert === null) !== (files.key === null))
    throw new ClientFailure('usage', 'a client certificate needs both its PEM file and the one of its private key')
  if (parsed.protocol === 'http:') return { url: parsed, tls: {} }
  const pair = files.cert !== null && files.key !== null ? readPair({ cert: files.cert, key: files.key }) : {}
  const ca = files.ca === null ? defaultRoots(env) : readAuthorities(files.ca, 'authority of the gateway')
  return { url: parsed, tls: { ca, ...pair } }
}

const sameEndpoint = (a: string, b: string): boolean => a.replace(/\/+$/, '') === b.replace(/\/+$/, '')

/** The registered gateway with this URL: the active one first, then by name (spec/client.md §3). */
function entryWithUrl(registry: Registry, url: string): Entry | null {
  const fits = registry.list().entries.filter(entry => sameEndpoint(entry.registration.gateway_endpoint, url))
  const active = fits.length > 1 ? registry.active() : null
  return fits.find(entry => entry.registration.name === active) ?? fits[0] ?? null
}

/** The gateway of that name. Throws a `ClientFailure` with what to do. */
export function namedEntry(registry: Registry, name: string): Entry {
  const entry = registry.find(name)
  if (!entry)
    throw new ClientFailure('failed', `Unknown gateway '${name}'. openshell-gateway gateway list shows those there are`)
  return entry
}

/** The name of the active gateway. Throws a `ClientFailure` when there is none. */
export function activeName(registry: Registry): string {
  const name = registry.active()
  if (name === null)
    throw new ClientFailure(
      'failed',
      'No active gateway. Register one with openshell-gateway gateway add, or choose one with openshell-gateway gateway select',
    )
  return name
}

function entryFor(wish: TargetWish, registry: Registry): Entry | null {
  if (wish.url === null) return namedEntry(registry, wish.name ?? activeName(registry))
  return wish.name === null ? entryWithUrl(registry, wish.url) : registry.find(wish.name)
}

interface StoredProof {
  readonly credential: Credential
  readonly edge?: string
}

/** The stored proof of a registration; the token of an edge also decides how its connections are made. */
function storedProof(registration: Registration, context: TargetContext): StoredProof {
  switch (authModeOf(registration)) {
    case 'oidc':
      return { credential: new TokenSource({ registration, ...context }) }
    case 'cloudflare_jwt': {
      const edge = context.registry.edgeToken(registration.name)
      if (edge === null)
        throw new ClientFailure(
          'sign-in',
          `gateway '${registration.name}': you are not signed in; sign in with: openshell-gateway gateway login ${registration.name}`,
        )
      return { credential: edgeBearer(edge), edge }
    }
    default:
      return { credential: ANONYMOUS }
  }
}

/** A stored token goes to the gateway it was made for and nowhere else (spec/client.md §18 row 6). */
function checkOrigin(registration: Registration, url: URL): void {
  const home = parseEndpoint(registration.gateway_endpoint)
  if (home.origin !== url.origin && authModeOf(registration) !== 'plaintext')
    throw new ClientFailure(
      'usage',
      `the credentials of gateway '${registration.name}' are for ${home.origin} and are not sent to ${url.origin}`,
    )
}

/** The gateway that is meant, with the proof to show it. Throws a `ClientFailure`. */
export function resolveTarget(wish: TargetWish, context: TargetContext): Target {
  const { registry, env } = context
  const registration = entryFor(wish, registry)?.registration ?? null
  const url = wish.url ?? registration!.gateway_endpoint
  const stored = registration ? registry.tlsFiles(registration.name) : null
  const hasOwnPair = wish.files.cert !== null || wish.files.key !== null
  const files = {
    ca: wish.files.ca ?? stored?.ca ?? null,
    cert: hasOwnPair ? wish.files.cert : (stored?.cert ?? null),
    key: hasOwnPair ? wish.files.key : (stored?.key ?? null),
  }
  const plain = endpointWith(url, files, env)
  if (registration) checkOrigin(registration, plain.url)
  const proof: StoredProof = wish.credential
    ? { credential: wish.credential }
    : registration
      ? storedProof(registration, context)
      : { credential: ANONYMOUS }
  const endpoint =
    proof.edge !== undefined && plain.url.protocol === 'https:'
      ? { ...plain, dial: edgeDialer(plain.url, proof.edge, env) }
      : plain
  if (proof.credential !== ANONYMOUS && plain.url.protocol === 'http:' && !isLoopback(plain.url))
    context.warn(`the token is sent without encryption to ${plain.url.origin}`)
  return { gateway: registration?.name ?? null, endpoint, credential: proof.credential }
}
