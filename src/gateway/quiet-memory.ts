import { FFIType } from 'bun:ffi'
import { readFileSync, readlinkSync } from 'node:fs'
import { type Clock, systemClock, type Timer } from '../base/clock.ts'
import { lazyLibc } from '../base/libc.ts'
import { LIMITS } from '../limits.ts'

/** What the process uses, and the way to use less. */
export interface MemoryUse {
  /** CPU used so far, milliseconds. */
  cpuMs(): number
  /**
   * Resident memory without mapped files, in bytes: pages of the executable come and go by themselves. Null when it
   * cannot be told, as without a free descriptor (M13).
   */
  ownBytes(): number | null
  giveBack(): void
  /** How many times the usual calls it takes until a function is compiled; 1 is the usual. */
  setJitScale(scale: number): void
}

/** From the last busy moment until everything was given back that will be, and no sooner. */
export const SETTLE_MS = LIMITS.quietPauseMs + (LIMITS.quietLooks + 1) * LIMITS.quietLookMs + LIMITS.quietShrinkMs

/**
 * Keeps a quiet process small. The runtime compiles what was called thirty times, and keeps compiled code, freed pages
 * and the heap of its busiest moment for good, and a container is billed for them. So a process compiles only while it
 * is busy, and once it has been quiet for a while, and has grown since the last time, `giveBack` is called: never
 * under load, and at most twice a minute.
 */
export function watchQuietMemory(clock: Clock, use: MemoryUse): Timer {
  let floorBytes = 0
  let givenBackMs = Number.NEGATIVE_INFINITY
  /** Processor time at the last looks, oldest first. */
  const past = new Array<number>(LIMITS.quietLooks).fill(use.cpuMs())
  let timer: Timer
  const look = () => {
    const cpuMs = use.cpuMs()
    const isQuiet = cpuMs - past.shift()! < LIMITS.quietLooks * LIMITS.quietLookMs * LIMITS.quietCpuShare
    past.push(cpuMs)
    use.setJitScale(isQuiet ? LIMITS.quietJitScale : 1)
    const ownBytes = use.ownBytes() ?? floorBytes
    floorBytes = Math.min(floorBytes, ownBytes)
    const hasGrown = ownBytes - floorBytes >= LIMITS.quietGrowthBytes
    const mayAgain = clock.monotonicMs() - givenBackMs >= LIMITS.quietPauseMs
    if (hasGrown && isQuiet && mayAgain) {
      use.giveBack()
      givenBackMs = clock.monotonicMs()
      // Known again at the next look.
      floorBytes = Number.POSITIVE_INFINITY
    }
    timer = clock.after(LIMITS.quietLookMs, look)
  }
  use.setJitScale(LIMITS.quietJitScale)
  timer = clock.after(LIMITS.quietLookMs, look)
  return {
    cancel() {
      timer.cancel()
      use.setJitScale(1)
    },
  }
}

const MADV_DONTNEED = 4

/** This process. */
export const processMemory: MemoryUse = {
  cpuMs: () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1000
  },
  ownBytes: () => unlessStarved(readOwnBytes),
  giveBack() {
    // Collects, drops compiled code and returns free pages, as soon as the event loop has nothing to do.
    Bun.shrink()
    systemClock.after(LIMITS.quietShrinkMs, () => unlessStarved(unmapOwnCode))
  },
  setJitScale: scale => Bun.unsafe.setJITPolicy(scale),
}

/** What `work` gives; null when the system refuses it, as without a free descriptor: there is a next time. */
function unlessStarved<T>(work: () => T): T | null {
  try {
    return work()
  } catch (error) {
    if (error instanceof Error && 'code' in error) return null
    throw error
  }
}

function readOwnBytes(): number {
  if (process.platform !== 'linux') return process.memoryUsage.rss()
  return Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024
}

const libc = lazyLibc({ madvise: { args: [FFIType.u64, FFIType.u64, FFIType.i32], returns: FFIType.i32 } })

/**
 * Unmaps the machine code and the constants of the executable: half of them served only the start. What is still
 * needed comes back from the page cache by itself. Only what was never written to: it would come back as it was.
 */
function unmapOwnCode(): void {
  if (process.platform !== 'linux') return
  const executable = readlinkSync('/proc/self/exe')
  for (const mapping of readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-)/m)) {
    const [range = '', mode = '', , , , file] = mapping.slice(0, mapping.indexOf('\n')).split(/\s+/)
    if (file !== executable || mode.includes('w') || !/^Anonymous:\s+0 kB$/m.test(mapping)) continue
    const [from, to] = range.split('-').map(address => BigInt(`0x${address}`))
    libc()?.madvise(from!, to! - from!, MADV_DONTNEED)
  }
}
