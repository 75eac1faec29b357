import { FFIType } from 'bun:ffi'
import {
  closeSync,
  constants,
  fstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
} from 'node:fs'
import { join } from 'node:path'
import { lazyLibc } from '../base/libc.ts'
import { DRIVER_SOCKET } from './process.ts'

const PREFIX = 'openshell-driver-'
/** Ends the name of a directory that is locked as long as its gateway lives. */
const LOCKED = '.locked'
const LOCK_EX_NB = 2 | 4

/** A private directory for the socket of a driver that the gateway starts. */
export interface SocketDirectory {
  readonly path: string
  /** Removes it with the socket. */
  close(): void
}

/**
 * Makes a directory below `parent`, and removes those that gateways of this user left there when they were killed. A
 * gateway holds a lock on its own while it lives; a process id would prove nothing, as the gateway may run in another
 * container. Where nothing can be locked nothing is left to removal either.
 */
export function makeSocketDirectory(parent: string): SocketDirectory {
  for (const name of readdirSync(parent))
    if (name.startsWith(PREFIX) && name.endsWith(LOCKED)) removeAbandoned(join(parent, name))
  const made = mkdtempSync(join(parent, PREFIX))
  const lock = lockOwn(made)
  const path = lock === null ? made : made + LOCKED
  // Under this name it is never without its lock, so that nobody who starts at the same moment takes it for abandoned.
  if (lock !== null) renameSync(made, path)
  return {
    path,
    close() {
      rmSync(path, { recursive: true, force: true })
      if (lock !== null) closeSync(lock)
    },
  }
}

/** Only what a gateway puts there is removed: whatever else is in it stays, and so does the directory. */
function removeAbandoned(path: string): void {
  try {
    const lock = lockOwn(path)
    if (lock === null) return
    try {
      rmSync(join(path, DRIVER_SOCKET), { force: true })
      rmdirSync(path)
    } finally {
      closeSync(lock)
    }
  } catch (error) {
    // A link (P-12), gone meanwhile, or not empty: none of our business.
    if (!(error instanceof Error && 'code' in error)) throw error
  }
}

const openLibc = lazyLibc({ flock: { args: [FFIType.i32, FFIType.i32], returns: FFIType.i32 } })

/** The descriptor that holds the lock of a directory of this user; null when it is another's or cannot be locked. */
function lockOwn(path: string): number | null {
  const libc = process.platform === 'linux' ? openLibc() : null
  if (!libc) return null
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  if (fstatSync(descriptor).uid === process.geteuid?.() && libc.flock(descriptor, LOCK_EX_NB) === 0) return descriptor
  closeSync(descriptor)
  return null
}
