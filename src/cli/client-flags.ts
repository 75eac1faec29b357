import { systemClock } from '../base/clock.ts'
import { type Credential, fixedBearer } from '../client/credential.ts'
import { ClientFailure } from '../client/failure.ts'
import { parseGatewayName } from '../client/gateway-name.ts'
import { Registry } from '../client/registry.ts'
import { resolveTarget, type Target, type TargetContext } from '../client/target.ts'
import { isTokenText } from '../client/token-bundle.ts'
import type { Flag } from '../config/flags.ts'
import type { RawValues } from '../config/read.ts'
import { readSecretFile } from '../config/secret-file.ts'
import { oneLine } from './client-command.ts'
import type { CommandIo } from './command.ts'

/** Which registered gateway is meant. */
export const GATEWAY_FLAG = {
  name: 'gateway',
  short: 'g',
  env: 'OPENSHELL_GATEWAY',
  kind: 'text',
  default: null,
  group: 'Connection',
  help: 'Name of a registered gateway; unset = the active one',
} as const satisfies Flag

/** For people or for programs. */
export const OUTPUT_FLAG = {
  name: 'output',
  short: 'o',
  env: null,
  kind: 'choice',
  choices: ['text', 'json'],
  default: 'text',
  group: 'Output',
  help: 'How to print',
} as const satisfies Flag

/** TABLE Flags of every command that talks to a gateway. */
export const CLIENT_FLAGS = [
  {
    name: 'gateway-endpoint',
    env: 'OPENSHELL_GATEWAY_ENDPOINT',
    kind: 'text',
    default: null,
    group: 'Connection',
    help: 'URL of the gateway; unset = that of the registered one',
  },
  GATEWAY_FLAG,
  {
    name: 'token-file',
    env: 'OPENSHELL_TOKEN_FILE',
    kind: 'path',
    default: null,
    group: 'Connection',
    help: 'File with the bearer token to present; the variable OPENSHELL_TOKEN may hold the token itself',
  },
  {
    name: 'ca',
    env: 'OPENSHELL_CLIENT_CA',
    kind: 'path',
    default: null,
    group: 'Connection',
    help: 'PEM file of the authority that signed the certificate of the gateway; unset = system roots and SSL_CERT_FILE',
  },
  {
    name: 'cert',
    env: 'OPENSHELL_CLIENT_CERT',
    kind: 'path',
    default: null,
    group: 'Connection',
    help: 'PEM client certificate to show',
  },
  {
    name: 'key',
    env: 'OPENSHELL_CLIENT_KEY',
    kind: 'path',
    default: null,
    group: 'Connection',
    help: 'PEM private key of that certificate',
  },
] as const satisfies readonly Flag[]

export type ClientFlagName = (typeof CLIENT_FLAGS)[number]['name']

type Values = Pick<RawValues<ClientFlagName>, 'optional'>

/** A token handed over by file or variable, never by the command line; null = none. */
function handedToken(values: Values, env: NodeJS.ProcessEnv): string | null {
  const file = values.optional('token-file')
  if (file === null) return env['OPENSHELL_TOKEN'] || null
  const read = readSecretFile(file)
  if (!read.ok) throw new ClientFailure('failed', `--token-file: ${file} ${read.reason}`)
  if (read.secret.trim() === '') throw new ClientFailure('failed', `--token-file: ${file} is empty`)
  return read.secret.trim()
}

function handedCredential(values: Values, env: NodeJS.ProcessEnv): Credential | null {
  const token = handedToken(values, env)
  if (token === null) return null
  if (!isTokenText(token)) throw new ClientFailure('failed', 'the bearer token holds characters no token has')
  return fixedBearer(token)
}

/** The world around a client command. */
export const clientContext = (io: Pick<CommandIo, 'err'>, env: NodeJS.ProcessEnv = process.env): TargetContext => ({
  registry: new Registry(env),
  env,
  nowMs: systemClock.nowMs,
  warn: text => void io.err(`warning: ${oneLine(text)}\n`),
})

/** The gateway that the flags, the variables and the registry name. Throws a `ClientFailure`. */
export function targetFrom(values: Values, io: Pick<CommandIo, 'err'>): Target {
  const context = clientContext(io)
  const name = values.optional('gateway')
  const wish = {
    url: values.optional('gateway-endpoint'),
    name: name === null ? null : parseGatewayName(name),
    files: { ca: values.optional('ca'), cert: values.optional('cert'), key: values.optional('key') },
    credential: handedCredential(values, context.env),
  }
  return resolveTarget(wish, context)
}
