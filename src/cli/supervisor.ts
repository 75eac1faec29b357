import { systemClock } from '../base/clock.ts'
import { errorText, StartError } from '../base/errors.ts'
import { readEndpoint } from '../client/channel.ts'
import { OWNER_VARIABLE, watchOwner } from '../dev/owner-watch.ts'
import { runSupervisor } from '../dev/supervisor.ts'
import { createLogger } from '../observe/log.ts'
import { createFdSink } from '../observe/log-sink.ts'
import { defineGatewayCommand } from './command.ts'

const SECRET_VARIABLE = 'OPENSHELL_SSH_HANDSHAKE_SECRET'
/** Not for the processes of the sandbox. */
const KEPT_BACK = new Set([SECRET_VARIABLE, OWNER_VARIABLE, 'OPENSHELL_TLS_KEY'])

/** What the sandbox's processes get: what this process was given, and what every shell needs (spec/relay.md §7.2). */
function sandboxEnvironment(dir: string, given: NodeJS.ProcessEnv): Record<string, string> {
  const environment: Record<string, string> = {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: dir,
    USER: 'sandbox',
    SHELL: '/bin/bash',
  }
  for (const [name, value] of Object.entries(given))
    if (value !== undefined && !KEPT_BACK.has(name)) environment[name] = value
  return { ...environment, OPENSHELL_SANDBOX: '1' }
}

/** The embedded supervisor of one local sandbox; ends with 0 when the sandbox is gone or a signal asks. */
export const command = defineGatewayCommand({
  flags: [
    {
      name: 'endpoint',
      env: null,
      kind: 'text',
      default: null,
      required: true,
      group: 'Sandboxes',
      help: 'URL of the gateway',
    },
    {
      name: 'sandbox-id',
      env: null,
      kind: 'text',
      default: null,
      required: true,
      group: 'Sandboxes',
      help: 'Id of the sandbox',
    },
    {
      name: 'dir',
      env: null,
      kind: 'path',
      default: null,
      required: true,
      group: 'Sandboxes',
      help: 'Directory its processes start in',
    },
  ],
  async run(values) {
    // Files the sandbox's processes make are theirs to share.
    process.umask(0o022)
    const stop = new AbortController()
    const end = () => stop.abort()
    process.once('SIGTERM', end)
    process.once('SIGINT', end)
    const owner = process.env[OWNER_VARIABLE]
    const watch = owner ? watchOwner(owner, end) : null
    const alive = setInterval(() => undefined, 1 << 30)
    const dir = values.text('dir')
    const log = createLogger({ level: 'info', format: 'json', clock: systemClock, sink: createFdSink(2) })
    try {
      const endpoint = readEndpoint(values.text('endpoint'), process.env)
      const environment = sandboxEnvironment(dir, process.env)
      const secret = process.env[SECRET_VARIABLE] ?? ''
      await runSupervisor(
        { endpoint, sandboxId: values.text('sandbox-id'), dir, secret, environment, log },
        stop.signal,
      )
      return 0
    } catch (error) {
      throw new StartError(errorText(error), 1, { cause: error })
    } finally {
      clearInterval(alive)
      watch?.close()
    }
  },
})
