import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair } from 'jose'
import type Provider from 'oidc-provider'
import type { Configuration, ResourceServer, TokenEndpointGrantContext } from 'oidc-provider'
import { grantAll, RESOURCE, realmScopes } from './issuer-grant.ts'
import { answerLogin } from './issuer-login.ts'
import { findUser, REALM } from './realm.ts'

/** A running issuer; `url` is what `--oidc-issuer` gets. */
export interface DevIssuer {
  readonly url: string
  close(): Promise<void>
}

const KEY_BITS = 2048
const GATEWAY: ResourceServer = {
  scope: REALM.scopes.join(' '),
  audience: REALM.audience,
  accessTokenTTL: REALM.accessTokenSecs,
  accessTokenFormat: 'jwt',
  jwt: { sign: { alg: 'RS256' } },
}

/**
 * Starts the issuer of `dev` on loopback: a certified OpenID provider with the development realm, keys made anew at
 * each start. Never reachable from another host (decision 7).
 */
export async function startDevIssuer(port = 0): Promise<DevIssuer> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const settings = await configuration()
  const { provider, refuse } = await quietly(async () => {
    const library = await import('oidc-provider')
    return {
      provider: new library.default(url, settings),
      refuse: (text: string) => new library.errors.InvalidGrant(text),
    }
  })
  nameModels(provider)
  provider.registerGrantType('password', passwordGrant(provider, refuse), ['username', 'password', 'scope'])
  const handle = provider.callback()
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    if (request.url?.startsWith('/interaction/')) void answerLogin(provider, request, response)
    else handle(request, response)
  })
  return {
    url,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** Models of the library that this issuer uses. */
const MODELS = [
  'AccessToken',
  'AuthorizationCode',
  'Client',
  'ClientCredentials',
  'DeviceCode',
  'Grant',
  'IdToken',
  'Interaction',
  'RefreshToken',
  'ReplayDetection',
  'Session',
] as const

/**
 * The library finds lifetime and kind of a token by the name of its class. The compiler takes those names away, and
 * without them tokens of the executable would never expire.
 */
function nameModels(provider: Provider): void {
  for (const name of MODELS) Object.defineProperty(provider[name], 'name', { value: name, configurable: true })
}

/** The library warns of its runtime and of its store in memory; both are what an issuer for development is. */
async function quietly<T>(work: () => Promise<T>): Promise<T> {
  const { warn } = console
  console.warn = () => {}
  try {
    return await work()
  } finally {
    console.warn = warn
  }
}

async function configuration(): Promise<Configuration> {
  const { privateKey } = await generateKeyPair('RS256', { modulusLength: KEY_BITS, extractable: true })
  const grants = ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code', 'password']
  return {
    clients: [
      {
        client_id: REALM.cli.id,
        token_endpoint_auth_method: 'none',
        application_type: 'native',
        grant_types: grants,
        redirect_uris: ['http://127.0.0.1/callback', 'http://localhost/callback'],
        response_types: ['code'],
      },
      {
        client_id: REALM.ci.id,
        client_secret: REALM.ci.secret,
        token_endpoint_auth_method: 'client_secret_post',
        grant_types: ['client_credentials'],
        redirect_uris: [],
        response_types: [],
      },
    ],
    jwks: {
      keys: [
        { ...(await exportJWK(privateKey)), use: 'sig', alg: 'RS256', kid: `dev-${crypto.randomUUID().slice(0, 8)}` },
      ],
    },
    scopes: ['openid', 'offline_access', 'profile', 'email', ...REALM.scopes],
    claims: { openid: ['sub'], profile: ['preferred_username'], email: ['email'] },
    findAccount: (_context, name) =>
      findUser(name)
        ? { accountId: name, claims: () => ({ sub: name, preferred_username: name, email: name }) }
        : undefined,
    features: {
      devInteractions: { enabled: false },
      deviceFlow: { enabled: true },
      clientCredentials: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => RESOURCE,
        useGrantedResource: () => true,
        getResourceServerInfo: () => GATEWAY,
      },
    },
    // What Keycloak puts into its access tokens, in the same places.
    extraTokenClaims: (_context, token) => {
      const user = 'accountId' in token && token.accountId ? findUser(token.accountId) : undefined
      const name = user?.name ?? `service-account-${token.clientId}`
      return {
        preferred_username: name,
        azp: token.clientId,
        realm_access: { roles: [...(user?.roles ?? REALM.defaultRoles)] },
      }
    },
    // A default scope of the realm is there whether asked for or not.
    formats: {
      customizers: {
        jwt: (_context, token, jwt) => {
          if (token.clientId === REALM.ci.id) jwt.payload['scope'] = REALM.ci.scopes.join(' ')
        },
      },
    },
    interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
    issueRefreshToken: async (_context, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    pkce: { required: () => true },
    ttl: {
      AccessToken: REALM.accessTokenSecs,
      RefreshToken: REALM.refreshTokenSecs,
      Interaction: 600,
      Session: 3600,
      Grant: 36_000,
      DeviceCode: 600,
      AuthorizationCode: 60,
      ClientCredentials: REALM.accessTokenSecs,
      IdToken: REALM.accessTokenSecs,
    },
    cookies: { keys: [crypto.randomUUID()] },
  }
}

interface PasswordParams {
  readonly username?: string
  readonly password?: string
  readonly scope?: string
}

/** The password grant of the realm's test users; no interactive client needs it. */
function passwordGrant(provider: Provider, refuse: (text: string) => Error) {
  return async (context: TokenEndpointGrantContext<PasswordParams>): Promise<void> => {
    const { username, password, scope } = context.oidc.params
    const user = findUser(username ?? '')
    if (!user || user.password !== password) throw refuse('wrong user name or password')
    const client = context.oidc.client
    const granted = realmScopes(scope).join(' ')
    const grantId = await grantAll(provider, user.name, client.clientId, granted)
    const token = new provider.AccessToken({
      accountId: user.name,
      client,
      grantId,
      gty: 'password',
      scope: granted,
      claims: {},
    } as never)
    token.resourceServer = new provider.ResourceServer(RESOURCE, GATEWAY)
    context.oidc.entity('AccessToken', token)
    context.body = {
      access_token: await token.save(),
      token_type: 'Bearer',
      expires_in: REALM.accessTokenSecs,
      scope: granted,
    }
  }
}
