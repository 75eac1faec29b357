import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { type Clock, systemClock } from '../base/clock.ts'
import { errorText, StartError } from '../base/errors.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import { readMap } from '../wire/maps.ts'
import type { ComputeDriverSandbox } from '../wire/messages.generated.ts'
import {
  type DriverHandler,
  type DriverServer,
  type DriverStream,
  refuse,
  removeDeadSocket,
  serveDriver,
} from './driver-server.ts'
import { createEventFan, type EventFan } from './event-fan.ts'
import {
  isDirectoryName,
  loadRecords,
  makeDirectories,
  removeSandbox,
  type SandboxRecord,
  saveRecord,
  startSandbox,
  stopSandbox,
  untilEnded,
  workspaceOf,
} from './local-sandbox.ts'
import { claimOwnership, OWNER_VARIABLE, ownerFile } from './owner-watch.ts'
import { isAlive } from './process-identity.ts'

export interface LocalDriverOptions {
  readonly socketPath: string
  /** Its sandboxes and their records; made with mode 0700. */
  readonly stateDir: string
  /** Where the gateway is reached from a sandbox; null = sandboxes without a supervisor. */
  readonly grpcEndpoint: string | null
  readonly version: string
  /** Handed to sandboxes whose spec brings none; null = none. */
  readonly handshakeSecret: string | null
  /** Command line that runs a sandbox's leader; see `sandboxCommand`. */
  readonly command: (id: string, workspace: string) => readonly [string, ...string[]]
  /** End the processes of all sandboxes at the end; otherwise the next driver on the same directory takes them over. */
  readonly stopOnClose: boolean
  readonly log: Logger
  readonly clock?: Clock
}

export interface LocalDriver {
  /** Stops serving, and the sandboxes too with `stopOnClose`. */
  close(): Promise<void>
}

/**
 * The leader of a sandbox: the embedded supervisor when there is a gateway to connect to, else a process that only waits.
 * `self` is the command line of this executable.
 */
export function sandboxCommand(
  self: readonly [string, ...string[]],
  grpcEndpoint: string | null,
  id: string,
  workspace: string,
): readonly [string, ...string[]] {
  if (grpcEndpoint === null) return [...self, 'sandbox-init']
  return [...self, 'supervisor', '--endpoint', grpcEndpoint, '--sandbox-id', id, '--dir', workspace]
}

/**
 * Starts a compute driver whose sandboxes are a directory and a process on this machine (decision 7). Sandboxes of an
 * earlier driver on the same directory are found again: adopted while their process lives, reported as ended otherwise,
 * and removed when their deletion was under way.
 */
export async function startLocalDriver(options: LocalDriverOptions): Promise<LocalDriver> {
  mkdirSync(options.stateDir, { recursive: true, mode: 0o700 })
  mkdirSync(dirname(options.socketPath), { recursive: true, mode: 0o700 })
  if (!claimOwnership(ownerFile(options.stateDir)))
    throw new StartError(`another local driver runs on '${options.stateDir}'`)
  await removeDeadSocket(options.socketPath)
  const driver = new Local(options, loadRecords(options.stateDir))
  const server = await serveDriver(options.socketPath, 'openshell.compute.v1.ComputeDriver', driver.handlers())
  driver.adopt()
  return { close: () => driver.close(server) }
}

interface Entry {
  record: SandboxRecord
  /** Settles when its process was started or could not be; deletion waits for it. */
  started: Promise<void>
  /** Type of the one condition, and why. */
  isReady: boolean
  reason: string
  message: string
}

class Local {
  readonly #options: LocalDriverOptions
  readonly #clock: Clock
  readonly #entries = new Map<string, Entry>()
  readonly #events: EventFan<object> = createEventFan(LIMITS.localWatchQueue)
  readonly #closing = new AbortController()
  readonly #work = new Set<Promise<void>>()

  constructor(options: LocalDriverOptions, records: readonly SandboxRecord[]) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    for (const record of records) this.#entries.set(record.id, { record, started: Promise.resolve(), ...starting })
  }

  handlers(): Record<string, DriverHandler> {
    return {
      GetCapabilities: async () => ({
        driver_name: 'local',
        driver_version: this.#options.version,
        default_image: 'local',
        supports_gpu: false,
      }),
      ValidateSandboxCreate: async (request: { sandbox: ComputeDriverSandbox | null }) =>
        this.#validate(request.sandbox),
      CreateSandbox: async (request: { sandbox: ComputeDriverSandbox | null }) => this.#create(request.sandbox),
      GetSandbox: async (request: { sandbox_id: string; sandbox_name: string }) => this.#get(request),
      ListSandboxes: async () => ({ sandboxes: [...this.#entries.values()].map(describe) }),
      DeleteSandbox: async (request: { sandbox_id: string; sandbox_name: string }) => this.#delete(request),
      WatchSandboxes: async (_request: object, stream: DriverStream) => this.#watch(stream),
    }
  }

  /** Takes over what an earlier driver left. */
  adopt(): void {
    for (const entry of this.#entries.values()) {
      const { process: leader, isDeleting } = entry.record
      if (isDeleting) this.#do(this.#remove(entry))
      else if (leader && isAlive(leader.pid, leader.identity)) {
        this.#ready(entry)
        this.#do(
          this.#follow(
            entry,
            untilEnded(leader, this.#clock, this.#closing.signal).then(() => 'unknown status'),
          ),
        )
      } else this.#ended(entry, entry.record.ended ?? 'the driver was not running')
    }
  }

  async close(server: DriverServer): Promise<void> {
    this.#closing.abort()
    this.#events.end()
    await server.close()
    await Promise.all(this.#work)
    if (this.#options.stopOnClose)
      await Promise.all([...this.#entries.values()].map(entry => stopSandbox(entry.record, this.#clock)))
  }

  #do(work: Promise<void>): void {
    const guarded = work.catch(error => this.#options.log.error('sandbox work failed', { reason: errorText(error) }))
    this.#work.add(guarded)
    void guarded.finally(() => this.#work.delete(guarded))
  }

  #validate(sandbox: ComputeDriverSandbox | null): object {
    if (!sandbox) throw refuse('INVALID_ARGUMENT', 'sandbox is required')
    if (sandbox.spec?.gpu) throw refuse('FAILED_PRECONDITION', 'the local driver has no GPU')
    return {}
  }

  #create(sandbox: ComputeDriverSandbox | null): object {
    if (!sandbox) throw refuse('INVALID_ARGUMENT', 'sandbox is required')
    this.#validate(sandbox)
    const { id, name } = sandbox
    if (!isDirectoryName(id)) throw refuse('INVALID_ARGUMENT', 'sandbox id is not usable as a directory name')
    if (name === '') throw refuse('INVALID_ARGUMENT', 'sandbox name is required')
    const isTaken = this.#entries.has(id) || [...this.#entries.values()].some(entry => entry.record.name === name)
    if (isTaken) throw refuse('ALREADY_EXISTS', 'sandbox already exists')
    if (this.#entries.size >= LIMITS.localSandboxes)
      throw refuse('FAILED_PRECONDITION', `the local driver runs ${LIMITS.localSandboxes} sandboxes already`)
    makeDirectories(this.#options.stateDir, id)
    const record = { id, name, createdAtMs: this.#clock.nowMs(), process: null, isDeleting: false, ended: null }
    saveRecord(this.#options.stateDir, record)
    const entry: Entry = { record, started: Promise.resolve(), ...starting }
    this.#entries.set(id, entry)
    this.#publish(entry)
    this.#tell(entry, 'Normal', 'Scheduled', 'Sandbox assigned to this machine')
    entry.started = this.#start(entry, this.#environmentOf(sandbox))
    this.#do(entry.started)
    return {}
  }

  /** Template first, the spec's own values win, then what a sandbox cannot do without (spec/sandbox.md §17). */
  #environmentOf(sandbox: ComputeDriverSandbox): Map<string, string> {
    const { grpcEndpoint, handshakeSecret, stateDir } = this.#options
    const environment = readMap(sandbox.spec?.template?.environment)
    if (handshakeSecret !== null) environment.set('OPENSHELL_SSH_HANDSHAKE_SECRET', handshakeSecret)
    if (sandbox.spec?.log_level) environment.set('OPENSHELL_LOG_LEVEL', sandbox.spec.log_level)
    for (const [name, value] of readMap(sandbox.spec?.environment)) environment.set(name, value)
    environment.set('OPENSHELL_SANDBOX_ID', sandbox.id)
    environment.set('OPENSHELL_SANDBOX', sandbox.name)
    if (grpcEndpoint !== null) environment.set('OPENSHELL_ENDPOINT', grpcEndpoint)
    environment.set(OWNER_VARIABLE, ownerFile(stateDir))
    return environment
  }

  async #start(entry: Entry, environment: Map<string, string>): Promise<void> {
    const { stateDir, command } = this.#options
    const { id } = entry.record
    try {
      const started = await startSandbox({ stateDir, id, command: command(id, workspaceOf(stateDir, id)), environment })
      entry.record = { ...entry.record, process: started.process }
      saveRecord(stateDir, entry.record)
      if (entry.record.isDeleting) return
      this.#ready(entry)
      this.#tell(entry, 'Normal', 'Started', 'Sandbox process started')
      this.#do(this.#follow(entry, started.ended))
    } catch (error) {
      if (!entry.record.isDeleting) this.#ended(entry, errorText(error))
    }
  }

  async #follow(entry: Entry, ended: Promise<string>): Promise<void> {
    const closed = new Promise<null>(resolve => {
      if (this.#closing.signal.aborted) resolve(null)
      this.#closing.signal.addEventListener('abort', () => resolve(null), { once: true })
    })
    const how = await Promise.race([ended, closed])
    if (how !== null && !this.#closing.signal.aborted && !entry.record.isDeleting) this.#ended(entry, how)
  }

  #get({ sandbox_id: id, sandbox_name: name }: { sandbox_id: string; sandbox_name: string }): object {
    if (name === '') throw refuse('INVALID_ARGUMENT', 'sandbox_name is required')
    const entry = this.#find(id, name)
    if (!entry) throw refuse('NOT_FOUND', 'sandbox not found')
    if (id !== '' && entry.record.id !== id)
      throw refuse('FAILED_PRECONDITION', 'sandbox_id did not match the fetched sandbox')
    return { sandbox: describe(entry) }
  }

  #find(id: string, name: string): Entry | undefined {
    return this.#entries.get(id) ?? [...this.#entries.values()].find(entry => entry.record.name === name)
  }

  #delete({ sandbox_id: id }: { sandbox_id: string }): object {
    const entry = this.#entries.get(id)
    if (!entry) return { deleted: false }
    if (!entry.record.isDeleting) {
      entry.record = { ...entry.record, isDeleting: true }
      saveRecord(this.#options.stateDir, entry.record)
      this.#publish(entry)
      this.#do(this.#remove(entry))
    }
    return { deleted: true }
  }

  async #remove(entry: Entry): Promise<void> {
    await entry.started
    await stopSandbox(entry.record, this.#clock)
    removeSandbox(this.#options.stateDir, entry.record.id)
    this.#entries.delete(entry.record.id)
    this.#events.send({ deleted: { sandbox_id: entry.record.id } })
  }

  async #watch(stream: DriverStream): Promise<undefined> {
    const events = this.#events.subscribe(stream.signal)
    const present = [...this.#entries.values()].map(describe)
    for (const sandbox of present) await stream.write({ sandbox: { sandbox } })
    for await (const event of events) await stream.write(event)
  }

  #ready(entry: Entry): void {
    Object.assign(entry, { isReady: true, reason: 'DependenciesReady', message: '' })
    this.#publish(entry)
  }

  #ended(entry: Entry, how: string): void {
    entry.record = { ...entry.record, ended: how }
    saveRecord(this.#options.stateDir, entry.record)
    Object.assign(entry, { isReady: false, reason: 'ProcessExited', message: `sandbox process ended: ${how}` })
    this.#publish(entry)
  }

  #publish(entry: Entry): void {
    this.#events.send({ sandbox: { sandbox: describe(entry) } })
  }

  #tell(entry: Entry, type: string, reason: string, message: string): void {
    const event = { timestamp_ms: this.#clock.nowMs(), source: 'local-driver', type, reason, message }
    this.#events.send({ platform_event: { sandbox_id: entry.record.id, event } })
  }
}

const starting = { isReady: false, reason: 'DependenciesNotReady', message: 'Sandbox process is being started' }

function describe({ record, isReady, reason, message }: Entry): object {
  const condition = { type: 'Ready', status: isReady ? 'True' : 'False', reason, message, last_transition_time: '' }
  const instance = record.process ? `local-${record.process.pid}` : ''
  return {
    id: record.id,
    name: record.name,
    namespace: 'local',
    status: { sandbox_name: record.name, instance_id: instance, conditions: [condition], deleting: record.isDeleting },
  }
}
