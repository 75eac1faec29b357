import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Clock, systemClock } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'
import { isAlive, processIdentity } from './process-identity.ts'

/** Variable that tells a sandbox's process where its driver says who it is. */
export const OWNER_VARIABLE = 'OPENSHELL_LOCAL_DRIVER_OWNER'

export const ownerFile = (stateDir: string): string => join(stateDir, 'owner')

interface Owner {
  readonly pid: number
  readonly identity: string
}

/** The process that owns a state directory and lives; null = nobody. */
export function livingOwner(file: string): Owner | null {
  try {
    const [pid, identity] = readFileSync(file, 'utf8').split('\n')
    return pid && identity && isAlive(Number(pid), identity) ? { pid: Number(pid), identity } : null
  } catch {
    return null
  }
}

/** Says that this process owns the directory now; false when another one that lives already does. */
export function claimOwnership(file: string): boolean {
  const owner = livingOwner(file)
  if (owner && owner.pid !== process.pid) return false
  writeFileSync(`${file}.${process.pid}`, `${process.pid}\n${processIdentity(process.pid)}\n`, { mode: 0o600 })
  renameSync(`${file}.${process.pid}`, file)
  return true
}

/**
 * Calls `onOrphaned` once when no living process owned the directory for `graceMs`. A driver that is killed and
 * restarted within that time takes its sandboxes over; one that never comes back leaves none behind.
 */
export function watchOwner(
  file: string,
  onOrphaned: () => void,
  { clock = systemClock, graceMs = LIMITS.localOrphanMs }: { clock?: Clock; graceMs?: number } = {},
): { close(): void } {
  let seenMs = clock.monotonicMs()
  let isClosed = false
  const look = () => {
    if (isClosed) return
    const nowMs = clock.monotonicMs()
    if (livingOwner(file)) seenMs = nowMs
    if (nowMs - seenMs >= graceMs) return onOrphaned()
    clock.after(Math.min(LIMITS.localPollMs, graceMs), look)
  }
  look()
  return {
    close: () => {
      isClosed = true
    },
  }
}
