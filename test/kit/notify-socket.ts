import { dlopen, FFIType, ptr } from 'bun:ffi'
import { unixAddress } from '../../src/observe/service-manager.ts'

const libc = dlopen('libc.so.6', {
  socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  bind: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  recv: { args: [FFIType.i32, FFIType.ptr, FFIType.u64, FFIType.i32], returns: FFIType.i64 },
  close: { args: [FFIType.i32], returns: FFIType.i32 },
}).symbols

const AF_UNIX = 1
const SOCK_DGRAM = 2
const MSG_DONTWAIT = 0x40

/** The receiving end of sd_notify: what a service manager binds and hands over as NOTIFY_SOCKET. */
export interface NotifySocket extends Disposable {
  /** Datagrams that came since the last call, in order. */
  receive(): string[]
}

/** Binds a datagram socket at a path or an abstract name (`@…`). */
export function bindNotifySocket(name: string): NotifySocket {
  const descriptor = libc.socket(AF_UNIX, SOCK_DGRAM, 0)
  const address = unixAddress(name)!
  if (libc.bind(descriptor, ptr(address), address.length) !== 0) throw new Error(`cannot bind ${name}`)
  const buffer = Buffer.alloc(4096)
  return {
    receive() {
      const received: string[] = []
      for (;;) {
        const length = Number(libc.recv(descriptor, ptr(buffer), BigInt(buffer.length), MSG_DONTWAIT))
        if (length < 0) return received
        received.push(buffer.toString('utf8', 0, length))
      }
    },
    [Symbol.dispose]: () => void libc.close(descriptor),
  }
}
