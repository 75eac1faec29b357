import type { Clock } from '../base/clock.ts'
import { errorText } from '../base/errors.ts'
import type { ComputeDriver } from '../drivers/contract.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import type { Store, StoredObject } from '../store/store.ts'
import { type ComputeDriverSandbox, SandboxPhase } from '../wire/messages.generated.ts'
import { outlineSandbox, type SandboxOutline } from '../wire/sandbox-bytes.ts'
import type { Deletions } from './deletions.ts'
import type { SandboxState } from './sandbox-state.ts'

/** What the last sweep found. */
export interface SweepCounts {
  /** Records whose sandbox the driver did not list. */
  readonly missing: number
  /** Sandboxes the driver listed although there is no record (W10). They are reported, never deleted. */
  readonly strangers: number
  /** Records that could not be read or checked. */
  readonly failed: number
}

export interface SweepDeps {
  readonly driver: ComputeDriver
  readonly store: Store
  readonly state: SandboxState
  readonly deletions: Deletions
  readonly clock: Clock
  readonly log: Logger
  readonly recreate: (id: string) => Promise<void>
}

export interface Sweep {
  /** One look through the driver's list and all records; never throws. */
  run(): Promise<void>
  readonly counts: SweepCounts
}

/** Since when, and in how many sweeps, a sandbox was missing. */
interface Absence {
  readonly sinceMs: number
  sweeps: number
}

/** Records looked at before other work gets its turn. */
const SLICE = 50
const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

export function createSweep(deps: SweepDeps): Sweep {
  const { driver, store, state, clock, log } = deps
  const startedMs = clock.nowMs()
  const absences = new Map<string, Absence>()
  let counts: SweepCounts = { missing: 0, strangers: 0, failed: 0 }
  /** Creates that were handed to the driver a second time. */
  const recreated = new Set<string>()

  /** The list is applied as it is; a get for each sandbox would only say the same again (W8). */
  const applyList = async (listed: ReadonlyMap<string, ComputeDriverSandbox>, sinceMs: number) => {
    let strangers = 0
    let failed = 0
    let done = 0
    for (const [id, sandbox] of listed) {
      if (++done % SLICE === 0) await turn()
      try {
        if ((await state.observe(id, sandbox.status, sinceMs)) === 'unknown') strangers++
      } catch (error) {
        failed++
        log.warn('sandbox not reconciled', { sandbox: id, cause: errorText(error) })
      }
    }
    return { strangers, failed }
  }

  /** Whether a record was written by a create that ended before the driver heard of it (S-11). */
  const neverReached = (row: StoredObject, { phase, status }: SandboxOutline): boolean =>
    phase === SandboxPhase.SANDBOX_PHASE_PROVISIONING &&
    !status &&
    row.createdAtMs < startedMs &&
    startedMs - row.createdAtMs < LIMITS.orphanGraceMs

  const isGivenUp = (row: StoredObject, absence: Absence): boolean =>
    absence.sweeps >= LIMITS.orphanSweeps &&
    clock.monotonicMs() - absence.sinceMs >= LIMITS.orphanGraceMs &&
    clock.nowMs() - row.createdAtMs >= LIMITS.orphanGraceMs

  const reach = async (row: StoredObject) => {
    if (await driver.getSandbox(row.id, row.name)) return
    log.warn('the driver does not know a sandbox that was being created, creating it again', {
      sandbox: row.id,
      sandbox_name: row.name,
    })
    await deps.recreate(row.id)
    recreated.add(row.id)
  }

  const missing = async (row: StoredObject, outline: SandboxOutline) => {
    const absence = absences.get(row.id) ?? { sinceMs: clock.monotonicMs(), sweeps: 0 }
    absence.sweeps++
    absences.set(row.id, absence)
    if (neverReached(row, outline) && !recreated.has(row.id)) return await reach(row)
    if (!isGivenUp(row, absence)) return
    const found = await driver.getSandbox(row.id, row.name)
    if (found?.id === row.id) return void (await state.observe(row.id, found.status))
    if (found) return
    await state.remove(row.id, 'removed')
    absences.delete(row.id)
    log.warn('sandbox missing at the driver for too long, record removed', { sandbox: row.id, sandbox_name: row.name })
  }

  const look = async (row: StoredObject, isListed: boolean): Promise<boolean> => {
    const outline = outlineSandbox(row.payload)
    if (outline.phase === SandboxPhase.SANDBOX_PHASE_DELETING) deps.deletions.follow(row.id, row.name, false)
    if (isListed || outline.phase === SandboxPhase.SANDBOX_PHASE_DELETING) {
      absences.delete(row.id)
      return false
    }
    await missing(row, outline)
    return true
  }

  /** Every record, page by page (W9); what goes wrong with one does not keep the others from their turn (W7). */
  const lookAtRecords = async (listed: ReadonlyMap<string, unknown>) => {
    const seen = new Set<string>()
    let absent = 0
    let failed = 0
    let done = 0
    for await (const row of store.scan('sandbox')) {
      if (++done % SLICE === 0) await turn()
      seen.add(row.id)
      try {
        if (await look(row, listed.has(row.id))) absent++
      } catch (error) {
        failed++
        log.warn('sandbox not reconciled', { sandbox: row.id, cause: errorText(error) })
      }
    }
    for (const id of absences.keys()) if (!seen.has(id)) absences.delete(id)
    return { absent, failed }
  }

  return {
    async run() {
      const sinceMs = clock.nowMs()
      try {
        const answer = await driver.listSandboxes()
        const listed = new Map(answer.filter(sandbox => sandbox.id !== '').map(sandbox => [sandbox.id, sandbox]))
        const applied = await applyList(listed, sinceMs)
        const looked = await lookAtRecords(listed)
        const strangers = applied.strangers + answer.length - listed.size
        if (strangers > 0 && strangers !== counts.strangers)
          log.warn('the driver has sandboxes that no record names', { count: strangers })
        counts = { missing: looked.absent, strangers, failed: applied.failed + looked.failed }
      } catch (error) {
        log.warn('reconciliation put off', { cause: errorText(error) })
      }
    },
    get counts() {
      return counts
    },
  }
}
