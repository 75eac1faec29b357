import { closeSync, constants, openSync, readSync } from 'node:fs'
import { LIMITS } from '../limits.ts'
import { parseLogFilter, type ShownLevel } from './log-level.ts'

/** What a level file says: a level, nothing because it is not there or empty, or a sentence about what is wrong with it. */
export interface LevelFile {
  readonly level: ShownLevel | null
  readonly problem: string | null
}

const nothing: LevelFile = { level: null, problem: null }

/**
 * Reads the file of `--log-level-file`, at start and at every reload (C-03: SIGHUP changes certificates and the log
 * level). Never throws: a gateway does not end because somebody wants to see more of it.
 */
export function readLevelFile(path: string): LevelFile {
  let descriptor: number | null = null
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const buffer = Buffer.alloc(LIMITS.levelFileBytes)
    const text = buffer.toString('utf8', 0, readSync(descriptor, buffer, 0, buffer.length, 0)).trim()
    if (text === '') return nothing
    const { level, bad } = parseLogFilter(text)
    return level === null || bad.length > 0
      ? { level: null, problem: 'names no usable level' }
      : { level, problem: null }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    return code === 'ENOENT' ? nothing : { level: null, problem: `cannot be read: ${code ?? 'unknown error'}` }
  } finally {
    if (descriptor !== null) closeSync(descriptor)
  }
}
