import type { Clock } from '../base/clock.ts'
import { errorText, GatewayError } from '../base/errors.ts'
import { parseSelector } from '../domain/labels.ts'
import { whenDeleting } from '../domain/phase.ts'
import type { ComputeDriver } from '../drivers/contract.ts'
import { LIMITS } from '../limits.ts'
import type { Creations } from '../live/creations.ts'
import type { Deletions } from '../live/deletions.ts'
import { isListed } from '../live/driver-look.ts'
import type { SandboxLogs } from '../live/sandbox-logs.ts'
import type { SandboxState } from '../live/sandbox-state.ts'
import type { WatchBus } from '../live/watch-bus.ts'
import type { Logger } from '../observe/log.ts'
import type { Handlers } from '../rpc/handlers.ts'
import type { Store, StoredObject } from '../store/store.ts'
import { emittedSandbox } from '../wire/sandbox-bytes.ts'
import { spliceField } from '../wire/splice.ts'
import { createSandboxCreate } from './create-sandbox.ts'
import { driverText, isMissing } from './driver-errors.ts'
import { gatherPage } from './pages.ts'
import { SANDBOX_TEXTS } from './sandbox-texts.ts'
import { storeError, storing } from './store-errors.ts'

export interface SandboxesDeps {
  readonly store: Store
  readonly driver: ComputeDriver
  readonly state: SandboxState
  readonly creations: Creations
  readonly deletions: Deletions
  readonly logs: SandboxLogs
  readonly bus: WatchBus
  readonly clock: Clock
  readonly log: Logger
  /** The secret handed to each new sandbox; absent = none is (decision 3). */
  readonly deriveSandboxSecret?: (sandboxId: string) => string
}

/** CreateSandbox, GetSandbox, ListSandboxes and DeleteSandbox (spec/sandbox.md §2, §4). */
export function createSandboxesService(deps: SandboxesDeps): Handlers {
  const { store } = deps
  const create = createSandboxCreate(deps)
  const remove = createSandboxDelete(deps)
  return {
    CreateSandbox: create,
    async GetSandbox({ name }) {
      const row = await fetchByName(store, name)
      return await storing('fetch sandbox', async () => spliceField(1, [emittedSandbox(row.payload)]))
    },
    async ListSandboxes(request, context) {
      const selector = parseSelector(request.label_selector)
      if (!selector.ok) throw new GatewayError('INVALID_ARGUMENT', selector.violation)
      const pairs = selector.pairs.size > 0 ? selector.pairs : undefined
      const what = request.label_selector === '' ? 'list sandboxes' : 'list sandboxes with selector'
      const page = await storing(what, () =>
        gatherPage(
          { limit: request.limit, offset: request.offset, mostBytes: LIMITS.pageBytes },
          slice => store.list('sandbox', slice, pairs),
          ({ payload }) => ({ bytes: payload.length, parts: emittedSandbox(payload) }),
        ),
      )
      // A page of damaged rows only must not look like the end of the list.
      if (page.damaged > 0 && page.items.length === 0) throw storeError('decode sandbox', page.firstFault)
      if (page.damaged > 0)
        context.log.warn('damaged sandbox records left out of a list', {
          count: page.damaged,
          cause: errorText(page.firstFault),
        })
      return spliceField(
        1,
        page.items.map(item => item.parts),
      )
    },
    async DeleteSandbox({ name }) {
      const row = await fetchByName(store, name)
      return { deleted: await remove(row) }
    },
  }
}

async function fetchByName(store: Store, name: string): Promise<StoredObject> {
  if (name === '') throw new GatewayError('INVALID_ARGUMENT', SANDBOX_TEXTS.nameRequired)
  const row = await storing('fetch sandbox', () => store.getByName('sandbox', name))
  if (!row) throw new GatewayError('NOT_FOUND', SANDBOX_TEXTS.sandboxNotFound)
  return row
}

/**
 * The delete of one sandbox (spec/sandbox.md §4). The record says DELETING before the driver is asked, so that a
 * delete which fails, or whose gateway dies, goes on by itself (W12); the client's going changes nothing. Answers
 * whether the driver had anything to delete.
 */
function createSandboxDelete(deps: SandboxesDeps): (row: StoredObject) => Promise<boolean> {
  const { driver, state, store, deletions, creations } = deps

  const mark = async (row: StoredObject): Promise<Uint8Array> => {
    if (driver.capabilities === null) throw new GatewayError('UNAVAILABLE', SANDBOX_TEXTS.computeDriverAway)
    const marked = await storing('persist sandbox', () => state.mutate(row.id, whenDeleting))
    if (!marked) throw new GatewayError('NOT_FOUND', SANDBOX_TEXTS.sandboxNotFound)
    return marked.row.payload
  }

  const ask = async ({ id, name }: StoredObject): Promise<boolean> => {
    try {
      return await driver.deleteSandbox(id, name)
    } catch (error) {
      // Some drivers answer an error for what is not there (spec/drivers.md §1).
      if (isMissing(error) && (await isListed(driver, id, name)) === false) return false
      deletions.follow(id, name, false)
      deps.log.warn('driver did not delete a sandbox, trying again', {
        sandbox: id,
        sandbox_name: name,
        cause: errorText(error),
      })
      throw new GatewayError('INTERNAL', `delete sandbox failed: ${driverText(error)}`, { cause: error })
    }
  }

  /** What a deleted sandbox needs no more goes at once; the record waits until the driver is done (W14). */
  const settle = async (row: StoredObject, deleted: boolean, isCreating: boolean, payload: Uint8Array) => {
    if (!deleted && !isCreating) return void (await state.remove(row.id, 'deleted'))
    await store.transaction(async tx => {
      await tx.deleteSshSessions(row.id)
      await tx.delete('sandbox_settings', `settings:${row.id}`)
    })
    state.closeStreams(row.id, payload)
    // A create that is under way cleans up after itself (W42).
    if (!isCreating) deletions.follow(row.id, row.name, true)
  }

  return async row => {
    const payload = await mark(row)
    const isCreating = creations.cancel(row.id)
    const deleted = await ask(row)
    await storing('delete sandbox', () => settle(row, deleted, isCreating, payload))
    deps.log.info('DeleteSandbox request completed successfully', { sandbox_name: row.name, deleted })
    return deleted
  }
}
