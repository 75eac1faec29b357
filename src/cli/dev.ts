import { StartError } from '../base/errors.ts'
import { readConfig } from '../config/read.ts'
import { type DevWorld, startDevWorld } from '../dev/dev.ts'
import { freePort } from '../dev/free-port.ts'
import { REALM } from '../dev/realm.ts'
import { defineGatewayCommand } from './command.ts'
import { configFrom } from './load-config.ts'
import { isCompiled, selfCommand } from './self-command.ts'
import { runGateway } from './serve.ts'
import { stateDirectory } from './state-home.ts'
import { VERSION } from './version.ts'

const DEFAULT_PORT = 8080

/** `openshell-gateway dev`: a gateway to try things out with, on loopback, with everything it needs (decision 7). */
export const command = defineGatewayCommand({
  flags: [
    {
      name: 'port',
      env: null,
      kind: 'u16',
      default: null,
      group: 'Listener',
      help: `Port of the gateway; default ${DEFAULT_PORT}, or a free one when that is taken`,
    },
    {
      name: 'ephemeral',
      env: null,
      kind: 'switch',
      default: null,
      group: 'Storage',
      help: 'Keep nothing: database in memory, sandboxes in a temporary directory',
    },
    {
      name: 'state-dir',
      env: null,
      kind: 'path',
      default: null,
      group: 'Storage',
      help: 'Directory of database and sandboxes; default below the XDG state directory',
    },
  ],
  async run(values, io) {
    const wanted = values.optional('port')
    const port = await freePort(wanted === null ? DEFAULT_PORT : values.number('port'), wanted !== null)
    const stateDir = values.on('ephemeral') ? null : stateDirectory(values.optional('state-dir'), 'dev')
    const world = await startDevWorld({ self: selfCommand(), port, stateDir })
    try {
      return await runGateway(
        async () => {
          const gateway = await startWith(world)
          await io.err(welcome(gateway.address, world))
          return gateway
        },
        0,
        io,
      )
    } finally {
      await world.close()
    }
  },
})

async function startWith(world: DevWorld) {
  const read = readConfig(world.argv, world.env)
  if (read.kind !== 'values') throw new StartError('dev gave the gateway flags that it does not take')
  const judged = configFrom(read.values)
  if (!judged.ok) throw new StartError(judged.text.trim(), judged.exitCode)
  const { startGateway } = await import('../gateway.ts')
  return startGateway({ ...judged.config, logLevel: 'warn' }, { version: VERSION, warnings: [] })
}

/** A path as one word of a shell, on a command line and within its single quotes alike. */
const shellWord = (path: string): string =>
  /^[\w@%+=:,./-]+$/.test(path) ? path : `"${path.replace(/["$`\\]/g, '\\$&')}"`

/** What to paste next, for a person who has nothing else installed. */
function welcome(address: string, world: DevWorld): string {
  const self = isCompiled() ? shellWord(selfCommand()[0]) : `npx -y bun@1.4.5 ${shellWord(Bun.main)}`
  const users = REALM.users.map(user => `${user.name} / ${user.password}`).join(', ')
  return `
OpenShell gateway for development   http://${address}
issuer                              ${world.issuer}
users                               ${users}
CI client                           ${REALM.ci.id} / ${REALM.ci.secret}
state                               ${world.stateDir}

Loopback only. Sandboxes are processes of this machine: they isolate nothing.

In another terminal:

  export OPENSHELL_GATEWAY_ENDPOINT=http://${address}
  export OPENSHELL_TOKEN=$(${self} token --issuer ${world.issuer} --user user@test --scope 'openid openshell:all')
  ${self} call CreateSandbox '{"name":"demo","spec":{}}'
  ${self} call GetSandbox '{"name":"demo"}'
  ${self} exec demo -- echo hello
  ssh -o ProxyCommand='${self} ssh-proxy demo' -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null demo
  ${self} call CreateProvider '{"provider":{"metadata":{"name":"p"},"type":"generic","credentials":{"KEY":"v"}}}'   # refused: needs openshell-admin
  ${self} call DeleteSandbox '{"name":"demo"}'

Ctrl-C ends everything.
`
}
