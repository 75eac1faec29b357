import { logout } from '../client/logout.ts'
import { oneLine, runClient } from './client-command.ts'
import { clientContext, GATEWAY_FLAG } from './client-flags.ts'
import { chosenEntry } from './client-io.ts'
import { defineGatewayCommand } from './command.ts'

/** `gateway logout [NAME]`: the tokens are gone in any case; that the issuer could not be told is a warning. */
export const command = defineGatewayCommand({
  flags: [GATEWAY_FLAG],
  positionals: [{ name: 'name', help: 'Name of the gateway; left out = the active one', optional: true }],
  run: (values, io) =>
    runClient(io, async () => {
      const { registry, env } = clientContext(io)
      const { registration } = chosenEntry(values, registry)
      const { wasSignedIn, untold } = await logout(registration, registry, env)
      if (untold !== null)
        await io.err(`warning: the session at the issuer may live on until it ends by itself: ${oneLine(untold)}\n`)
      await io.err(`Logged out of gateway '${registration.name}'${wasSignedIn ? '' : ' (you were not signed in)'}\n`)
      return 0
    }),
})
