import { FFIType } from 'bun:ffi'
import { openLibc } from '../base/libc.ts'

const PR_SET_DUMPABLE = 4

/**
 * From now on no other process of the same user reads memory or environment of this one, both full of secrets, or
 * attaches to it, and a crash leaves no core (P-08). What it starts is not concerned. Linux only.
 */
export function hideMemory(): void {
  if (process.platform !== 'linux') return
  openLibc({ prctl: { args: [FFIType.i32, FFIType.u64], returns: FFIType.i32 } })?.prctl(PR_SET_DUMPABLE, 0n)
}
