import { systemClock } from '../base/clock.ts'
import { StartError } from '../base/errors.ts'
import { sandboxCommand, startLocalDriver } from '../dev/local-driver.ts'
import { refuseSocketPath } from '../drivers/socket-path.ts'
import { LIMITS } from '../limits.ts'
import { createLogger, type LogLevel } from '../observe/log.ts'
import { createFdSink } from '../observe/log-sink.ts'
import { defineGatewayCommand } from './command.ts'
import { selfCommand } from './self-command.ts'
import { listenToSignals } from './signals.ts'
import { stateDirectory } from './state-home.ts'
import { VERSION } from './version.ts'

/** `openshell-gateway local-driver`: the embedded compute driver in a process of its own (decision 7). */
export const command = defineGatewayCommand({
  flags: [
    {
      name: 'socket',
      env: null,
      kind: 'path',
      default: null,
      required: true,
      hiddenAlias: 'bind-socket',
      group: 'Drivers',
      help: 'Unix socket to serve on',
    },
    {
      name: 'state-dir',
      env: null,
      kind: 'path',
      default: null,
      group: 'Drivers',
      help: 'Directory of the sandboxes; default below the XDG state directory',
    },
    {
      name: 'grpc-endpoint',
      env: 'OPENSHELL_GRPC_ENDPOINT',
      kind: 'text',
      default: null,
      group: 'Drivers',
      help: 'URL at which sandboxes reach the gateway; without it they get no supervisor',
    },
    {
      name: 'log-level',
      env: 'OPENSHELL_LOG_LEVEL',
      kind: 'choice',
      choices: ['debug', 'info', 'warn', 'error'],
      default: 'info',
      group: 'Logging',
      help: 'Which events reach standard error',
    },
    {
      name: 'stop-sandboxes',
      env: null,
      kind: 'switch',
      default: null,
      group: 'Drivers',
      help: 'End the processes of the sandboxes when the driver ends',
    },
  ],
  async run(values, io) {
    const socketPath = values.text('socket')
    const refusal = refuseSocketPath(socketPath)
    if (refusal) throw new StartError(`--socket ${refusal}`, 2)
    const grpcEndpoint = values.optional('grpc-endpoint') || null
    const sink = createFdSink(2)
    const log = createLogger({ sink, format: 'json', level: values.text('log-level') as LogLevel, clock: systemClock })
    const signals = listenToSignals(io.exit, () => undefined)
    const driver = await startLocalDriver({
      socketPath,
      stateDir: stateDirectory(values.optional('state-dir'), 'local-driver'),
      grpcEndpoint,
      version: VERSION,
      handshakeSecret: process.env['OPENSHELL_SSH_HANDSHAKE_SECRET'] || null,
      stopOnClose: values.on('stop-sandboxes'),
      command: (id, workspace) => sandboxCommand(selfCommand(), grpcEndpoint, id, workspace),
      log,
    })
    log.info('local driver ready', { socket: socketPath })
    await signals.ending
    await driver.close()
    signals.close()
    await sink.flush(LIMITS.shutdownSlackMs)
    return 0
  },
})
