import { type Clock, systemClock } from '../base/clock.ts'
import { StartError } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import { type ChannelTimings, createDriverChannel, type DriverChannel } from './channel.ts'
import { type Connection, driverMethod, TimedOut } from './connection.ts'
import {
  type CallOptions,
  type CredentialsDriver,
  DriverError,
  type DriverState,
  type ResolvedCredential,
} from './contract.ts'
import { judgeCredential } from './credential-answer.ts'
import { identifyPeer } from './identify.ts'

const SERVICE = 'openshell.credentials.v1.CredentialsDriver'
const RESOLVE = driverMethod(
  SERVICE,
  'ResolveCredential',
  'openshell.credentials.v1.ResolveCredentialRequest',
  'openshell.credentials.v1.ResolveCredentialResponse',
)
const LIST = driverMethod(
  SERVICE,
  'ListCredentials',
  'openshell.credentials.v1.ListCredentialsRequest',
  'openshell.credentials.v1.ListCredentialsResponse',
)

/** Said for everything but an unknown name and a bad one: a driver's own text may hold what its issuer answered (D-12, D-14). */
export const CREDENTIAL_UNAVAILABLE = 'credential unavailable'

export interface CredentialsDriverOptions {
  /** Absolute path that `refuseSocketPath` accepts. */
  readonly socketPath: string
  /** Users that may stand behind the socket; none = any (D-15). */
  readonly uids?: readonly number[]
  /** 0 = wait for ever (decision 15). */
  readonly connectTimeoutSecs: number
  readonly log: Logger
  readonly clock?: Clock
  readonly timings?: Partial<ChannelTimings>
}

/**
 * The credentials driver behind a Unix socket (spec/providers.md §14). No error of it carries a word of the driver: the
 * driver's own error is the `cause`, for nobody but a debugger. Kinds: NOT_FOUND, INVALID_ARGUMENT, CANCELLED,
 * DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED (too many calls in flight), and UNAVAILABLE for all the rest.
 */
export function createCredentialsDriver(options: CredentialsDriverOptions): CredentialsDriver {
  return new SocketCredentialsDriver(options)
}

class SocketCredentialsDriver implements CredentialsDriver {
  readonly #options: CredentialsDriverOptions
  readonly #clock: Clock
  readonly #channel: DriverChannel

  constructor(options: CredentialsDriverOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#channel = createDriverChannel({
      path: options.socketPath,
      label: 'credentials driver',
      startLabel: 'credentials driver socket',
      connectTimeoutMs: options.connectTimeoutSecs * 1000,
      log: options.log,
      greet: connection => this.#greet(connection),
      clock: this.#clock,
      ...(options.uids && { uids: options.uids }),
      ...(options.timings && { timings: options.timings }),
    })
  }

  get state(): DriverState {
    return this.#channel.state
  }

  start(): Promise<void> {
    return this.#channel.start()
  }

  close(): Promise<void> {
    return this.#channel.close()
  }

  async resolve(name: string, options?: CallOptions): Promise<ResolvedCredential> {
    const beganMs = this.#clock.monotonicMs()
    const tell = (outcome: string) => {
      const durationMs = Math.round(this.#clock.monotonicMs() - beganMs)
      this.#options.log.debug('credential asked for', { credential: name, outcome, duration_ms: durationMs })
    }
    const call = { timeoutMs: LIMITS.driverResolveMs, options, canRepeat: true }
    try {
      const answer = judgeCredential(await this.#channel.call(RESOLVE, { name }, call), this.#clock.nowMs())
      if (typeof answer === 'string')
        throw new DriverError('UNAVAILABLE', CREDENTIAL_UNAVAILABLE, true, { cause: answer })
      tell('OK')
      return answer
    } catch (error) {
      const shown = conceal(error)
      tell(typeof shown.cause === 'string' ? shown.cause : shown.kind)
      throw shown
    }
  }

  async list(options?: CallOptions): Promise<{ name: string; scopes: string[] }[]> {
    const call = { timeoutMs: LIMITS.driverListMs, options, canRepeat: true }
    try {
      const { credentials } = await this.#channel.call(LIST, {}, call)
      return credentials.slice(0, LIMITS.credentialsListed).map(({ name, scopes }) => ({ name, scopes }))
    } catch (error) {
      throw conceal(error)
    }
  }

  /** ListCredentials stands for GetCapabilities, which this contract lacks. Any answer but "no such call" is a driver's. */
  async #greet(connection: Connection): Promise<void> {
    try {
      await connection.unary(LIST, {}, { timeoutMs: LIMITS.driverListMs })
    } catch (error) {
      if (!(error instanceof DriverError) || error instanceof TimedOut || connection.isOver) throw conceal(error)
      if (error.kind === 'UNIMPLEMENTED') throw await this.#wrongPeer(connection)
      this.#options.log.warn('credentials driver cannot list', { code: error.kind })
    }
  }

  async #wrongPeer(connection: Connection): Promise<StartError> {
    const peer = await identifyPeer(connection)
    const { socketPath } = this.#options
    return new StartError(`credentials driver socket '${socketPath}' does not implement ${LIST.path}: it is ${peer}`)
  }
}

/** TABLE what a caller may learn about each kind of failure; anything missing is UNAVAILABLE `credential unavailable`. */
const SHOWN: Partial<Record<DriverError['kind'], string>> = {
  NOT_FOUND: 'credential not found',
  INVALID_ARGUMENT: 'credential name refused',
  CANCELLED: 'credentials driver call cancelled',
  RESOURCE_EXHAUSTED: 'credentials driver is busy',
  DEADLINE_EXCEEDED: 'credentials driver did not answer in time',
}

/** Text of a failure without a word of the driver. */
function conceal(error: unknown): DriverError {
  if (!(error instanceof DriverError))
    return new DriverError('UNAVAILABLE', CREDENTIAL_UNAVAILABLE, true, { cause: error })
  const text = SHOWN[error.kind]
  if (text) return new DriverError(error.kind, text, error.mayHaveHappened, { cause: error })
  if (!error.mayHaveHappened) return error
  return new DriverError('UNAVAILABLE', CREDENTIAL_UNAVAILABLE, true, {
    cause: error.cause === undefined ? error : error.cause,
  })
}
