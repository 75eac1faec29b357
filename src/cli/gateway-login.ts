import { login } from '../client/login.ts'
import type { Flag } from '../config/flags.ts'
import { oneLine, runClient } from './client-command.ts'
import { clientContext, GATEWAY_FLAG } from './client-flags.ts'
import { chosenEntry, loginTools } from './client-io.ts'
import { defineGatewayCommand } from './command.ts'

/** For issuers that know only one redirect address. */
export const CALLBACK_FLAG = {
  name: 'callback-port',
  env: null,
  kind: 'u16',
  default: '0',
  group: 'Sign-in',
  help: 'Port of 127.0.0.1 where the browser brings the answer; 0 = any free one',
} as const satisfies Flag

/** `gateway login [NAME]`: by browser, with OPENSHELL_NO_BROWSER=1 by a code, with OPENSHELL_OIDC_CLIENT_SECRET by that. */
export const command = defineGatewayCommand({
  flags: [GATEWAY_FLAG, CALLBACK_FLAG],
  positionals: [{ name: 'name', help: 'Name of the gateway; left out = the active one', optional: true }],
  run: (values, io) =>
    runClient(io, async () => {
      const { registry } = clientContext(io)
      const { registration } = chosenEntry(values, registry)
      const { user } = await login(registration, registry, loginTools(io), values.number('callback-port'))
      await io.err(`Authenticated to gateway '${registration.name}'${user === null ? '' : ` as ${oneLine(user)}`}\n`)
      return 0
    }),
})
