import { ClientFailure } from '../client/failure.ts'
import { parseGatewayName } from '../client/gateway-name.ts'
import { runClient } from './client-command.ts'
import { clientContext } from './client-flags.ts'
import { defineGatewayCommand } from './command.ts'

/** `gateway remove NAME`: its whole directory goes, so that a later gateway of that name inherits nothing. */
export const command = defineGatewayCommand({
  flags: [],
  positionals: [{ name: 'name', help: 'Name of the gateway' }],
  run: (values, io) =>
    runClient(io, async () => {
      const { registry } = clientContext(io)
      const name = parseGatewayName(values.positionals[0] ?? '')
      if (!registry.remove(name)) {
        if (registry.find(name)?.source === 'system')
          throw new ClientFailure(
            'failed',
            `Gateway '${name}' is registered for the whole machine and not removed here`,
          )
        throw new ClientFailure('failed', `No gateway metadata found for '${name}'.`)
      }
      await io.err(`Gateway '${name}' removed\n`)
      return 0
    }),
})
