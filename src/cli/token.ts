import { type GrantRequest, grantByPassword, grantBySecret } from '../client/direct-grants.ts'
import { ClientFailure } from '../client/failure.ts'
import { isLoopback } from '../client/issuer-http.ts'
import type { TokenBundle } from '../client/token-bundle.ts'
import type { Flag } from '../config/flags.ts'
import type { RawValues } from '../config/read.ts'
import { findUser } from '../dev/realm.ts'
import { runClient } from './client-command.ts'
import { defineGatewayCommand } from './command.ts'
import { askHidden } from './prompt.ts'

const TOKEN_FLAGS = [
  {
    name: 'issuer',
    env: null,
    kind: 'text',
    default: null,
    group: 'Sign-in',
    help: 'URL of the issuer to ask',
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
  const user = values.optional('user')
  const secret = process.env['OPENSHELL_OIDC_CLIENT_SECRET']
  const request: GrantRequest = {
    issuer,
    clientId: values.optional('client-id') ?? (user === null ? 'openshell-ci' : 'openshell-cli'),
    scope: values.text('scope'),
    audience: values.optional('audience'),
  }
  if (user !== null)
    return grantByPassword(request, { name: user, password: await passwordOf(user, issuer) }, process.env)
  if (secret) return grantBySecret(request, secret, process.env)
  throw new ClientFailure('usage', 'name a --user, or set OPENSHELL_OIDC_CLIENT_SECRET')
}

/** `token`: prints a bearer token and nothing else, for scripts. */
export const command = defineGatewayCommand({
  flags: TOKEN_FLAGS,
  run: (values, io) =>
    runClient(io, async () => {
      const issuer = values.optional('issuer')
      if (issuer === null) throw new ClientFailure('usage', 'name an --issuer')
      const { access_token } = await grant(values, issuer)
      await io.out(`${access_token}\n`)
      return 0
    }),
})
