import { ClientFailure } from '../client/failure.ts'
import { parseGatewayName } from '../client/gateway-name.ts'
import type { Registry } from '../client/registry.ts'
import { runClient } from './client-command.ts'
import { clientContext } from './client-flags.ts'
import { type CommandIo, defineGatewayCommand } from './command.ts'
import { entryTable, listEntries } from './gateway-list.ts'
import { askLine } from './prompt.ts'

async function choose(name: string, registry: Registry, io: CommandIo): Promise<number> {
  if (!registry.find(parseGatewayName(name)))
    throw new ClientFailure('failed', `No gateway metadata found for '${name}'.`)
  registry.setActive(name)
  await io.err(`Active gateway set to '${name}'\n`)
  return 0
}

/** `gateway select [NAME]`: without a name it asks on a terminal and lists elsewhere. */
export const command = defineGatewayCommand({
  flags: [],
  positionals: [{ name: 'name', help: 'Name of the gateway; left out = choose from the list', optional: true }],
  run: (values, io) =>
    runClient(io, async () => {
      const { registry } = clientContext(io)
      const named = values.positionals[0]
      if (named !== undefined) return choose(named, registry, io)
      const entries = await listEntries(registry, io)
      await io.out(entries.length === 0 ? 'No gateways found.\n' : entryTable(entries, registry.active()))
      if (entries.length === 0) return 0
      const canAsk = process.stdin.isTTY && process.stdout.isTTY
      const answer = canAsk ? await askLine('Name of the gateway to use (empty = keep): ') : null
      if (answer?.trim()) return choose(answer.trim(), registry, io)
      await io.err(canAsk ? 'Gateway selection cancelled\n' : 'Select one with: gateway select NAME\n')
      return 0
    }),
})
