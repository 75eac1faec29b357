import {
  type ComputeDriver,
  type ComputeWatchConsumer,
  type DriverCapabilities,
  DriverError,
} from '../../src/drivers/contract.ts'
import { codec, type Init } from '../../src/wire/codec.ts'
import type {
  ComputeDriverSandbox,
  ComputeDriverSandboxStatus,
  ComputeWatchSandboxesEvent,
} from '../../src/wire/messages.generated.ts'

const sandboxCodec = codec('openshell.compute.v1.DriverSandbox')
const eventCodec = codec('openshell.compute.v1.WatchSandboxesEvent')

export type DriverRpc = 'validate' | 'create' | 'get' | 'list' | 'delete'

/** A compute driver inside the test's process: it remembers, answers at once, and can be told to fail or to wait. */
export interface MemoryDriver extends ComputeDriver {
  capabilities: DriverCapabilities | null
  readonly sandboxes: Map<string, ComputeDriverSandbox>
  readonly calls: { rpc: DriverRpc; id: string }[]
  /** Runs before the answer of an RPC; what it throws is the answer. */
  readonly on: Map<DriverRpc, (id: string) => Promise<void> | void>
  /** Whether a create takes effect although it then fails. */
  makesBeforeFailing: boolean
  /** Sends a watch event, and waits until it was taken. */
  emit(event: Init<ComputeWatchSandboxesEvent>): Promise<void>
  /** Reports a status, and keeps it as the sandbox's own. */
  say(id: string, status: Init<ComputeDriverSandboxStatus> | null): Promise<void>
  /** The sandbox is gone, and the watch says so. */
  gone(id: string): Promise<void>
  /** Opens the watch, as the driver does when it becomes reachable. */
  open(): void
}

export const driverFault = (kind: DriverError['kind'], mayHaveHappened = true): DriverError =>
  new DriverError(kind, `driver says ${kind}`, mayHaveHappened)

export function createMemoryDriver(): MemoryDriver {
  const sandboxes = new Map<string, ComputeDriverSandbox>()
  const calls: MemoryDriver['calls'] = []
  const on: MemoryDriver['on'] = new Map()
  let consumer: ComputeWatchConsumer | null = null
  const note = async (rpc: DriverRpc, id: string) => {
    calls.push({ rpc, id })
    await on.get(rpc)?.(id)
  }
  const shape = (sandbox: Init<ComputeDriverSandbox>) => sandboxCodec.decode(sandboxCodec.encode(sandbox))
  const driver: MemoryDriver = {
    state: { status: 'ready' },
    capabilities: { driverName: 'memory', driverVersion: '1', defaultImage: 'base:1', supportsGpu: false },
    sandboxes,
    calls,
    on,
    makesBeforeFailing: false,
    validateSandboxCreate: sandbox => note('validate', sandbox.id ?? ''),
    async createSandbox(sandbox) {
      const made = shape(sandbox)
      if (driver.makesBeforeFailing) sandboxes.set(made.id, made)
      await note('create', made.id)
      sandboxes.set(made.id, made)
    },
    async getSandbox(id) {
      await note('get', id)
      return sandboxes.get(id) ?? null
    },
    async listSandboxes() {
      await note('list', '')
      return [...sandboxes.values()]
    },
    async deleteSandbox(id) {
      await note('delete', id)
      return sandboxes.delete(id)
    },
    watch(given) {
      consumer = given
      const close = () => {
        consumer = null
      }
      return { close }
    },
    async emit(event) {
      await consumer?.onEvent(eventCodec.decode(eventCodec.encode(event)))
    },
    async say(id, status) {
      const sandbox = shape({ id, name: sandboxes.get(id)?.name ?? '', status })
      sandboxes.set(id, sandbox)
      await driver.emit({ sandbox: { sandbox } })
    },
    async gone(id) {
      sandboxes.delete(id)
      await driver.emit({ deleted: { sandbox_id: id } })
    },
    open: () => consumer?.onOpened(),
    start: async () => {},
    close: async () => {},
  }
  return driver
}
