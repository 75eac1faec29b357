import { chmodSync, closeSync, constants, fstatSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { osErrorText } from '../base/os-error.ts'
import { writeWhole } from '../base/whole-file.ts'
import { LIMITS } from '../limits.ts'
import { ClientFailure } from './failure.ts'

const OWNER_ONLY = 0o600
const DIRECTORY = 0o700
const codeOf = (error: unknown): string => String((error as NodeJS.ErrnoException).code ?? '')

const broken = (path: string, doing: string, error: unknown): ClientFailure =>
  new ClientFailure('failed', `${path} cannot be ${doing}: ${osErrorText(error)}`, { cause: error })

/** Makes a directory that only its owner may enter, with those above it. One that is there stays as it is. Throws a `ClientFailure`. */
export function makePrivateFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: DIRECTORY })
  } catch (error) {
    throw broken(path, 'made', error)
  }
}

/** Writes a file of mode 0600 at once or not at all, into a directory that is there. Throws a `ClientFailure`. */
export function writePrivate(path: string, text: string): void {
  try {
    writeWhole(path, text, OWNER_ONLY)
  } catch (error) {
    throw broken(path, 'written', error)
  }
}

/** The same below a directory of ours, which becomes 0700 whatever it was (spec/client.md §4.3, §18 row 7). */
export function writePrivateInOwn(path: string, text: string): void {
  const folder = dirname(path)
  makePrivateFolder(folder)
  try {
    chmodSync(folder, DIRECTORY)
  } catch (error) {
    throw broken(folder, 'closed to others', error)
  }
  writePrivate(path, text)
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
