import { describe, expect, test } from 'bun:test'
import { judgeSocket, refuseSocketPath } from '../../../src/drivers/socket-path.ts'

const facts = (kind: string, mode = 0o600) => ({
  isSocket: () => kind === 'socket',
  isSymbolicLink: () => kind === 'link',
  isFile: () => kind === 'file',
  isFIFO: () => kind === 'fifo',
  isDirectory: () => kind === 'directory',
  mode,
  dev: 1,
  ino: 2,
  ctimeMs: 3,
})

describe('D-16: paths that can never be a socket', () => {
  const rows: [string, string | null][] = [
    ['/run/drivers/compute.sock', null],
    ['/with space/ünï.sock', null],
    [`/${'a'.repeat(106)}`, null],
    [`/${'a'.repeat(107)}`, 'is 108 bytes long, more than the 107 a Unix socket can have'],
    [`/${'ü'.repeat(54)}`, 'is 109 bytes long, more than the 107 a Unix socket can have'],
    ['', 'is empty'],
    ['compute.sock', 'is not an absolute path'],
    ['./compute.sock', 'is not an absolute path'],
    ['@abstract', 'is not an absolute path'],
    ['/a\0b', 'contains a control character'],
    ['/a\nb', 'contains a control character'],
  ]
  for (const [path, expected] of rows)
    test(JSON.stringify(path.slice(0, 40)), () => expect(refuseSocketPath(path)).toBe(expected))
})

describe('D-16, D-17: what stands at a path', () => {
  test('nothing', () => expect(judgeSocket(undefined, { mode: 0o755 })).toEqual({ kind: 'absent' }))
  for (const [kind, what] of [
    ['file', 'a plain file'],
    ['link', 'a symbolic link'],
    ['directory', 'a directory'],
    ['fifo', 'a FIFO'],
    ['other', 'a device'],
  ] as const)
    test(what, () => expect(judgeSocket(facts(kind), { mode: 0o755 })).toEqual({ kind: 'wrong', what }))

  const warnings: [number, number, number][] = [
    [0o600, 0o755, 0],
    [0o770, 0o1777, 0],
    [0o777, 0o755, 1],
    [0o600, 0o777, 1],
    [0o666, 0o777, 2],
  ]
  for (const [mode, directory, count] of warnings)
    test(`socket ${mode.toString(8)} in a directory ${directory.toString(8)}: ${count} warnings`, () => {
      const found = judgeSocket(facts('socket', mode), { mode: directory })
      expect(found.kind === 'socket' && found.warnings.length).toBe(count)
    })
})
