import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { osErrorText } from '../base/os-error.ts'
import { LIMITS } from '../limits.ts'
import { ClientFailure } from './failure.ts'

const OWNER_ONLY = 0o600
const DIRECTORY = 0o700
const codeOf = (error: unknown): string => String((error as NodeJS.ErrnoException).code ?? '')

const broken = (path: string, doing: string, error: unknown): ClientFailure =>
  new ClientFailure('failed', `${path} cannot be ${doing}: ${osErrorText(error)}`, { cause: error })

/**
 * Writes a file at once or not at all: a new file of mode 0600 beside it, flushed, then renamed over it. The directory
 * it stands in becomes 0700 (spec/client.md §4.3, §18 row 7). Throws a `ClientFailure`.
 */
export function writePrivate(path: string, text: string): void {
  const folder = dirname(path)
  const draft = `${path}.${randomBytes(8).toString('hex')}.tmp`
  try {
    mkdirSync(folder, { recursive: true, mode: DIRECTORY })
    chmodSync(folder, DIRECTORY)
    const fd = openSync(draft, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, OWNER_ONLY)
    try {
      writeSync(fd, text)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    renameSync(draft, path)
    flushFolder(folder)
  } catch (error) {
    rmSync(draft, { force: true })
    throw broken(path, 'written', error)
  }
}

/** Without this a rename may be lost by a power cut. Not every file system can do it. */
function flushFolder(folder: string): void {
  try {
    const fd = openSync(folder, constants.O_RDONLY)
    try {
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
  } catch {
    // The file itself is there; only its place after a power cut is not certain.
  }
}

/** The text of a small regular file; null when there is none. Throws a `ClientFailure` when it cannot be read. */
export function readSmall(path: string): string | null {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return null
    throw broken(path, 'read', error)
  }
  try {
    const facts = fstatSync(fd)
    if (!facts.isFile()) throw new ClientFailure('failed', `${path} is not a regular file`)
    if (facts.size > LIMITS.registryFileBytes)
      throw new ClientFailure('failed', `${path} is larger than ${LIMITS.registryFileBytes} bytes`)
    return readFileSync(fd, 'utf8')
  } finally {
    closeSync(fd)
  }
}

/** Removes a file, or a directory with all that is in it; nothing there is fine. Throws a `ClientFailure`. */
export function removePath(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true })
  } catch (error) {
    throw broken(path, 'removed', error)
  }
}
