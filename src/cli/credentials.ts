import { errorText, StartError } from '../base/errors.ts'
import { FLAGS } from '../config/flags.ts'
import { type CredentialsDriver, DriverError } from '../drivers/contract.ts'
import { createCredentialsDriver } from '../drivers/credentials.ts'
import { refuseSocketPath } from '../drivers/socket-path.ts'
import type { Logger } from '../observe/log.ts'
import { OUTPUT_FLAG } from './client-flags.ts'
import { renderJson } from './client-io.ts'
import { type CommandGroup, type CommandIo, defineGatewayCommand } from './command.ts'

/** How long a driver that is not there is waited for. */
const CONNECT_SECS = 5

const SOCKET = FLAGS.find(flag => flag.name === 'credentials-driver-socket')!

/** The driver's own lines are not for an operator who asked one question. */
const SILENT: Logger = {
  log: () => undefined,
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => SILENT,
}

/** Asks the driver behind `path` one thing. Throws a `StartError` with a sentence when it cannot be asked. */
async function withDriver<T>(path: string | null, ask: (driver: CredentialsDriver) => Promise<T>): Promise<T> {
  if (path === null)
    throw new StartError(`--credentials-driver-socket (or ${SOCKET.env}) must name the driver's socket`, 2)
  const refused = refuseSocketPath(path)
  if (refused) throw new StartError(`--credentials-driver-socket ${refused}`, 2)
  const driver = createCredentialsDriver({ socketPath: path, connectTimeoutSecs: CONNECT_SECS, log: SILENT })
  try {
    await driver.start()
    return await ask(driver)
  } catch (error) {
    if (!(error instanceof DriverError)) throw error
    throw new StartError(`the credentials driver answered ${error.kind}: ${errorText(error)}`, 1, { cause: error })
  } finally {
    await driver.close()
  }
}

const rows = (lines: readonly (readonly string[])[]): string => lines.map(line => `${line.join('\t')}\n`).join('')

const list = defineGatewayCommand({
  flags: [SOCKET, OUTPUT_FLAG],
  async run(values, io: CommandIo) {
    const known = await withDriver(values.optional('credentials-driver-socket'), driver => driver.list())
    const isJson = values.text('output') === 'json'
    await io.out(isJson ? renderJson(known) : rows(known.map(({ name, scopes }) => [name, scopes.join(' ')])))
    return 0
  },
})

/** Says that a token can be had and for how long; the token itself is never printed. */
const resolve = defineGatewayCommand({
  flags: [
    SOCKET,
    OUTPUT_FLAG,
    {
      name: 'check',
      env: null,
      kind: 'switch',
      default: null,
      group: 'Drivers',
      help: 'Only say whether it works; this is all the command does, the token is never printed',
    },
  ],
  positionals: [{ name: 'name', help: 'Name of the credential' }],
  async run(values, io: CommandIo) {
    const [name = ''] = values.positionals
    const started = performance.now()
    const found = await withDriver(values.optional('credentials-driver-socket'), driver => driver.resolve(name))
    const tookMs = Math.round(performance.now() - started)
    const expiresAt = found.expiresAtMs === null ? null : new Date(found.expiresAtMs).toISOString()
    const expiry = expiresAt === null ? 'no known expiry' : `expires ${expiresAt}`
    await io.out(
      values.text('output') === 'json'
        ? renderJson({ name, status: 'ok', token_type: found.tokenType, expires_at: expiresAt, latency_ms: tookMs })
        : rows([[name, 'ok', found.tokenType, expiry, `${tookMs} ms`]]),
    )
    return 0
  },
})

/** `credentials list` and `credentials resolve NAME --check`: whether the credentials driver works (spec/providers.md §14). */
export const command: CommandGroup = {
  commands: [
    { name: 'list', about: 'List the credentials that the driver knows', load: async () => list },
    { name: 'resolve', about: 'Check that the driver can get a token', load: async () => resolve },
  ],
}
