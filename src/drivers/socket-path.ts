import { lstatSync, type Stats, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** Longest path that fits into `sun_path` with its NUL on Linux. */
const SUN_PATH_BYTES = 107

/** Why this text can never name a driver's socket; null = it can. A wrong flag, hence exit 2 (D-16). */
export function refuseSocketPath(path: string): string | null {
  if (path === '') return 'is empty'
  if (!path.startsWith('/')) return 'is not an absolute path'
  if (/[\u0000-\u001f\u007f]/.test(path)) return 'contains a control character'
  const bytes = Buffer.byteLength(path)
  if (bytes > SUN_PATH_BYTES) return `is ${bytes} bytes long, more than the ${SUN_PATH_BYTES} a Unix socket can have`
  return null
}

/** What stands at a driver's path. */
export type SocketFinding =
  | { readonly kind: 'absent' }
  /** Something that cannot become a driver by waiting (decision 15, D-16). */
  | { readonly kind: 'wrong'; readonly what: string }
  /** `identity` changes when the socket is made anew; `warnings` are doubtful permissions (D-17). */
  | { readonly kind: 'socket'; readonly identity: string; readonly warnings: readonly string[] }

type Facts = Pick<
  Stats,
  'isSocket' | 'isSymbolicLink' | 'isFile' | 'isFIFO' | 'isDirectory' | 'mode' | 'ino' | 'ctimeMs' | 'dev'
>

/** Judges what `lstat` said about the path and `stat` about its directory; pure. */
export function judgeSocket(facts: Facts | undefined, directory: Pick<Stats, 'mode'> | undefined): SocketFinding {
  if (!facts) return { kind: 'absent' }
  if (!facts.isSocket()) return { kind: 'wrong', what: describe(facts) }
  const warnings: string[] = []
  if (facts.mode & 0o002) warnings.push('the socket may be written by every user')
  if (directory && (directory.mode & 0o1002) === 0o002)
    warnings.push('its directory may be written by every user and has no sticky bit')
  return { kind: 'socket', identity: `${facts.dev}:${facts.ino}:${facts.ctimeMs}`, warnings }
}

/** Looks at the path without following a final symbolic link. */
export function inspectSocket(path: string): SocketFinding {
  try {
    return judgeSocket(lstatSync(path, { throwIfNoEntry: false }), statSync(dirname(path), { throwIfNoEntry: false }))
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOTDIR') return { kind: 'wrong', what: 'below something that is not a directory' }
    return { kind: 'absent' }
  }
}

function describe(facts: Facts): string {
  if (facts.isSymbolicLink()) return 'a symbolic link'
  if (facts.isFile()) return 'a plain file'
  if (facts.isDirectory()) return 'a directory'
  if (facts.isFIFO()) return 'a FIFO'
  return 'a device'
}
