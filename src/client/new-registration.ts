import { parseEndpoint } from './channel.ts'
import { ClientFailure } from './failure.ts'
import { defaultName, parseGatewayName } from './gateway-name.ts'
import { isLoopback, parseIssuerUrl, withoutSlashes } from './issuer-http.ts'
import { DEFAULT_CLIENT_ID, type Registration } from './registration.ts'
import { parseSshUrl, resolveSsh, type SshDestination } from './ssh-destination.ts'

type Env = Readonly<Record<string, string | undefined>>

/** What `gateway add` was given. */
export interface AddWish {
  readonly endpoint: string
  readonly name: string | null
  readonly remote: string | null
  readonly isLocal: boolean
  readonly oidc: {
    readonly issuer: string | null
    readonly clientId: string | null
    readonly audience: string | null
    readonly scopes: string | null
  }
}

const usage = (text: string): ClientFailure => new ClientFailure('usage', text)

function checkTogether({ endpoint, remote, isLocal, oidc }: AddWish): void {
  const isSsh = endpoint.startsWith('ssh://')
  if (isSsh && isLocal) throw usage('Cannot use --local with an ssh:// endpoint.')
  if (isSsh && remote !== null) throw usage('Cannot use --remote with an ssh:// endpoint.')
  if (remote !== null && isLocal) throw usage('--remote cannot be used with --local')
  if (remote !== null && oidc.issuer !== null) throw usage('--remote cannot be used with --oidc-issuer')
  if (oidc.issuer === null && (oidc.clientId ?? oidc.audience ?? oidc.scopes) !== null)
    throw usage('--oidc-client-id, --oidc-audience and --oidc-scopes need --oidc-issuer')
}

/** The URL that is meant: https where no scheme is given, nothing behind host and port. */
function endpointOf(text: string): URL {
  const url = parseEndpoint(text.includes('://') ? text : `https://${text}`)
  if (url.pathname !== '/') throw usage(`the URL of a gateway ends with its port: ${url.origin}`)
  return url
}

/**
 * The registration that `gateway add` writes (spec/client.md §4.4, §5). Asks OpenSSH for the host of a remote one, and
 * nobody else. Throws a `ClientFailure` that says what cannot be.
 */
export function newRegistration(wish: AddWish, env: Env): Registration {
  checkTogether(wish)
  const ssh = wish.endpoint.startsWith('ssh://') ? parseSshUrl(wish.endpoint) : null
  const remote: SshDestination | null = ssh ?? (wish.remote === null ? null : resolveSsh(wish.remote))
  const url = ssh ? endpointOf(`https://${ssh.resolvedHost}:${ssh.port}`) : endpointOf(wish.endpoint)
  const name = wish.name === null ? defaultName(url) : parseGatewayName(wish.name)
  const hosts = remote === null ? {} : { remote_host: remote.destination, resolved_host: remote.resolvedHost }
  const base = { name, gateway_endpoint: url.origin, gateway_port: 0, ...hosts }
  if (wish.oidc.issuer !== null) return { ...base, is_remote: !wish.isLocal, ...oidcKeys(wish, env) }
  if (url.protocol === 'http:')
    return { ...base, is_remote: remote !== null || (!wish.isLocal && !isLoopback(url)), auth_mode: 'plaintext' }
  if (wish.isLocal || remote !== null) return { ...base, is_remote: remote !== null, auth_mode: 'mtls' }
  return { ...base, is_remote: true, auth_mode: 'cloudflare_jwt' }
}

function oidcKeys({ oidc }: AddWish, env: Env): Partial<Registration> {
  const issuer = withoutSlashes(parseIssuerUrl(oidc.issuer ?? '', '--oidc-issuer', env, 'usage').href)
  return {
    auth_mode: 'oidc',
    oidc_issuer: issuer,
    oidc_client_id: oidc.clientId ?? DEFAULT_CLIENT_ID,
    ...(oidc.audience === null ? {} : { oidc_audience: oidc.audience }),
    ...(oidc.scopes === null ? {} : { oidc_scopes: oidc.scopes }),
  }
}
