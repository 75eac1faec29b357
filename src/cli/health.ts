import type { Endpoint } from '../client/channel.ts'
import { parseEndpoint } from '../client/channel.ts'
import { CLIENT_EXITS } from '../client/failure.ts'
import { CallFailed } from '../client/grpc-stream.ts'
import { askHealth, askReady } from '../client/health.ts'
import type { Flag } from '../config/flags.ts'
import type { RawValues } from '../config/read.ts'
import { oneLine, runClient } from './client-command.ts'
import { CLIENT_FLAGS, clientContext, targetFrom } from './client-flags.ts'
import { type CommandIo, defineGatewayCommand } from './command.ts'

const PORT = /^\d{1,5}$/
const SERVER_PORT = '8080'

const portOf = (name: string): string | null => {
  const value = process.env[name] ?? ''
  return PORT.test(value) && value !== '0' ? value : null
}

/** Where a listener of this machine is asked: the address it binds, or loopback when it binds them all. */
function hostOf(...names: readonly string[]): string {
  const bound = names.map(name => process.env[name]).find(value => value) ?? '0.0.0.0'
  if (bound === '0.0.0.0') return '127.0.0.1'
  return bound === '::' ? '[::1]' : bound.includes(':') ? `[${bound}]` : bound
}

/** The main port of a gateway on this machine, found by the variables that the gateway itself reads. */
function localEndpoint(scheme: 'http' | 'https'): Endpoint {
  const url = parseEndpoint(
    `${scheme}://${hostOf('OPENSHELL_BIND_ADDRESS')}:${portOf('OPENSHELL_SERVER_PORT') ?? SERVER_PORT}`,
  )
  // It asks the process beside it whether it is well; no secret is sent, so its name need not be proven.
  return { url, tls: scheme === 'https' ? { rejectUnauthorized: false } : {} }
}

/** That TLS is off may stand on the command line of the gateway, which is not ours: then plain text is its answer. */
async function askLocal(): Promise<string> {
  if (process.env['OPENSHELL_DISABLE_TLS'] === 'true') return askHealth(localEndpoint('http'))
  try {
    return await askHealth(localEndpoint('https'))
  } catch (error) {
    return askHealth(localEndpoint('http')).catch(() => {
      throw error
    })
  }
}

/** Asks what is named; else, in the environment of a gateway, the gateway of this machine; else the active one. */
async function check(values: Values, io: CommandIo): Promise<string> {
  const url = values.optional('endpoint')
  if (url !== null) return askEither(parseEndpoint(url))
  const isNamed = values.optional('gateway-endpoint') ?? values.optional('gateway')
  const healthPort = portOf('OPENSHELL_HEALTH_PORT')
  const isGatewayHome = healthPort !== null || portOf('OPENSHELL_SERVER_PORT') !== null
  if (isNamed !== null || (!isGatewayHome && clientContext(io).registry.active() !== null))
    return askHealth(targetFrom(values, io).endpoint)
  if (healthPort === null) return askLocal()
  const host = hostOf('OPENSHELL_HEALTH_BIND_ADDRESS', 'OPENSHELL_BIND_ADDRESS')
  return askReady(parseEndpoint(`http://${host}:${healthPort}`))
}

/** A port may be the main one or a health port: the first that answers decides. */
async function askEither(url: URL): Promise<string> {
  if (url.pathname.length > 1) return askReady(url)
  try {
    return await askHealth({ url, tls: url.protocol === 'https:' ? { rejectUnauthorized: false } : {} })
  } catch (error) {
    if (!(error instanceof CallFailed)) throw error
    return askReady(url)
  }
}

const FLAGS = [
  ...CLIENT_FLAGS,
  {
    name: 'endpoint',
    env: null,
    kind: 'text',
    default: null,
    group: 'Connection',
    help: 'URL of a main or health port to ask without proof of its name; unset = the gateway of this machine, or the active one',
  },
] as const satisfies readonly Flag[]

type Values = RawValues<(typeof FLAGS)[number]['name']>

/** `health`: 0 when the gateway is well and 1 when not, for the health checks of containers and service managers. */
export const command = defineGatewayCommand({
  flags: FLAGS,
  run: async (values, io) => {
    const code = await runClient(io, async () => {
      const said = await check(values, io)
      await io.out(`healthy${said === '' ? '' : ` ${oneLine(said)}`}\n`)
      return 0
    })
    return code === CLIENT_EXITS.usage.code ? code : Math.min(code, 1)
  },
})
