import { clientSecretFrom } from '../client/client-secret.ts'
import { type GrantRequest, grantByPassword, grantBySecret } from '../client/direct-grants.ts'
import { ClientFailure } from '../client/failure.ts'
import { isLoopback, parseIssuerUrl } from '../client/issuer-http.ts'
import { authModeOf } from '../client/registration.ts'
import type { TokenBundle } from '../client/token-bundle.ts'
import { TokenSource } from '../client/token-source.ts'
import type { Flag } from '../config/flags.ts'
import type { RawValues } from '../config/read.ts'
import { findUser } from '../dev/realm.ts'
import { runClient } from './client-command.ts'
import { clientContext, GATEWAY_FLAG } from './client-flags.ts'
import { chosenEntry } from './client-io.ts'
import { type CommandIo, defineGatewayCommand } from './command.ts'
import { askHidden } from './prompt.ts'

const TOKEN_FLAGS = [
  GATEWAY_FLAG,
  {
    name: 'issuer',
    env: null,
    kind: 'text',
    default: null,
    group: 'Sign-in',
    help: 'URL of the issuer to ask; unset = the stored token of a registered gateway, renewed when it is about to end',
  },
  {
    name: 'user',
    env: null,
    kind: 'text',
    default: null,
    group: 'Sign-in',
    help: 'Test user to sign in by password: from OPENSHELL_PASSWORD, or asked for on the terminal',
  },
  {
    name: 'client-id',
    env: null,
    kind: 'text',
    default: null,
    group: 'Sign-in',
    help: 'Client to sign in as; unset = openshell-cli for a user, openshell-ci with OPENSHELL_OIDC_CLIENT_SECRET',
  },
  {
    name: 'scope',
    env: null,
    kind: 'text',
    default: null,
    group: 'Sign-in',
    help: 'Scopes to ask for, separated by spaces',
  },
  {
    name: 'audience',
    env: null,
    kind: 'text',
    default: null,
    group: 'Sign-in',
    help: 'Audience to ask for, where the issuer wants to be told',
  },
] as const satisfies readonly Flag[]

type Values = RawValues<(typeof TOKEN_FLAGS)[number]['name']>

/** The password of a test user; the development realm's own are public knowledge, and only used on this machine. */
async function passwordOf(name: string, issuer: string): Promise<string> {
  const given = process.env['OPENSHELL_PASSWORD']
  if (given) return given
  const known = URL.canParse(issuer) && isLoopback(new URL(issuer)) ? findUser(name)?.password : undefined
  const password = known ?? (await askHidden(`Password of ${name}: `))
  if (password === null) throw new ClientFailure('unfinished', 'no password: set OPENSHELL_PASSWORD')
  return password
}

async function grant(values: Values, issuer: string): Promise<TokenBundle> {
  parseIssuerUrl(issuer, '--issuer', process.env, 'usage')
  const user = values.optional('user')
  const request: GrantRequest = {
    issuer,
    clientId: values.optional('client-id') ?? (user === null ? 'openshell-ci' : 'openshell-cli'),
    scope: values.text('scope'),
    audience: values.optional('audience'),
  }
  if (user !== null)
    return grantByPassword(request, { name: user, password: await passwordOf(user, issuer) }, process.env)
  const secret = clientSecretFrom(process.env)
  if (secret !== null) return grantBySecret(request, secret, process.env)
  throw new ClientFailure('usage', 'name a --user, or set OPENSHELL_OIDC_CLIENT_SECRET')
}

/** The token of a registered gateway. */
async function storedToken(values: Values, io: CommandIo): Promise<string> {
  const context = clientContext(io)
  const { registration } = chosenEntry(values, context.registry)
  const mode = authModeOf(registration)
  if (mode === 'oidc') return (await new TokenSource({ registration, ...context }).token()).access_token
  const edge = mode === 'cloudflare_jwt' ? context.registry.edgeToken(registration.name) : null
  if (edge === null) throw new ClientFailure('sign-in', `Gateway '${registration.name}' has no stored token (${mode}).`)
  return edge
}

/** `token`: prints a bearer token and nothing else, for scripts. */
export const command = defineGatewayCommand({
  flags: TOKEN_FLAGS,
  run: (values, io) =>
    runClient(io, async () => {
      const issuer = values.optional('issuer')
      const token = issuer === null ? await storedToken(values, io) : (await grant(values, issuer)).access_token
      await io.out(`${token}\n`)
      return 0
    }),
})
