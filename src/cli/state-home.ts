import { accessSync, constants, mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { StartError } from '../base/errors.ts'
import { osErrorText } from '../base/os-error.ts'

/** Where programs of this account keep what outlives them (XDG base directories). */
const stateHome = (): string => process.env['XDG_STATE_HOME'] || join(homedir(), '.local/state')

/** The directory that `--state-dir` names, else one of that name below the state home; made when it is not there. Throws a `StartError`. */
export function stateDirectory(given: string | null, name: string): string {
  const path = resolve(given ?? join(stateHome(), 'openshell', name))
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 })
    accessSync(path, constants.W_OK)
  } catch (error) {
    throw new StartError(`nothing can be kept in ${path}: ${osErrorText(error)}; name another with --state-dir`, 1, {
      cause: error,
    })
  }
  return path
}
