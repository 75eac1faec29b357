import { FFIType, ptr } from 'bun:ffi'
import { closeSync } from 'node:fs'
import { lazyLibc } from '../base/libc.ts'

const O_CLOEXEC = 0o2000000
const O_ASYNC = 0o20000
const F_SETFL = 4
const F_SETOWN = 8
const F_SETSIG = 10
const SIGTERM = 15

/** Ends a child of a gateway that cannot end it any more. */
export interface Lifeline {
  /** What the child inherits. */
  readonly descriptor: number
  /** From now on the process gets SIGTERM when the gateway is gone, however that came. */
  guard(pid: number): void
  close(): void
}

const openLibc = lazyLibc({
  pipe2: { args: [FFIType.ptr, FFIType.i32], returns: FFIType.i32 },
  fcntl: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
})

/**
 * A pipe whose writing end only the gateway holds. The child inherits the other one, which tells the kernel to signal
 * the child when the pipe changes, and nobody ever writes: a gateway that is killed takes its drivers along, whatever
 * they are and without a word to them (decision 6). Null where the kernel has no such thing.
 */
export function createLifeline(): Lifeline | null {
  if (process.platform !== 'linux') return null
  const libc = openLibc()
  const ends = new Int32Array(2)
  if (libc?.pipe2(ptr(ends), O_CLOEXEC) !== 0) return null
  const [reading, writing] = ends as unknown as [number, number]
  const { fcntl } = libc
  return {
    descriptor: reading,
    guard(pid) {
      fcntl(reading, F_SETOWN, pid)
      fcntl(reading, F_SETSIG, SIGTERM)
      fcntl(reading, F_SETFL, O_ASYNC)
    },
    close() {
      closeSync(reading)
      closeSync(writing)
    },
  }
}
