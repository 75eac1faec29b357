import { isBrowserOff } from '../client/browser.ts'
import { ClientFailure } from '../client/failure.ts'
import { type LoginResult, signIn } from '../client/login.ts'
import { newRegistration } from '../client/new-registration.ts'
import { authModeOf, type Registration } from '../client/registration.ts'
import type { Registry } from '../client/registry.ts'
import { readAuthorities, readPair } from '../client/trust.ts'
import type { Flag } from '../config/flags.ts'
import type { RawValues } from '../config/read.ts'
import { oneLine, runClient } from './client-command.ts'
import { clientContext } from './client-flags.ts'
import { loginTools } from './client-io.ts'
import { type CommandIo, defineGatewayCommand } from './command.ts'
import { CALLBACK_FLAG } from './gateway-login.ts'

const row = <const Name extends string>(name: Name, kind: 'text' | 'switch' | 'path', group: string, help: string) =>
  ({ name, env: null, kind, default: null, group, help }) as const satisfies Flag

const ADD_FLAGS = [
  row('name', 'text', 'Gateway', 'Name to register it under; unset = its host, or openshell on this machine'),
  row('remote', 'text', 'Gateway', 'SSH destination of the machine it runs on'),
  row('local', 'switch', 'Gateway', 'It runs on this machine'),
  row('ca', 'path', 'Gateway', 'PEM file of the authority of its certificate, to be kept with the registration'),
  row('cert', 'path', 'Gateway', 'PEM client certificate to show it, to be kept with the registration'),
  row('key', 'path', 'Gateway', 'PEM private key of that certificate'),
  row('oidc-issuer', 'text', 'Sign-in', 'URL of the issuer whose tokens it takes'),
  row('oidc-client-id', 'text', 'Sign-in', 'Client to sign in as; unset = openshell-cli'),
  row('oidc-audience', 'text', 'Sign-in', 'Audience to ask for, where the issuer wants to be told'),
  row('oidc-scopes', 'text', 'Sign-in', 'Scopes to ask for beside openid, separated by spaces'),
  row('no-login', 'switch', 'Sign-in', 'Register only'),
  CALLBACK_FLAG,
] as const satisfies readonly Flag[]

type Values = RawValues<(typeof ADD_FLAGS)[number]['name']>

/** Certificates named on the command line, read before anything is written. */
function pemFiles(values: Values): Map<string, string> {
  const [ca, cert, key] = [values.optional('ca'), values.optional('cert'), values.optional('key')]
  if ((cert === null) !== (key === null)) throw new ClientFailure('usage', '--cert and --key need each other')
  const files = new Map<string, string>()
  if (ca !== null) files.set('ca.crt', readAuthorities(ca, '--ca'))
  if (cert === null || key === null) return files
  const pair = readPair({ cert, key })
  return files.set('tls.crt', pair.cert).set('tls.key', pair.key)
}

/** Whether a sign-in belongs to adding: not without a browser at an edge, where only a browser can (spec/client.md §17). */
const signsIn = (values: Values, registration: Registration): boolean => {
  const mode = authModeOf(registration)
  if (values.on('no-login')) return false
  return mode === 'oidc' || (mode === 'cloudflare_jwt' && !isBrowserOff(process.env))
}

interface Adding {
  readonly registration: Registration
  readonly registry: Registry
  readonly values: Values
  readonly io: CommandIo
}

function refuseTaken(registry: Registry, name: string): void {
  if (registry.find(name)?.source === 'user') throw new ClientFailure('failed', `Gateway '${name}' already exists.`)
}

/** Signs in first and registers then: a sign-in that fails, or is interrupted, leaves nothing behind. */
async function addAndSignIn({ registration, registry, values, io }: Adding): Promise<LoginResult | null> {
  const { name } = registration
  const files = pemFiles(values)
  refuseTaken(registry, name)
  const signedIn = signsIn(values, registration)
    ? await signIn(registration, registry, loginTools(io), values.number('callback-port'))
    : null
  // It may have taken two minutes, and another process the name.
  refuseTaken(registry, name)
  const isNew = !registry.hasDirectory(name)
  try {
    signedIn?.keep()
    for (const [file, text] of files) registry.saveTlsFile(name, file, text)
    registry.save(registration)
    registry.setActive(name)
    return signedIn
  } catch (error) {
    if (isNew) registry.remove(name)
    throw error
  }
}

const SAID: Readonly<Record<LoginResult['by'], string>> = {
  secret: 'Authenticated via client credentials',
  browser: 'Authenticated successfully',
  device: 'Authenticated successfully',
  edge: 'Authenticated successfully',
}

/** `gateway add ENDPOINT` (spec/client.md §5). */
export const command = defineGatewayCommand({
  flags: ADD_FLAGS,
  positionals: [{ name: 'endpoint', help: 'URL of the gateway; https:// is put before a bare host:port' }],
  run: (values, io) =>
    runClient(io, async () => {
      const { registry, env } = clientContext(io)
      const registration = newRegistration(
        {
          endpoint: values.positionals[0] ?? '',
          name: values.optional('name'),
          remote: values.optional('remote'),
          isLocal: values.on('local'),
          oidc: {
            issuer: values.optional('oidc-issuer'),
            clientId: values.optional('oidc-client-id'),
            audience: values.optional('oidc-audience'),
            scopes: values.optional('oidc-scopes'),
          },
        },
        env,
      )
      const { name } = registration
      const result = await addAndSignIn({ registration, registry, values, io })
      if (result) await io.err(`${SAID[result.by]}${result.user === null ? '' : ` as ${oneLine(result.user)}`}\n`)
      await io.err(`Gateway '${name}' added and set as active\n`)
      if (env['OPENSHELL_GATEWAY'] && env['OPENSHELL_GATEWAY'] !== name)
        await io.err(`warning: OPENSHELL_GATEWAY is set, so commands go on using '${env['OPENSHELL_GATEWAY']}'\n`)
      if (!result && signsIn(values, registration) === false && authModeOf(registration) === 'cloudflare_jwt')
        await io.err('Authentication skipped: sign in later with openshell-gateway gateway login\n')
      return 0
    }),
})
