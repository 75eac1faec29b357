import { ANONYMOUS, type Principal } from '../../src/auth/principal.ts'
import { type ErrorKind, GatewayError } from '../../src/base/errors.ts'
import type { CredentialsDriver } from '../../src/drivers/contract.ts'
import { createLive, type Live } from '../../src/live/live.ts'
import type { SandboxLine } from '../../src/observe/log.ts'
import type { CallContext } from '../../src/rpc/context.ts'
import type { Handlers, Outbound } from '../../src/rpc/handlers.ts'
import { createRecreate } from '../../src/services/create-sandbox.ts'
import { createLogsService } from '../../src/services/logs.ts'
import { createProvidersService } from '../../src/services/providers.ts'
import { createSandboxesService, type SandboxesDeps } from '../../src/services/sandboxes.ts'
import { createWatchService } from '../../src/services/watch.ts'
import { openStore } from '../../src/store/open.ts'
import type { Store } from '../../src/store/store.ts'
import { codec, type Init, type MessageName } from '../../src/wire/codec.ts'
import type { Messages, Rpcs, SandboxStreamEvent } from '../../src/wire/messages.generated.ts'
import { type CapturedLine, createCapturedLog } from './captured-log.ts'
import { createFakeClock, type FakeClock } from './clock.ts'
import { createMemoryDriver, type MemoryDriver } from './memory-driver.ts'

type UnaryName = { [Name in keyof Rpcs]: Rpcs[Name]['kind'] extends 'unary' ? Name : never }[keyof Rpcs]
type Answer<Name extends keyof Rpcs> = Rpcs[Name]['response']

/** What an open watch has received, and how it ended. */
export interface WatchReader {
  readonly events: SandboxStreamEvent[]
  /** `open`, `OK` or the kind and text of the status. */
  readonly end: () => string
  /** While paused, writes wait: a reader that does not read. */
  pause(): void
  resume(): void
  cancel(): void
}

/** Records, live state and services over a database in memory and a driver in this process. */
export interface SandboxWorld {
  readonly store: Store
  readonly driver: MemoryDriver
  readonly live: Live
  readonly clock: FakeClock
  readonly lines: readonly CapturedLine[]
  call<Name extends UnaryName>(
    rpc: Name,
    request: Init<Rpcs[Name]['request']>,
    options?: CallOptions,
  ): Promise<Answer<Name>>
  /** The kind of the error a call ends with, and its text. */
  refusal<Name extends UnaryName>(
    rpc: Name,
    request: Init<Rpcs[Name]['request']>,
    options?: CallOptions,
  ): Promise<string>
  push(batches: Init<Rpcs['PushSandboxLogs']['request']>[], options?: CallOptions): Promise<string>
  watch(request: Init<Rpcs['WatchSandbox']['request']>, options?: CallOptions): WatchReader
  /** Creates a sandbox; its id. */
  make(name: string, spec?: Init<Rpcs['CreateSandbox']['request']['spec'] & object>): Promise<string>
  /** The record's phase, or the refusal. */
  phase(name: string): Promise<number | string>
  close(): Promise<void>
}

export interface CallOptions {
  readonly signal?: AbortSignal
  readonly principal?: Principal
}

export interface WorldOptions {
  readonly credentials?: CredentialsDriver | null
  readonly deriveSandboxSecret?: (id: string) => string
  /** A world over the database and the clock of an earlier one, as after a restart. */
  readonly after?: SandboxWorld
}

const context = (log: CallContext['log'], options: CallOptions): CallContext =>
  ({
    id: 'call-1',
    row: {},
    principal: options.principal ?? ANONYMOUS,
    peer: { address: '127.0.0.1', port: 1, certificateFingerprint: null, connection: {} },
    signal: options.signal ?? new AbortController().signal,
    deadlineMs: Number.POSITIVE_INFINITY,
    log,
  }) as unknown as CallContext

const told = (error: unknown): string => {
  if (error instanceof GatewayError) return `${error.kind as ErrorKind}: ${error.publicText}`
  throw error
}

const REQUEST: Readonly<Record<string, MessageName>> = {}
const requestOf = (rpc: string): MessageName => REQUEST[rpc] ?? (`openshell.v1.${rpc}Request` as MessageName)
const RESPONSES: Readonly<Record<string, MessageName>> = {
  CreateSandbox: 'openshell.v1.SandboxResponse',
  GetSandbox: 'openshell.v1.SandboxResponse',
  CreateProvider: 'openshell.v1.ProviderResponse',
  GetProvider: 'openshell.v1.ProviderResponse',
  UpdateProvider: 'openshell.v1.ProviderResponse',
}
const responseOf = (rpc: string): MessageName => RESPONSES[rpc] ?? (`openshell.v1.${rpc}Response` as MessageName)

const shape = <N extends MessageName>(name: N, value: unknown): Messages[N] =>
  codec(name).decode(value instanceof Uint8Array ? value : codec(name).encode(value as Init<Messages[N]>))

export async function createSandboxWorld(options: WorldOptions = {}): Promise<SandboxWorld> {
  const clock = options.after?.clock ?? createFakeClock()
  const captured = createCapturedLog()
  const store = options.after?.store ?? (await openStore('sqlite::memory:', { clock, log: captured }))
  const driver = createMemoryDriver()
  let recreate = async (_id: string) => {}
  let live: Live | null = null
  const taps = (level: string, message: string, fields: Readonly<Record<string, unknown>> | undefined) => {
    const id = fields?.['sandbox_id']
    if (typeof id !== 'string' || level === 'debug') return
    const line: SandboxLine = {
      sandboxId: id,
      timestampMs: clock.nowMs(),
      level: level.toUpperCase(),
      target: 't',
      message,
    }
    live?.logs.onLine(line)
  }
  const log: CallContext['log'] = {
    ...captured,
    info: (message, fields) => {
      captured.info(message, fields)
      taps('info', message, fields)
    },
    warn: (message, fields) => {
      captured.warn(message, fields)
      taps('warn', message, fields)
    },
  }
  live = createLive({ store, driver, clock, log, recreate: id => recreate(id) })
  const deps: SandboxesDeps = {
    ...{ store, driver, clock, log },
    ...{ state: live.state, creations: live.creations, deletions: live.deletions, logs: live.logs, bus: live.bus },
    ...(options.deriveSandboxSecret ? { deriveSandboxSecret: options.deriveSandboxSecret } : {}),
  }
  recreate = createRecreate(deps)
  const handlers: Handlers = {
    ...createSandboxesService(deps),
    ...createWatchService({ store, clock, bus: live.bus, logs: live.logs, events: live.events }),
    ...createLogsService({ store, logs: live.logs }),
    ...createProvidersService({ store, clock, log, credentials: options.credentials ?? null }),
  }
  live.reconciler.start()
  const { state: _state, ...rest } = deps
  return assemble({ ...rest, driver, clock, live, handlers, lines: captured.lines, log })
}

interface Parts {
  readonly store: Store
  readonly driver: MemoryDriver
  readonly clock: FakeClock
  readonly live: Live
  readonly handlers: Handlers
  readonly lines: readonly CapturedLine[]
  readonly log: CallContext['log']
}

function assemble({ store, driver, clock, live, handlers, lines, log }: Parts): SandboxWorld {
  const world: SandboxWorld = {
    ...{ store, driver, clock, live, lines },
    async call(rpc, request, callOptions = {}) {
      const handler = handlers[rpc] as (request: unknown, context: CallContext) => Promise<unknown>
      const answer = await handler(shape(requestOf(rpc), request), context(log, callOptions))
      return shape(responseOf(rpc), answer) as never
    },
    refusal: (rpc, request, callOptions) =>
      world.call(rpc, request, callOptions).then(
        () => 'OK',
        error => told(error),
      ),
    async push(batches, callOptions = {}) {
      async function* requests() {
        for (const batch of batches) yield shape('openshell.v1.PushSandboxLogsRequest', batch)
      }
      return await handlers.PushSandboxLogs!(requests(), context(log, callOptions)).then(() => 'OK', told)
    },
    watch: (request, callOptions = {}) => openWatch(handlers, request, log, callOptions),
    async make(name, spec = {}) {
      const { sandbox } = await world.call('CreateSandbox', { name, spec })
      return sandbox!.metadata!.id
    },
    phase: name =>
      world.call('GetSandbox', { name }).then(
        ({ sandbox }) => sandbox!.phase,
        error => told(error),
      ),
    async close() {
      live.drain()
      await live.close()
      await store.close()
    },
  }
  return world
}

function openWatch(
  handlers: Handlers,
  request: Init<Rpcs['WatchSandbox']['request']>,
  log: CallContext['log'],
  options: CallOptions,
): WatchReader {
  const events: SandboxStreamEvent[] = []
  const abort = new AbortController()
  let gate: PromiseWithResolvers<void> | null = null
  let end = 'open'
  const out: Outbound<SandboxStreamEvent> = {
    open() {},
    async write(message) {
      await gate?.promise
      if (abort.signal.aborted) throw new GatewayError('CANCELLED', 'gone')
      events.push(shape('openshell.v1.SandboxStreamEvent', message))
    },
  }
  handlers.WatchSandbox!(
    shape('openshell.v1.WatchSandboxRequest', request),
    out,
    context(log, { ...options, signal: abort.signal }),
  ).then(
    () => {
      end = 'OK'
    },
    error => {
      end = told(error)
    },
  )
  return {
    events,
    end: () => end,
    pause() {
      gate ??= Promise.withResolvers()
    },
    resume() {
      gate?.resolve()
      gate = null
    },
    cancel: () => abort.abort(),
  }
}

/** Lets everything that is ready run; real time does not matter. */
export async function settle(turns = 20): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise(resolve => setImmediate(resolve))
}
