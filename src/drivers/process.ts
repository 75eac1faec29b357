import { chmodSync, existsSync, mkdirSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createBackoff } from '../base/backoff.ts'
import { type Clock, sleep, systemClock } from '../base/clock.ts'
import { errorText, StartError } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import { createLifeline } from './lifeline.ts'
import { logLines } from './process-output.ts'

/** Where a driver's executable may be. */
export interface DriverSearch {
  /** `--driver-dir`: replaces the list (spec/gateway.md §17); null = the list. */
  readonly driverDir: string | null
  /** `HOME`; null = not set. */
  readonly home: string | null
  /** The gateway's own executable. */
  readonly executable: string
}

/** Names a driver may have on the command line; `openshell-driver-` goes before it. */
const NAME = /^[a-z0-9][a-z0-9_-]{0,62}$/

/** The directories looked into, in order: the driver directories, then the one of the gateway (spec/gateway.md §17). */
export function driverDirectories(search: DriverSearch): string[] {
  const own = dirname(search.executable)
  if (search.driverDir !== null) return [search.driverDir, own]
  const personal = search.home ? [join(search.home, '.local/libexec/openshell')] : []
  return [...personal, '/usr/local/libexec/openshell', '/usr/local/libexec', own]
}

/** Path of the executable of driver `name`; throws a `StartError` that says where it looked (decision 6). */
export function findDriver(name: string, search: DriverSearch, isExecutable = isExecutableFile): string {
  if (!NAME.test(name)) throw new StartError(`compute driver name '${name.toWellFormed()}' is not a driver's name`, 2)
  const places = driverDirectories(search).map(directory => join(directory, `openshell-driver-${name}`))
  const found = places.find(isExecutable)
  if (found) return found
  const searched = places.map(place => `'${place}'`).join(', ')
  throw new StartError(`${name} compute driver binary not found (searched ${searched})`)
}

function isExecutableFile(path: string): boolean {
  const facts = statSync(path, { throwIfNoEntry: false })
  return facts?.isFile() === true && (facts.mode & 0o111) !== 0
}

/** The socket of a driver in its directory. */
export const DRIVER_SOCKET = 'compute-driver.sock'

export interface DriverProcessOptions {
  readonly name: string
  readonly executable: string
  /** Where its socket is; made with mode 0700 when absent. */
  readonly directory: string
  /** Flags after `--bind-socket PATH`; never a secret: every user may read a command line. */
  readonly args: readonly string[]
  /** The whole environment of the process; secrets go here. */
  readonly environment: Readonly<Record<string, string>>
  readonly log: Logger
  readonly clock?: Clock
}

/** A driver that the gateway started: kept running until `close`, or until the gateway is gone (decision 6). */
export interface DriverProcess {
  readonly socketPath: string
  /** Process id while it runs. */
  readonly pid: number | null
  /** One sentence while it does not run; null while it does. */
  explain(): string | null
  /** SIGTERM, then SIGKILL after two seconds; removes the socket. */
  close(): Promise<void>
}

/** Starts the driver and supervises it. Throws a `StartError` when its directory cannot be made private. */
export function startDriverProcess(options: DriverProcessOptions): DriverProcess {
  const socketPath = join(options.directory, DRIVER_SOCKET)
  makePrivate(options.directory)
  return new Supervised(options, socketPath)
}

function makePrivate(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    chmodSync(directory, 0o700)
  } catch (error) {
    throw new StartError(`driver directory '${directory}' cannot be made private: ${errorText(error)}`, 1, {
      cause: error,
    })
  }
}

type Child = Bun.Subprocess<'ignore', 'pipe', 'pipe'>

class Supervised implements DriverProcess {
  readonly socketPath: string
  readonly #options: DriverProcessOptions
  readonly #clock: Clock
  readonly #closing = new AbortController()
  readonly #loop: Promise<void>
  #child: Child | null = null
  #last: string | null = null

  constructor(options: DriverProcessOptions, socketPath: string) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.socketPath = socketPath
    this.#loop = this.#run()
  }

  get pid(): number | null {
    return this.#child?.pid ?? null
  }

  explain(): string | null {
    return this.#child ? null : (this.#last ?? `openshell-driver-${this.#options.name} is being started`)
  }

  async close(): Promise<void> {
    this.#closing.abort()
    const child = this.#child
    if (child) {
      child.kill('SIGTERM')
      const timer = this.#clock.after(LIMITS.driverStopMs, () => child.kill('SIGKILL'))
      await child.exited
      timer.cancel()
    }
    await this.#loop
    rmSync(this.socketPath, { force: true })
  }

  async #run(): Promise<void> {
    const backoff = createBackoff(LIMITS.driverRestartFirstMs, LIMITS.driverRestartMostMs)
    const { log, name } = this.#options
    while (!this.#closing.signal.aborted) {
      const beganMs = this.#clock.monotonicMs()
      this.#last = await this.#once()
      if (this.#closing.signal.aborted) return
      if (this.#clock.monotonicMs() - beganMs >= LIMITS.driverSteadyMs) backoff.reset()
      const waitMs = backoff.nextMs()
      log.error('driver process ended', { driver: name, reason: this.#last, restart_ms: Math.round(waitMs) })
      await sleep(this.#clock, waitMs, this.#closing.signal)
    }
  }

  /** One life of the process; how it ended. */
  async #once(): Promise<string> {
    const { executable, args, environment, log, name } = this.#options
    if (existsSync(this.socketPath)) rmSync(this.socketPath, { force: true })
    const lifeline = createLifeline()
    try {
      const child = Bun.spawn([executable, '--bind-socket', this.socketPath, ...args], {
        env: { ...environment },
        stdio: ['ignore', 'pipe', 'pipe', ...(lifeline ? [lifeline.descriptor] : [])],
      })
      lifeline?.guard(child.pid)
      this.#child = child
      log.info('driver process started', { driver: name, pid: child.pid, executable })
      if (this.#closing.signal.aborted) child.kill('SIGKILL')
      const reading = [
        logLines(child.stdout, log, { driver: name, pid: child.pid }, this.#clock),
        logLines(child.stderr, log, { driver: name, pid: child.pid }, this.#clock),
      ]
      await child.exited
      await Promise.race([Promise.all(reading), sleep(this.#clock, LIMITS.driverStopMs)])
      return `openshell-driver-${name} ended with ${child.signalCode ?? `status ${child.exitCode}`}`
    } catch (error) {
      return `openshell-driver-${name} could not be started: ${errorText(error)}`
    } finally {
      this.#child = null
      lifeline?.close()
    }
  }
}
