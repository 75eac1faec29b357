import { StartError } from '../base/errors.ts'
import type { Config } from '../config/config.ts'
import { inspectSocket } from '../drivers/socket-path.ts'
import { refuseTaken } from '../net/listener.ts'
import { readAuthorities } from '../net/tls-files.ts'
import { driverExecutable, type Environment } from './peers.ts'

function refuseSocket(flag: string, path: string): void {
  const finding = inspectSocket(path)
  if (finding.kind !== 'wrong') return
  throw new StartError(`--${flag}: '${path}' is ${finding.what}, not a socket; name the socket that the driver made`)
}

/**
 * Refuses what no waiting will mend before anything is opened or made: a start that fails leaves no database file
 * behind (C-10). Throws a `StartError` that names the flag.
 */
export async function refuseHopeless(config: Config, environment: Environment): Promise<void> {
  const { socket } = config.compute
  if (socket === null) driverExecutable(config, environment)
  else refuseSocket('compute-driver-socket', socket)
  if (config.credentialsDriverSocket !== null) refuseSocket('credentials-driver-socket', config.credentialsDriverSocket)
  const caFile = config.oidc?.caFile ?? null
  if (caFile !== null) await blaming('--oidc-ca-file', () => readAuthorities(caFile))
  await refuseTaken({ host: config.bindAddress, port: config.port, what: 'to' })
}

/** Opens a part and, when that fails, says which flags to look at. */
export async function blaming<T>(flags: string, open: () => T | Promise<T>): Promise<T> {
  try {
    return await open()
  } catch (error) {
    if (!(error instanceof StartError)) throw error
    throw new StartError(`${error.message}; check ${flags}`, error.exitCode, { cause: error })
  }
}
