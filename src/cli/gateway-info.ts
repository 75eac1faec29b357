import type { Registration } from '../client/registration.ts'
import { authModeOf } from '../client/registration.ts'
import { runClient } from './client-command.ts'
import { clientContext, GATEWAY_FLAG, OUTPUT_FLAG } from './client-flags.ts'
import { chosenEntry, renderFields, renderJson } from './client-io.ts'
import { defineGatewayCommand } from './command.ts'
import { entryJson, placeOf } from './gateway-list.ts'

/** Optional keys of a registration, and how people read them. */
const LABELS: readonly (readonly [keyof Registration, string])[] = [
  ['remote_host', 'Remote host'],
  ['resolved_host', 'Resolved host'],
  ['oidc_issuer', 'Issuer'],
  ['oidc_client_id', 'Client'],
  ['oidc_audience', 'Audience'],
  ['oidc_scopes', 'Scopes'],
]

/** `gateway info [NAME]`: what is registered; the gateway itself is not asked. */
export const command = defineGatewayCommand({
  flags: [GATEWAY_FLAG, OUTPUT_FLAG],
  positionals: [{ name: 'name', help: 'Name of the gateway; left out = the active one', optional: true }],
  run: (values, io) =>
    runClient(io, async () => {
      const { registry } = clientContext(io)
      const entry = chosenEntry(values, registry)
      const { registration } = entry
      const extras = LABELS.filter(([key]) => registration[key] !== undefined)
      if (values.text('output') === 'json') {
        const keys = Object.fromEntries(extras.map(([key]) => [key, registration[key]]))
        await io.out(renderJson({ ...entryJson(entry, registry.active()), ...keys }))
        return 0
      }
      await io.out(
        `Gateway\n${renderFields([
          ['Gateway', registration.name],
          ['Gateway endpoint', registration.gateway_endpoint],
          ['Type', placeOf(entry)],
          ['Auth', authModeOf(registration)],
          ['Registered by', entry.source],
          ...extras.map(([key, label]) => [label, String(registration[key])] as const),
        ])}`,
      )
      return 0
    }),
})
