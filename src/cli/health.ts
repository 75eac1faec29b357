import type { Endpoint } from '../client/channel.ts'
import { parseEndpoint } from '../client/channel.ts'
import { ClientFailure } from '../client/failure.ts'
import { CallFailed } from '../client/grpc-stream.ts'
import { askHealth, askReady } from '../client/health.ts'
import { runClient } from './client-command.ts'
import { CLIENT_FLAGS, targetFrom } from './client-flags.ts'
import { defineGatewayCommand } from './command.ts'

const PORT = /^\d{1,5}$/
const SERVER_PORT = '8080'

const portOf = (name: string): string | null => {
  const value = process.env[name] ?? ''
  return PORT.test(value) && value !== '0' ? value : null
}

/** The main port of a gateway on this machine, found by the variables that the gateway itself reads. */
function localEndpoint(): Endpoint {
  const scheme = process.env['OPENSHELL_DISABLE_TLS'] === 'true' ? 'http' : 'https'
  const url = new URL(`${scheme}://127.0.0.1:${portOf('OPENSHELL_SERVER_PORT') ?? SERVER_PORT}`)
  // It asks the process beside it whether it is well; no secret is sent, so its name need not be proven.
  return { url, tls: scheme === 'https' ? { rejectUnauthorized: false } : {} }
}

/** Ready by the health port, when there is one, or well by gRPC. */
async function check(url: string | null, isRegistered: boolean, ask: () => Promise<Endpoint>): Promise<string> {
  if (url !== null) {
    const endpoint = parseEndpoint(url)
    return endpoint.pathname.length > 1 ? askReady(endpoint) : askEither(endpoint)
  }
  if (isRegistered) return askHealth(await ask())
  const healthPort = portOf('OPENSHELL_HEALTH_PORT')
  return healthPort === null ? askHealth(localEndpoint()) : askReady(new URL(`http://127.0.0.1:${healthPort}`))
}

/** A port may be the main one or a health port: the first that answers decides. */
async function askEither(url: URL): Promise<string> {
  try {
    return await askHealth({ url, tls: url.protocol === 'https:' ? { rejectUnauthorized: false } : {} })
  } catch (error) {
    if (!(error instanceof CallFailed)) throw error
    return askReady(url)
  }
}

/** `health`: 0 when the gateway is well, for the health checks of containers and service managers; silent but for its state. */
export const command = defineGatewayCommand({
  flags: [
    ...CLIENT_FLAGS,
    {
      name: 'endpoint',
      env: null,
      kind: 'text',
      default: null,
      group: 'Connection',
      help: 'URL of a main or health port to ask without proof of its name; unset = the gateway of this machine',
    },
  ],
  run: async (values, io) => {
    const code = await runClient(io, async () => {
      const isNamed = values.optional('gateway-endpoint') !== null
      const said = await check(values.optional('endpoint'), isNamed, async () => (await targetFrom(values)).endpoint)
      await io.out(`healthy${said === '' ? '' : ` ${said}`}\n`)
      return 0
    })
    return code === 0 || code === new ClientFailure('usage', '').exitCode ? code : 1
  },
})
