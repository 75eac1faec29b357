import { dlopen, type FFIFunction, type Library } from 'bun:ffi'

/** File names of the C library: glibc first, then musl on the two processors we build for. */
const NAMES = ['libc.so.6', 'libc.musl-x86_64.so.1', 'libc.musl-aarch64.so.1']

/** Functions of the C library that the runtime has no other way to; null on a system without a known one. */
export function openLibc<Symbols extends Record<string, FFIFunction>>(
  symbols: Symbols,
): Library<Symbols>['symbols'] | null {
  for (const name of NAMES) {
    try {
      return dlopen(name, symbols).symbols
    } catch (error) {
      // The next name may be this system's; a loader that finds no file throws a plain error.
      if (!(error instanceof Error)) throw error
    }
  }
  return null
}

/** The same, opened at the first call and kept: what the runtime makes of a function of the library stays for good. */
export function lazyLibc<Symbols extends Record<string, FFIFunction>>(
  symbols: Symbols,
): () => Library<Symbols>['symbols'] | null {
  let opened: Library<Symbols>['symbols'] | null | undefined
  return () => {
    if (opened === undefined) opened = openLibc(symbols)
    return opened
  }
}
