import { spawnSync } from 'node:child_process'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'

/** What a process asked of a file, in order. `file` is the name inside the directory that was watched. */
export type FileCall =
  | { readonly kind: 'write'; readonly file: string; readonly at: number; readonly data: Buffer }
  | { readonly kind: 'truncate'; readonly file: string; readonly at: number }
  | { readonly kind: 'sync'; readonly file: string }

/** A line that it wrote to standard output. */
export interface Said {
  readonly kind: 'said'
  readonly text: string
}

/** Whether system calls can be watched here; says in one line when not. */
export function canTrace(): boolean {
  const tried = Bun.which('strace') && spawnSync('strace', ['-qq', '-o', '/dev/null', 'true']).status === 0
  if (!tried) console.log('Power cut and I/O fault tests are skipped: no strace on this machine, or it may not trace')
  return tried === true
}

/** Runs a script of ours to its end and returns what it did with the files in `directory` and what it said. */
export async function recordFileCalls(script: readonly string[], directory: string): Promise<(FileCall | Said)[]> {
  const record = join(directory, 'calls.txt')
  const watched = 'trace=pwrite64,ftruncate,fsync,fdatasync,write'
  const command = ['-qq', '-y', '-xx', '-s', '1000000', '-o', record, '-e', watched, process.execPath, ...script]
  const { status, stderr } = spawnSync('strace', command, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`the script ended with ${status}: ${stderr}`)
  const calls = readFileSync(record, 'latin1')
    .split('\n')
    .flatMap(line => readCall(line, `${directory}/`) ?? [])
  rmSync(record)
  return calls
}

const bytesOf = (escaped: string): Buffer => Buffer.from(escaped.replaceAll('\\x', ''), 'hex')

function readCall(line: string, directory: string): FileCall | Said | null {
  const [, call, descriptor, place, rest] = /^(\w+)\((\d+)<([^>]*)>(.*)$/.exec(line) ?? []
  if (place === undefined || rest === undefined) return null
  const data = () => bytesOf(/"([^"]*)"/.exec(rest)![1]!)
  if (call === 'write') return descriptor === '1' ? { kind: 'said', text: data().toString().trim() } : null
  const path = bytesOf(place).toString()
  if (!path.startsWith(directory)) return null
  const file = path.slice(directory.length)
  if (call === 'fsync' || call === 'fdatasync') return { kind: 'sync', file }
  if (call === 'ftruncate') return { kind: 'truncate', file, at: Number(/, (\d+)/.exec(rest)![1]) }
  return { kind: 'write', file, at: Number(/, \d+, (\d+)\)/.exec(rest)![1]), data: data() }
}
