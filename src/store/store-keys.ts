import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import { errorText, StartError } from '../base/errors.ts'
import { isOpenToOthers } from '../base/file-mode.ts'
import { type CredentialSealer, createSealer, parseStoreKeys } from './sealing.ts'

/** Larger is no key file. */
const MOST_BYTES = 65_536

/**
 * The sealer of a key file (`--store-key-file`). Throws a `StartError` that names the file and never its content: it
 * must be a regular file that no others may read (spec/providers.md W5).
 */
export function readStoreKeys(path: string): CredentialSealer {
  const refuse = (why: string, cause?: unknown) => new StartError(`store key file '${path}': ${why}`, 1, { cause })
  let descriptor: number
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (cause) {
    throw refuse(errorText(cause), cause)
  }
  try {
    const file = fstatSync(descriptor)
    if (!file.isFile()) throw refuse('not a regular file')
    if (isOpenToOthers(file)) throw refuse('others than its owner may read it; use mode 0600')
    if (file.size > MOST_BYTES) throw refuse('too large')
    return createSealer(parseStoreKeys(readFileSync(descriptor, 'utf8')))
  } catch (error) {
    throw error instanceof StartError ? error : refuse(errorText(error), error)
  } finally {
    closeSync(descriptor)
  }
}
