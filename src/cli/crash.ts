import { writeSync } from 'node:fs'
import { visibleJson } from '../base/unprintable.ts'

/** The exit code of a bug (design.md §5). */
export const CRASH_CODE = 70

const TEXT_CHARS = 512
const FRAMES = 20

/**
 * One line about anything thrown: its name, its message and where it came from. Stack frames are function and place
 * only, never a line of source (platform.md: the runtime would print them).
 */
export function crashLine(kind: string, thrown: unknown, now: Date = new Date()): string {
  const error = thrown instanceof Error ? thrown : null
  const stack = (error?.stack ?? '')
    .split('\n')
    .map(line => line.trim())
    .filter(line => line.startsWith('at '))
    .slice(0, FRAMES)
  const line = visibleJson({
    time: now.toISOString(),
    level: 'ERROR',
    message: 'the gateway crashed',
    kind,
    error: (error ? `${error.name}: ${error.message}` : typeof thrown).slice(0, TEXT_CHARS),
    stack,
  })
  return `${line}\n`
}

/** Writes the line to standard error at once; a closed or full one is no further problem of a crash. */
export function reportCrash(kind: string, thrown: unknown): void {
  try {
    writeSync(2, crashLine(kind, thrown))
  } catch {
    return
  }
}

/** From now on a bug anywhere ends the process with one line and code 70. */
export function installCrashHandler(exit: (code: number) => never): void {
  for (const kind of ['uncaughtException', 'unhandledRejection'] as const)
    process.on(kind, (thrown: unknown) => {
      reportCrash(kind, thrown)
      exit(CRASH_CODE)
    })
}
