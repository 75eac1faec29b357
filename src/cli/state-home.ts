import { homedir } from 'node:os'
import { join } from 'node:path'

/** Where programs of this account keep what outlives them (XDG base directories). */
export const stateHome = (): string => process.env['XDG_STATE_HOME'] || join(homedir(), '.local/state')
