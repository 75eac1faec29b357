import { randomBytes } from 'node:crypto'
import { closeSync, constants, fchmodSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/**
 * Writes a file whole or not at all: every byte into a new one beside it, flushed, then renamed over it. A reader sees
 * the old file or the new one, a planted link is replaced and not followed, and a full disk costs nothing that was there.
 */
export function writeWhole(path: string, text: string, mode: number): void {
  const draft = `${path}.${randomBytes(8).toString('hex')}.tmp`
  try {
    const fd = openSync(draft, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600)
    try {
      // writeSync may stop half-way on a disk that is nearly full, and says so only by a number.
      writeFileSync(fd, text)
      fchmodSync(fd, mode)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    renameSync(draft, path)
  } catch (error) {
    rmSync(draft, { force: true })
    throw error
  }
  flushFolder(dirname(path))
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
