import { ANONYMOUS, type Credential, fixedBearer } from '../client/credential.ts'
import { ClientFailure } from '../client/failure.ts'
import { endpointWith, type Target } from '../client/target.ts'
import type { Flag } from '../config/flags.ts'
import type { RawValues } from '../config/read.ts'
import { readSecretFile } from '../config/secret-file.ts'

/** TABLE Flags of every command that talks to a gateway. */
export const CLIENT_FLAGS = [
  {
    name: 'gateway-endpoint',
    env: 'OPENSHELL_GATEWAY_ENDPOINT',
    kind: 'text',
    default: null,
    group: 'Connection',
    help: 'URL of the gateway',
  },
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

/** Characters a header may carry: what else is in a token came by mistake. */
const HEADER_SAFE = /^[\x21-\x7e]+$/

function handedCredential(values: Values, env: NodeJS.ProcessEnv): Credential {
  const token = handedToken(values, env)
  if (token === null) return ANONYMOUS
  if (!HEADER_SAFE.test(token)) throw new ClientFailure('failed', 'the bearer token holds characters no token has')
  return fixedBearer(token)
}

/** The gateway that the flags and variables name. Throws a `ClientFailure`. */
export async function targetFrom(values: Values, env: NodeJS.ProcessEnv = process.env): Promise<Target> {
  const url = values.optional('gateway-endpoint')
  if (url === null)
    throw new ClientFailure(
      'failed',
      'No active gateway. Name one with --gateway-endpoint or OPENSHELL_GATEWAY_ENDPOINT',
    )
  const files = { ca: values.optional('ca'), cert: values.optional('cert'), key: values.optional('key') }
  return { gateway: null, endpoint: endpointWith(url, files, env), credential: handedCredential(values, env) }
}
