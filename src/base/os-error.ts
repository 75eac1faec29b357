import { constants } from 'node:os'

/** The operating system's sentence for errors a start can fail with. */
const SENTENCES: Readonly<Record<string, string>> = {
  EACCES: 'Permission denied',
  EADDRINUSE: 'Address already in use',
  EADDRNOTAVAIL: 'Cannot assign requested address',
  EDQUOT: 'Disk quota exceeded',
  EFBIG: 'File too large',
  EISDIR: 'Is a directory',
  ELOOP: 'Too many levels of symbolic links',
  EMFILE: 'Too many open files',
  ENAMETOOLONG: 'File name too long',
  ENOENT: 'No such file or directory',
  ENOSPC: 'No space left on device',
  ENOTDIR: 'Not a directory',
  EPERM: 'Operation not permitted',
  EROFS: 'Read-only file system',
}

/** `No such file or directory (os error 2)`: the wording existing tools and their users know (spec/gateway.md §5). */
export function osErrorText(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const sentence = SENTENCES[code]
  const number = (constants.errno as Record<string, number | undefined>)[code]
  if (sentence === undefined || number === undefined) return error instanceof Error ? error.message : String(error)
  return `${sentence} (os error ${number})`
}
