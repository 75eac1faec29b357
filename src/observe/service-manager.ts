import { FFIType, type Library, ptr } from 'bun:ffi'
import { type Clock, systemClock, type Timer } from '../base/clock.ts'
import { openLibc } from '../base/libc.ts'
import { LIMITS } from '../limits.ts'

/** Sends one datagram to the service manager; false = it could not be sent. */
export type Notify = (state: string) => boolean

/** Tells the service manager (systemd) how the gateway is doing (sd_notify(3), platform.md §6). */
export interface ServiceManager {
  /** The gateway serves; from the first time on the watchdog is fed as long as the event loop turns. */
  ready(): void
  /** Files are being read again; `ready` ends it. */
  reloading(): void
  /** The gateway ends and may take this long; the watchdog is still fed. */
  stopping(withinMs: number): void
  /** Nothing is told any more. */
  close(): void
}

/** What the states are sent with; `watchdogMs` null = the manager watches nothing. */
export interface ServiceManagerParts {
  readonly notify: Notify
  readonly watchdogMs: number | null
  readonly clock: Clock
  /** CLOCK_MONOTONIC in microseconds, which a reload must carry. */
  readonly monotonicUs: () => bigint
}

/** The states of a gateway as the service manager is told them. The watchdog is fed at half its interval. */
export function createServiceManager({ notify, watchdogMs, clock, monotonicUs }: ServiceManagerParts): ServiceManager {
  let timer: Timer | null = null
  const feed = (everyMs: number) => {
    notify('WATCHDOG=1')
    timer = clock.after(everyMs, () => feed(everyMs))
  }
  return {
    ready() {
      notify('READY=1')
      if (timer === null && watchdogMs !== null) feed(watchdogMs / 2)
    },
    reloading: () => void notify(`RELOADING=1\nMONOTONIC_USEC=${monotonicUs()}`),
    stopping: withinMs => void notify(`STOPPING=1\nEXTEND_TIMEOUT_USEC=${Math.ceil(withinMs) * 1000}`),
    close() {
      timer?.cancel()
      timer = null
    },
  }
}

/**
 * The service manager that started this process, or null when none waits for word. Its variables are taken out of the
 * environment, so that a driver started later cannot speak in our name.
 */
export function connectServiceManager(
  environment: Record<string, string | undefined>,
  clock: Clock = systemClock,
): ServiceManager | null {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: watchdogUs, WATCHDOG_PID: watchdogPid } = environment
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID']) delete environment[name]
  if (!socket) return null
  const libc = openLibc(LIBC_SYMBOLS)
  const address = unixAddress(socket)
  if (libc === null || address === null) return null
  const isOurs = watchdogPid === undefined || watchdogPid === String(process.pid)
  return createServiceManager({
    notify: state => sendDatagram(libc, address, state),
    watchdogMs: isOurs ? parseWatchdogMs(watchdogUs) : null,
    clock,
    monotonicUs: () => monotonicUs(libc),
  })
}

/** Milliseconds of `WATCHDOG_USEC`; null for what is no positive number of microseconds. */
export function parseWatchdogMs(text: string | undefined): number | null {
  if (text === undefined || !/^[1-9]\d{0,15}$/.test(text)) return null
  return Math.max(Number(text) / 1000, LIMITS.watchdogLeastMs)
}

const AF_UNIX = 1
const SUN_PATH_BYTES = 108

/** `struct sockaddr_un` of Linux for a path or an abstract name (`@…`); null for anything else, such as `vsock:`. */
export function unixAddress(socket: string): Uint8Array | null {
  if (!/^[/@]./.test(socket)) return null
  const name = Buffer.from(socket)
  if (name.length >= SUN_PATH_BYTES) return null
  if (name[0] === 0x40) name[0] = 0
  const family = Buffer.from(new Uint16Array([AF_UNIX]).buffer)
  // A path ends with a zero byte; an abstract name is exactly as long as said.
  return Buffer.concat(name[0] === 0 ? [family, name] : [family, name, Buffer.alloc(1)])
}

const LIBC_SYMBOLS = {
  socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  setsockopt: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  sendto: {
    args: [FFIType.i32, FFIType.ptr, FFIType.u64, FFIType.i32, FFIType.ptr, FFIType.u32],
    returns: FFIType.i64,
  },
  close: { args: [FFIType.i32], returns: FFIType.i32 },
  clock_gettime: { args: [FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
} as const

type Libc = Library<typeof LIBC_SYMBOLS>['symbols']

const SOCK_DGRAM_CLOEXEC = 0o2000002
const SOL_SOCKET = 1
const SO_SNDTIMEO = 21
const MSG_NOSIGNAL = 0x4000

/** A manager that does not read may hold us up for one send timeout, never longer. */
function sendDatagram(libc: Libc, address: Uint8Array, state: string): boolean {
  const descriptor = libc.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0)
  if (descriptor < 0) return false
  try {
    const timeout = new BigInt64Array([0n, BigInt(LIMITS.notifySendMs) * 1000n])
    libc.setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, ptr(timeout), timeout.byteLength)
    const bytes = Buffer.from(state)
    const sent = libc.sendto(descriptor, ptr(bytes), BigInt(bytes.length), MSG_NOSIGNAL, ptr(address), address.length)
    return Number(sent) === bytes.length
  } finally {
    libc.close(descriptor)
  }
}

const CLOCK_MONOTONIC = 1

function monotonicUs(libc: Libc): bigint {
  const time = new BigInt64Array(2)
  libc.clock_gettime(CLOCK_MONOTONIC, ptr(time))
  return time[0]! * 1_000_000n + time[1]! / 1000n
}
