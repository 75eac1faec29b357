import { expect, test } from 'bun:test'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readLevelFile } from '../../../src/config/log-level-file.ts'

test('a level file names a level, or nothing; what is wrong with it is said and ends nothing (C-03)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'level-'))
  const path = join(folder, 'level')
  const said = (text: string) => {
    writeFileSync(path, text)
    return readLevelFile(path)
  }
  expect(readLevelFile(path)).toEqual({ level: null, problem: null })
  expect(said('debug\n')).toEqual({ level: 'debug', problem: null })
  expect(said(' OFF ')).toEqual({ level: 'off', problem: null })
  expect(said('')).toEqual({ level: null, problem: null })
  expect(said('loud')).toEqual({ level: null, problem: 'names no usable level' })
  expect(said('x'.repeat(100_000)).problem).toBe('names no usable level')
  expect(readLevelFile(folder).problem).toBe('cannot be read: EISDIR')
  rmSync(folder, { recursive: true })
})
