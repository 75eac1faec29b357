import { readFileSync } from 'node:fs'
import { StartError } from '../base/errors.ts'
import { osErrorText } from '../base/os-error.ts'
import type { Config } from '../config/config.ts'
import { inspectSocket } from '../drivers/socket-path.ts'
import { driverExecutable, type Environment } from './peers.ts'

function refuseSocket(flag: string, path: string): void {
  const finding = inspectSocket(path)
  if (finding.kind !== 'wrong') return
  throw new StartError(`--${flag}: '${path}' is ${finding.what}, not a socket; name the socket that the driver made`)
}

/**
 * Refuses what no waiting will mend before anything is opened or made: a start that fails leaves no database file and
 * no port that was open for a moment. Throws a `StartError` that names the flag.
 */
export function refuseHopeless(config: Config, environment: Environment): void {
  const { socket } = config.compute
  if (socket === null) driverExecutable(config, environment)
  else refuseSocket('compute-driver-socket', socket)
  if (config.credentialsDriverSocket !== null) refuseSocket('credentials-driver-socket', config.credentialsDriverSocket)
  const caFile = config.oidc?.caFile ?? null
  if (caFile !== null) refuseUnreadable('oidc-ca-file', caFile)
}

function refuseUnreadable(flag: string, file: string): void {
  try {
    readFileSync(file)
  } catch (error) {
    throw new StartError(`--${flag}: cannot read '${file}': ${osErrorText(error)}`, 1, { cause: error })
  }
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
