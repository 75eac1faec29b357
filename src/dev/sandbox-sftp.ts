import { constants, type Dir, type Stats } from 'node:fs'
import {
  chmod,
  type FileHandle,
  lstat,
  mkdir,
  open,
  opendir,
  readlink,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
  symlink,
  truncate,
  utimes,
} from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { type Attributes, type SFTPWrapper, utils } from 'ssh2'
import { LIMITS } from '../limits.ts'

const { OPEN_MODE, STATUS_CODE } = utils.sftp

type Opened =
  | { readonly file: FileHandle; readonly append: boolean }
  | { readonly dir: Dir; readonly path: string; isDone: boolean }

/** What one request needs; `id` names it in the answer. */
interface Sftp extends SFTPWrapper {
  /** Private to ssh2, which has no way to report an exit status on an SFTP channel. */
  readonly _protocol: { exitStatus(channel: number, code: number): void }
  readonly outgoing: { readonly id: number }
  on(event: string, listener: (id: number, ...rest: never[]) => void): this
}

const CODES: Readonly<Record<string, number>> = {
  ENOENT: STATUS_CODE.NO_SUCH_FILE,
  ENOTDIR: STATUS_CODE.NO_SUCH_FILE,
  EACCES: STATUS_CODE.PERMISSION_DENIED,
  EPERM: STATUS_CODE.PERMISSION_DENIED,
}

/** Permission bits of files and directories that say nothing themselves. */
const FILE_MODE = 0o666
const DIRECTORY_MODE = 0o777
/** One READ is answered with at most this. */
const READ_BYTES = 262_144

/**
 * Serves SFTP version 3 on a channel (OpenSSH's scp and sftp): relative names start in `dir`. It reaches whatever
 * the process may: a local sandbox does not isolate.
 */
export function serveSftp(channel: SFTPWrapper, dir: string): void {
  const sftp = channel as Sftp
  const handles = new Map<number, Opened>()
  let nextHandle = 0

  const pathOf = (name: string): string => resolve(dir, name)
  const fail = (id: number, error: unknown) => {
    const code = CODES[(error as NodeJS.ErrnoException).code ?? ''] ?? STATUS_CODE.FAILURE
    sftp.status(id, code, (error as Error).message)
  }
  let last: Promise<unknown> = Promise.resolve()
  /**
   * Answers a request with what `work` does; an error becomes its status. One at a time, in order: OpenSSH cuts a file
   * it uploads at the first write that was answered out of turn.
   */
  const on = <A extends unknown[]>(event: string, work: (id: number, ...rest: A) => Promise<unknown>) =>
    sftp.on(event, (id: number, ...rest: never[]) => {
      last = last.then(() => work(id, ...(rest as unknown as A))).catch(error => fail(id, error))
    })
  const ok = (id: number) => sftp.status(id, STATUS_CODE.OK)

  const keep = (id: number, opened: Opened) => {
    const key = nextHandle++
    handles.set(key, opened)
    const handle = Buffer.alloc(4)
    handle.writeUInt32BE(key)
    sftp.handle(id, handle)
  }
  const checkRoom = () => {
    if (handles.size >= LIMITS.sftpHandles) throw new Error('too many open files')
  }
  const find = (handle: Buffer): Opened => {
    const opened = handle.length === 4 ? handles.get(handle.readUInt32BE()) : undefined
    if (!opened) throw new Error('no such handle')
    return opened
  }
  const findFile = (handle: Buffer) => {
    const opened = find(handle)
    if (!('file' in opened)) throw new Error('not a file')
    return opened
  }

  on('OPEN', async (id, name: string, flags: number, attributes: Attributes) => {
    checkRoom()
    const file = await open(
      pathOf(name),
      openFlags(flags),
      attributes.mode === undefined ? FILE_MODE : attributes.mode & 0o7777,
    )
    keep(id, { file, append: (flags & OPEN_MODE.APPEND) !== 0 })
  })
  on('READ', async (id, handle: Buffer, offset: number, length: number) => {
    const buffer = Buffer.allocUnsafe(Math.min(length, READ_BYTES))
    const { bytesRead } = await findFile(handle).file.read(buffer, 0, buffer.length, offset)
    if (bytesRead === 0) sftp.status(id, STATUS_CODE.EOF)
    else sftp.data(id, buffer.subarray(0, bytesRead))
  })
  on('WRITE', async (id, handle: Buffer, offset: number, data: Buffer) => {
    const { file, append } = findFile(handle)
    for (let at = 0; at < data.length; )
      at += (await file.write(data, at, data.length - at, append ? null : offset + at)).bytesWritten
    ok(id)
  })
  on('CLOSE', async (id, handle: Buffer) => {
    const opened = find(handle)
    handles.delete(handle.readUInt32BE())
    await ('file' in opened ? opened.file.close() : opened.dir.close())
    ok(id)
  })
  on('FSTAT', async (id, handle: Buffer) => sftp.attrs(id, attributesOf(await findFile(handle).file.stat())))
  on('STAT', async (id, name: string) => sftp.attrs(id, attributesOf(await stat(pathOf(name)))))
  on('LSTAT', async (id, name: string) => sftp.attrs(id, attributesOf(await lstat(pathOf(name)))))
  on('SETSTAT', async (id, name: string, wanted: Attributes) => {
    const path = pathOf(name)
    if (wanted.size !== undefined) await truncate(path, wanted.size)
    if (wanted.mode !== undefined) await chmod(path, wanted.mode & 0o7777)
    if (wanted.mtime !== undefined) await utimes(path, wanted.atime ?? wanted.mtime, wanted.mtime)
    ok(id)
  })
  on('FSETSTAT', async (id, handle: Buffer, wanted: Attributes) => {
    const { file } = findFile(handle)
    if (wanted.size !== undefined) await file.truncate(wanted.size)
    if (wanted.mode !== undefined) await file.chmod(wanted.mode & 0o7777)
    if (wanted.mtime !== undefined) await file.utimes(wanted.atime ?? wanted.mtime, wanted.mtime)
    ok(id)
  })
  on('OPENDIR', async (id, name: string) => {
    checkRoom()
    const path = pathOf(name)
    keep(id, { dir: await opendir(path), path, isDone: false })
  })
  on('READDIR', async (id, handle: Buffer) => {
    const opened = find(handle)
    if (!('dir' in opened)) throw new Error('not a directory')
    const names = await readNames(opened)
    if (names.length === 0) sftp.status(id, STATUS_CODE.EOF)
    else sftp.name(id, names)
  })
  on('REALPATH', async (id, name: string) => {
    const path = await realpath(pathOf(name)).catch(() => pathOf(name))
    sftp.name(id, [{ filename: path, longname: path, attrs: {} as Attributes }])
  })
  on('READLINK', async (id, name: string) => {
    const target = await readlink(pathOf(name))
    sftp.name(id, [{ filename: target, longname: target, attrs: {} as Attributes }])
  })
  on('REMOVE', async (id, name: string) => {
    await rm(pathOf(name))
    ok(id)
  })
  on('MKDIR', async (id, name: string, attributes: Attributes) => {
    await mkdir(pathOf(name), attributes.mode === undefined ? DIRECTORY_MODE : attributes.mode & 0o7777)
    ok(id)
  })
  on('RMDIR', async (id, name: string) => {
    await rmdir(pathOf(name))
    ok(id)
  })
  on('RENAME', async (id, from: string, to: string) => {
    if (await lstat(pathOf(to)).catch(() => null)) throw new Error('target exists')
    await rename(pathOf(from), pathOf(to))
    ok(id)
  })
  // ssh2 knows that OpenSSH has them the other way round than the draft.
  on('SYMLINK', async (id, link: string, target: string) => {
    await symlink(target, pathOf(link))
    ok(id)
  })
  sftp.on('EXTENDED', id => sftp.status(id, STATUS_CODE.OP_UNSUPPORTED))

  // The client is done and waits for the channel to close; without an exit status it would report a failure.
  channel.once('end', () => {
    sftp._protocol.exitStatus(sftp.outgoing.id, 0)
    channel.end()
  })
  channel.once('close', () => {
    for (const opened of handles.values()) void ('file' in opened ? opened.file : opened.dir).close().catch(() => {})
    handles.clear()
  })
}

/** SFTP's open flags as the system's. */
function openFlags(flags: number): number {
  const has = (bit: number) => (flags & bit) !== 0
  const access = has(OPEN_MODE.WRITE)
    ? has(OPEN_MODE.READ)
      ? constants.O_RDWR
      : constants.O_WRONLY
    : constants.O_RDONLY
  return (
    access |
    (has(OPEN_MODE.CREAT) ? constants.O_CREAT : 0) |
    (has(OPEN_MODE.TRUNC) ? constants.O_TRUNC : 0) |
    (has(OPEN_MODE.EXCL) ? constants.O_EXCL : 0) |
    (has(OPEN_MODE.APPEND) ? constants.O_APPEND : 0)
  )
}

const attributesOf = (stats: Stats): Attributes => ({
  mode: stats.mode,
  uid: stats.uid,
  gid: stats.gid,
  size: stats.size,
  atime: Math.floor(stats.atimeMs / 1000),
  mtime: Math.floor(stats.mtimeMs / 1000),
})

const NAMES_AT_ONCE = 100

/** The next names of a directory; none = it is read to its end. */
async function readNames(opened: { dir: Dir; path: string; isDone: boolean }) {
  const names: { filename: string; longname: string; attrs: Attributes }[] = []
  while (!opened.isDone && names.length < NAMES_AT_ONCE) {
    const entry = await opened.dir.read()
    if (entry === null) opened.isDone = true
    else {
      const stats = await lstat(join(opened.path, entry.name)).catch(() => null)
      if (stats) names.push({ filename: entry.name, longname: longName(entry.name, stats), attrs: attributesOf(stats) })
    }
  }
  return names
}

/** A line as `ls -l` prints it, for clients that show it. */
function longName(name: string, stats: Stats): string {
  const type = stats.isDirectory() ? 'd' : stats.isSymbolicLink() ? 'l' : '-'
  const bits = [6, 3, 0]
    .map(shift => ['r', 'w', 'x'].map((c, i) => ((stats.mode >> shift) & (4 >> i) ? c : '-')).join(''))
    .join('')
  const when = new Date(stats.mtimeMs).toISOString().slice(0, 16).replace('T', ' ')
  return `${type}${bits} ${stats.nlink} ${stats.uid} ${stats.gid} ${stats.size} ${when} ${basename(name)}`
}
