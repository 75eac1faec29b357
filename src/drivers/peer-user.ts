import { FFIType, ptr } from 'bun:ffi'
import type { Socket } from 'node:net'
import { lazyLibc } from '../base/libc.ts'

const SOL_SOCKET = 1
const SO_PEERCRED = 17

const openLibc = lazyLibc({
  getsockopt: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
})

/**
 * The user that made the listening socket behind a connection, as the kernel noted it: no swap of the path can change it
 * (D-15, D-18). Null where the kernel does not tell.
 */
export function peerUid(socket: Socket): number | null {
  if (process.platform !== 'linux') return null
  const descriptor = (socket as { _handle?: { fd?: number } | null })._handle?.fd
  const libc = openLibc()
  if (!libc || descriptor === undefined || descriptor < 0) return null
  // struct ucred: pid, uid, gid.
  const credentials = new Uint32Array(3)
  const length = new Uint32Array([credentials.byteLength])
  const failed = libc.getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, ptr(credentials), ptr(length))
  return failed === 0 && length[0] === credentials.byteLength ? credentials[1]! : null
}

/** Why a peer is not let in; null = it is one of the users, or none are named. */
export function refusePeer(uid: number | null, users: readonly number[]): string | null {
  if (users.length === 0 || (uid !== null && users.includes(uid))) return null
  const found = uid === null ? 'the user behind it is not known' : `it belongs to user ${uid}`
  return `${found}, --driver-uids allows ${users.join(', ')}`
}
