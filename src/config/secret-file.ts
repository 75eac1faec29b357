import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { isOpenToOthers } from '../base/file-mode.ts'
import { osErrorText } from '../base/os-error.ts'
import { LIMITS } from '../limits.ts'

export type SecretFile =
  | { readonly ok: true; readonly secret: string; readonly warnings: readonly string[] }
  | { readonly ok: false; readonly reason: string }

/** Reads up to `bytes` from the beginning of an open file. */
function readUpTo(fd: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes)
  let filled = 0
  while (filled < bytes) {
    const read = readSync(fd, buffer, filled, bytes - filled, null)
    if (read === 0) break
    filled += read
  }
  return buffer.subarray(0, filled)
}

/**
 * The secret in a file, without the line break at its end. Only a regular file is opened to the end, and only a small
 * one; one that others may read is used with a warning. The reasons never hold any content.
 */
export function readSecretFile(path: string): SecretFile {
  let fd: number | null = null
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const facts = fstatSync(fd)
    if (!facts.isFile()) return { ok: false, reason: 'is not a regular file' }
    const bytes = readUpTo(fd, LIMITS.secretFileBytes + 1)
    if (bytes.length > LIMITS.secretFileBytes)
      return { ok: false, reason: `is larger than ${LIMITS.secretFileBytes} bytes` }
    const secret = new TextDecoder('utf-8', { fatal: true }).decode(bytes).replace(/\r?\n$/, '')
    const warnings = isOpenToOthers(facts) ? [`${path} can be read by other users; its mode should be 0600`] : []
    return { ok: true, secret, warnings }
  } catch (error) {
    if (error instanceof TypeError) return { ok: false, reason: 'is not UTF-8 text' }
    return { ok: false, reason: `cannot be read: ${osErrorText(error)}` }
  } finally {
    if (fd !== null) closeSync(fd)
  }
}
