import { type Clock, systemClock } from '../base/clock.ts'
import { StartError } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import type { Init } from '../wire/codec.ts'
import type { ComputeDriverSandbox, ComputeGetCapabilitiesResponse } from '../wire/messages.generated.ts'
import { type ChannelTimings, createDriverChannel, type DriverChannel } from './channel.ts'
import { type Connection, driverMethod } from './connection.ts'
import {
  type CallOptions,
  type ComputeDriver,
  type ComputeWatchConsumer,
  type DriverCapabilities,
  DriverError,
  type DriverState,
} from './contract.ts'
import { identifyPeer } from './identify.ts'
import { keepWatching, WATCH_TIMINGS, type WatchTimings } from './watch.ts'

const SERVICE = 'openshell.compute.v1.ComputeDriver'
const METHODS = {
  capabilities: driverMethod(
    SERVICE,
    'GetCapabilities',
    'openshell.compute.v1.GetCapabilitiesRequest',
    'openshell.compute.v1.GetCapabilitiesResponse',
  ),
  validate: driverMethod(
    SERVICE,
    'ValidateSandboxCreate',
    'openshell.compute.v1.ValidateSandboxCreateRequest',
    'openshell.compute.v1.ValidateSandboxCreateResponse',
  ),
  create: driverMethod(
    SERVICE,
    'CreateSandbox',
    'openshell.compute.v1.CreateSandboxRequest',
    'openshell.compute.v1.CreateSandboxResponse',
  ),
  get: driverMethod(
    SERVICE,
    'GetSandbox',
    'openshell.compute.v1.GetSandboxRequest',
    'openshell.compute.v1.GetSandboxResponse',
  ),
  list: driverMethod(
    SERVICE,
    'ListSandboxes',
    'openshell.compute.v1.ListSandboxesRequest',
    'openshell.compute.v1.ListSandboxesResponse',
  ),
  delete: driverMethod(
    SERVICE,
    'DeleteSandbox',
    'openshell.compute.v1.DeleteSandboxRequest',
    'openshell.compute.v1.DeleteSandboxResponse',
  ),
} as const

/** Longest default image taken over: what the gateway accepts in a template (spec/sandbox.md §3.1). */
const IMAGE_CHARS = 1024

export interface ComputeDriverOptions {
  /** Absolute path that `refuseSocketPath` accepts. */
  readonly socketPath: string
  /** The driver's name in start errors: `external`, or that of a spawned driver. */
  readonly driver: string
  /** Users that may stand behind the socket; none = any (D-15). */
  readonly uids?: readonly number[]
  /** 0 = wait for ever (decision 15). */
  readonly connectTimeoutSecs: number
  readonly log: Logger
  /** Why a driver that we started may be absent. */
  readonly explain?: () => string | null
  readonly clock?: Clock
  readonly timings?: Partial<ChannelTimings>
  readonly watchTimings?: Partial<WatchTimings>
}

/** The compute driver behind a Unix socket (spec/sandbox.md §10, §11). */
export function createComputeDriver(options: ComputeDriverOptions): ComputeDriver {
  return new SocketComputeDriver(options)
}

class SocketComputeDriver implements ComputeDriver {
  readonly #options: ComputeDriverOptions
  readonly #clock: Clock
  readonly #channel: DriverChannel
  readonly #watches = new Set<{ readonly stop: AbortController; readonly done: Promise<void> }>()
  #capabilities: DriverCapabilities | null = null

  constructor(options: ComputeDriverOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#channel = createDriverChannel({
      path: options.socketPath,
      label: 'compute driver',
      startLabel: `${options.driver} compute driver socket`,
      connectTimeoutMs: options.connectTimeoutSecs * 1000,
      log: options.log,
      greet: connection => this.#greet(connection),
      clock: this.#clock,
      ...(options.explain && { explain: options.explain }),
      ...(options.uids && { uids: options.uids }),
      ...(options.timings && { timings: options.timings }),
    })
  }

  get state(): DriverState {
    return this.#channel.state
  }

  get capabilities(): DriverCapabilities | null {
    return this.#capabilities
  }

  start(): Promise<void> {
    return this.#channel.start()
  }

  async close(): Promise<void> {
    for (const watch of this.#watches) watch.stop.abort()
    await this.#channel.close()
    await Promise.all([...this.#watches].map(watch => watch.done))
  }

  async validateSandboxCreate(sandbox: Init<ComputeDriverSandbox>, options?: CallOptions): Promise<void> {
    const call = { timeoutMs: LIMITS.driverValidateMs, options, canRepeat: false }
    await this.#channel.call(METHODS.validate, { sandbox }, call)
  }

  async createSandbox(sandbox: Init<ComputeDriverSandbox>, options?: CallOptions): Promise<void> {
    const call = { timeoutMs: LIMITS.driverCreateMs, options, canRepeat: false }
    await this.#channel.call(METHODS.create, { sandbox }, call)
  }

  async getSandbox(id: string, name: string, options?: CallOptions): Promise<ComputeDriverSandbox | null> {
    const call = { timeoutMs: LIMITS.driverGetMs, options, canRepeat: true }
    try {
      return (await this.#channel.call(METHODS.get, { sandbox_id: id, sandbox_name: name }, call)).sandbox
    } catch (error) {
      if (error instanceof DriverError && error.kind === 'NOT_FOUND') return null
      throw error
    }
  }

  async listSandboxes(options?: CallOptions): Promise<ComputeDriverSandbox[]> {
    const call = { timeoutMs: LIMITS.driverListMs, options, canRepeat: true }
    return (await this.#channel.call(METHODS.list, {}, call)).sandboxes
  }

  async deleteSandbox(id: string, name: string, options?: CallOptions): Promise<boolean> {
    const call = { timeoutMs: LIMITS.driverDeleteMs, options, canRepeat: false }
    return (await this.#channel.call(METHODS.delete, { sandbox_id: id, sandbox_name: name }, call)).deleted
  }

  watch(consumer: ComputeWatchConsumer): { close(): void } {
    const stop = new AbortController()
    const done = keepWatching({
      channel: this.#channel,
      consumer,
      signal: stop.signal,
      log: this.#options.log,
      clock: this.#clock,
      timings: { ...WATCH_TIMINGS, ...this.#options.watchTimings },
      probe: (connection, timeoutMs) => this.#learn(connection, timeoutMs),
    })
    const watch = { stop, done }
    this.#watches.add(watch)
    void done.finally(() => this.#watches.delete(watch))
    return { close: () => stop.abort() }
  }

  /** GetCapabilities must answer before anything else is asked; a peer that does not know it is no compute driver (decision 15). */
  async #greet(connection: Connection): Promise<void> {
    try {
      await this.#learn(connection, LIMITS.driverCapabilitiesMs)
    } catch (error) {
      if (!(error instanceof DriverError) || error.kind !== 'UNIMPLEMENTED') throw error
      const peer = await identifyPeer(connection)
      throw new StartError(
        `execution error: failed to create compute runtime: '${this.#options.socketPath}' does not implement ${METHODS.capabilities.path}: it is ${peer}`,
      )
    }
  }

  async #learn(connection: Connection, timeoutMs: number): Promise<void> {
    const answer = await connection.unary(METHODS.capabilities, {}, { timeoutMs })
    this.#capabilities = readCapabilities(answer)
  }
}

/** An answer may be as long as a message; what is kept and shown is not. */
function readCapabilities(answer: ComputeGetCapabilitiesResponse): DriverCapabilities {
  return Object.freeze({
    driverName: answer.driver_name.slice(0, 256).toWellFormed(),
    driverVersion: answer.driver_version.slice(0, 256).toWellFormed(),
    defaultImage: answer.default_image.length <= IMAGE_CHARS ? answer.default_image : '',
    supportsGpu: answer.supports_gpu,
  })
}
