import { FFIType } from 'bun:ffi'
import { readFileSync, readlinkSync } from 'node:fs'
import { type Clock, systemClock, type Timer } from '../base/clock.ts'
import { openLibc } from '../base/libc.ts'
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
}

/**
 * Gives memory back that a burst of work left behind. The runtime keeps freed pages, compiled code and the heap of
 * its busiest moment for good, and a container is billed for them. Once nothing much happens, and the process has
 * grown since the last time, `giveBack` is called: never under load, and at most twice a minute.
 */
export function watchQuietMemory(clock: Clock, use: MemoryUse): Timer {
  let floorBytes = 0
  let givenBackMs = Number.NEGATIVE_INFINITY
  let cpuMs = use.cpuMs()
  let timer: Timer
  const look = () => {
    const usedMs = use.cpuMs() - cpuMs
    cpuMs += usedMs
    const ownBytes = use.ownBytes() ?? floorBytes
    floorBytes = Math.min(floorBytes, ownBytes)
    const hasGrown = ownBytes - floorBytes >= LIMITS.quietGrowthBytes
    const isQuiet = usedMs < LIMITS.quietLookMs * LIMITS.quietCpuShare
    if (hasGrown && isQuiet && clock.monotonicMs() - givenBackMs >= LIMITS.quietPauseMs) {
      use.giveBack()
      givenBackMs = clock.monotonicMs()
      // Known again at the next look.
      floorBytes = Number.POSITIVE_INFINITY
    }
    timer = clock.after(LIMITS.quietLookMs, look)
  }
  timer = clock.after(LIMITS.quietLookMs, look)
  return { cancel: () => timer.cancel() }
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

const openMadvise = () => openLibc({ madvise: { args: [FFIType.u64, FFIType.u64, FFIType.i32], returns: FFIType.i32 } })

/** Opened once: what the runtime makes of a function of the library stays. */
let libc: ReturnType<typeof openMadvise> | undefined

/**
 * Unmaps the machine code of the executable: half of it ran only at the start. What is still needed comes back from
 * the page cache by itself. Only pages that are never written to: others would lose what was written.
 */
function unmapOwnCode(): void {
  if (process.platform !== 'linux') return
  libc ??= openMadvise()
  const executable = readlinkSync('/proc/self/exe')
  for (const line of readFileSync('/proc/self/maps', 'utf8').split('\n')) {
    const [range = '', mode, , , , file] = line.split(/\s+/)
    if (mode !== 'r-xp' || file !== executable) continue
    const [from, to] = range.split('-').map(address => BigInt(`0x${address}`))
    libc?.madvise(from!, to! - from!, MADV_DONTNEED)
  }
}
