import { authModeOf } from '../client/registration.ts'
import type { Entry, Registry } from '../client/registry.ts'
import { oneLine, runClient } from './client-command.ts'
import { clientContext, GATEWAY_FLAG, OUTPUT_FLAG } from './client-flags.ts'
import { renderJson, renderTable } from './client-io.ts'
import { type CommandIo, defineGatewayCommand } from './command.ts'

/** What kind of place a gateway is in (spec/client.md §6). */
export const placeOf = ({ registration }: Entry): 'cloud' | 'remote' | 'local' => {
  if (authModeOf(registration) === 'cloudflare_jwt') return 'cloud'
  return registration.is_remote ? 'remote' : 'local'
}

/** A gateway for programs. */
export const entryJson = (entry: Entry, active: string | null): Record<string, unknown> => ({
  name: entry.registration.name,
  endpoint: entry.registration.gateway_endpoint,
  type: placeOf(entry),
  auth: authModeOf(entry.registration),
  source: entry.source,
  active: entry.registration.name === active,
})

/** The table of gateways; the active one has a star. */
export const entryTable = (entries: readonly Entry[], active: string | null): string =>
  renderTable(
    ['', 'NAME', 'ENDPOINT', 'TYPE', 'AUTH'],
    entries.map(entry => {
      const { name, gateway_endpoint: endpoint } = entry.registration
      return [name === active ? '*' : '', name, endpoint, placeOf(entry), authModeOf(entry.registration)]
    }),
  )

/** Every gateway that can be understood; a warning for each file that cannot. */
export async function listEntries(registry: Registry, io: CommandIo): Promise<readonly Entry[]> {
  const { entries, problems } = registry.list()
  for (const problem of problems) await io.err(`warning: ${oneLine(problem)}\n`)
  return entries
}

/** `gateway list`. */
export const command = defineGatewayCommand({
  flags: [GATEWAY_FLAG, OUTPUT_FLAG],
  run: (values, io) =>
    runClient(io, async () => {
      const { registry } = clientContext(io)
      const entries = await listEntries(registry, io)
      const active = values.optional('gateway') ?? registry.active()
      if (values.text('output') === 'json') await io.out(renderJson(entries.map(entry => entryJson(entry, active))))
      else await io.out(entries.length === 0 ? 'No gateways found.\n' : entryTable(entries, active))
      return 0
    }),
})
