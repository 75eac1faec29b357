import type { Clock, Timer } from '../base/clock.ts'
import { errorText } from '../base/errors.ts'
import type { ComputeDriver } from '../drivers/contract.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import type { Store } from '../store/store.ts'
import { SandboxPhase } from '../wire/messages.generated.ts'
import { outlineSandbox } from '../wire/sandbox-bytes.ts'
import { isListed } from './driver-look.ts'
import type { SandboxState } from './sandbox-state.ts'

/**
 * Follows sandboxes that are being deleted until they are gone, with back-off: a delete that failed is asked again, one
 * that was accepted is watched for, since a driver may never report its end (W12). It goes by the records in phase
 * DELETING, so it survives a restart.
 */
export interface Deletions {
  /** `asked`: the driver accepted the delete already. Following an id twice is following it once. */
  follow(id: string, name: string, asked: boolean): void
  readonly size: number
  close(): void
}

export interface DeletionsDeps {
  readonly driver: ComputeDriver
  readonly store: Store
  readonly state: SandboxState
  readonly clock: Clock
  readonly log: Logger
}

interface Pending {
  readonly name: string
  asked: boolean
  waitMs: number
  dueMs: number
}

/** Looks after which an accepted delete is asked for again. */
const ASK_AGAIN_EVERY = 5

export function createDeletions(deps: DeletionsDeps): Deletions {
  const { driver, clock, state } = deps
  const pending = new Map<string, Pending>()
  const looks = new Map<string, number>()
  let timer: Timer | null = null
  let running = false
  let closed = false

  const isWanted = async (id: string): Promise<boolean> => {
    const row = await deps.store.get('sandbox', id)
    return row !== null && outlineSandbox(row.payload).phase === SandboxPhase.SANDBOX_PHASE_DELETING
  }

  const finish = (id: string) => {
    pending.delete(id)
    looks.delete(id)
  }

  /** Whether the sandbox is gone from the driver. */
  const isGone = async (id: string, { name, asked }: Pending): Promise<boolean> => {
    const look = (looks.get(id) ?? 0) + 1
    looks.set(id, look)
    if (!asked || look % ASK_AGAIN_EVERY === 0) {
      const accepted = await driver.deleteSandbox(id, name).catch(() => null)
      if (accepted === false) return true
      if (accepted === true) {
        const item = pending.get(id)
        if (item) item.asked = true
        return false
      }
    }
    return (await isListed(driver, id, name)) === false
  }

  const step = async (id: string, item: Pending) => {
    if (!(await isWanted(id))) return finish(id)
    if (await isGone(id, item)) {
      await state.remove(id, 'removed')
      deps.log.info('sandbox gone from the driver, record removed', { sandbox: id, sandbox_name: item.name })
      return finish(id)
    }
    item.waitMs = Math.min(item.waitMs * 2, LIMITS.deletePollMostMs)
    item.dueMs = clock.monotonicMs() + item.waitMs
  }

  const round = async () => {
    running = true
    const due = [...pending].filter(([, { dueMs }]) => dueMs <= clock.monotonicMs())
    const worker = async () => {
      for (let next = due.shift(); next && !closed; next = due.shift()) {
        const [id, item] = next
        try {
          await step(id, item)
        } catch (error) {
          item.dueMs = clock.monotonicMs() + LIMITS.deletePollMostMs
          deps.log.warn('deletion not followed, trying again', { sandbox: id, cause: errorText(error) })
        }
      }
    }
    await Promise.all(Array.from({ length: LIMITS.deletesInFlight }, worker))
    running = false
    schedule()
  }

  const schedule = () => {
    timer?.cancel()
    timer = null
    if (closed || running || pending.size === 0) return
    const next = Math.min(...[...pending.values()].map(item => item.dueMs))
    timer = clock.after(Math.max(0, next - clock.monotonicMs()), () => void round())
  }

  return {
    follow(id, name, asked) {
      const known = pending.get(id)
      if (known) known.asked ||= asked
      else {
        const waitMs = LIMITS.deletePollFirstMs
        pending.set(id, { name, asked, waitMs, dueMs: clock.monotonicMs() + waitMs })
      }
      schedule()
    },
    get size() {
      return pending.size
    },
    close() {
      closed = true
      timer?.cancel()
    },
  }
}
