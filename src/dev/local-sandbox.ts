import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Clock, sleep } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'
import { isAlive, processesWithEnvironment, processIdentity } from './process-identity.ts'

/** What is kept of a sandbox on disk; no environment, hence no secret. */
export interface SandboxRecord {
  readonly id: string
  readonly name: string
  readonly createdAtMs: number
  /** Leader of the sandbox's processes; null before it was started. */
  readonly process: { readonly pid: number; readonly identity: string } | null
  readonly isDeleting: boolean
  /** How the leader ended; null while it runs or was not started. */
  readonly ended: string | null
}

/** Ids that are safe as the name of a directory. */
export const isDirectoryName = (id: string): boolean => /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(id)

const directoryOf = (stateDir: string, id: string): string => join(stateDir, 'sandboxes', id)
/** Where the sandbox's files are. */
export const workspaceOf = (stateDir: string, id: string): string => join(directoryOf(stateDir, id), 'workspace')

/** Makes the sandbox's directories, for this user alone. */
export function makeDirectories(stateDir: string, id: string): void {
  mkdirSync(workspaceOf(stateDir, id), { recursive: true, mode: 0o700 })
}

/** Writes the record so that a crash leaves the old one or the new one. */
export function saveRecord(stateDir: string, record: SandboxRecord): void {
  const file = join(directoryOf(stateDir, record.id), 'sandbox.json')
  writeFileSync(`${file}.new`, JSON.stringify(record), { mode: 0o600, flush: true })
  renameSync(`${file}.new`, file)
}

/** The records of a state directory; a directory without a readable record is what a crash left, and is removed. */
export function loadRecords(stateDir: string): SandboxRecord[] {
  mkdirSync(join(stateDir, 'sandboxes'), { recursive: true, mode: 0o700 })
  return readdirSync(join(stateDir, 'sandboxes')).flatMap(id => {
    const record = readRecord(join(directoryOf(stateDir, id), 'sandbox.json'))
    if (record?.id === id) return [record]
    removeSandbox(stateDir, id)
    return []
  })
}

function readRecord(file: string): SandboxRecord | null {
  try {
    const value: unknown = JSON.parse(readFileSync(file, 'utf8'))
    return isRecord(value) ? value : null
  } catch {
    return null
  }
}

function isRecord(value: unknown): value is SandboxRecord {
  const record = value as SandboxRecord | null
  return typeof record?.id === 'string' && typeof record.name === 'string' && typeof record.isDeleting === 'boolean'
}

/** Removes the sandbox's directory with everything in it; a directory that is gone is as good. */
export function removeSandbox(stateDir: string, id: string): void {
  rmSync(directoryOf(stateDir, id), { recursive: true, force: true })
}

export interface SandboxStart {
  readonly stateDir: string
  readonly id: string
  readonly command: readonly [string, ...string[]]
  readonly environment: ReadonlyMap<string, string>
}

/** A leader that runs: its identity, and how it ends. */
export interface StartedSandbox {
  readonly process: { readonly pid: number; readonly identity: string }
  readonly ended: Promise<string>
}

/** Starts the leader in a process group of its own, with its output in `output.log` beside its workspace. */
export async function startSandbox(start: SandboxStart): Promise<StartedSandbox> {
  const [file, ...args] = start.command
  const output = openSync(join(directoryOf(start.stateDir, start.id), 'output.log'), 'w', 0o600)
  try {
    const child = spawn(file, args, {
      cwd: workspaceOf(start.stateDir, start.id),
      env: Object.fromEntries(start.environment),
      detached: true,
      stdio: ['ignore', output, output],
    })
    const ended = new Promise<string>(resolve => {
      child.once('exit', (code, signal) => resolve(signal ?? `status ${code}`))
      child.once('error', error => resolve(error.message))
    })
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', reject)
    })
    child.unref()
    const pid = child.pid ?? 0
    return { process: { pid, identity: processIdentity(pid) ?? '' }, ended }
  } finally {
    closeSync(output)
  }
}

/** Resolves when a process that is no child of ours has ended. */
export async function untilEnded(
  leader: { pid: number; identity: string },
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted && isAlive(leader.pid, leader.identity)) await sleep(clock, LIMITS.localPollMs, signal)
}

/** Ends every process of a sandbox: SIGTERM to the leader's group, after a grace SIGKILL to whatever carries its id. */
export async function stopSandbox(record: SandboxRecord, clock: Clock): Promise<void> {
  const leader = record.process
  if (leader && isAlive(leader.pid, leader.identity)) {
    signalQuietly(-leader.pid, 'SIGTERM')
    const endMs = clock.monotonicMs() + LIMITS.localStopMs
    while (isAlive(leader.pid, leader.identity) && clock.monotonicMs() < endMs) await sleep(clock, 20)
    if (isAlive(leader.pid, leader.identity)) signalQuietly(-leader.pid, 'SIGKILL')
  }
  for (const pid of processesWithEnvironment(`OPENSHELL_SANDBOX_ID=${record.id}`)) signalQuietly(pid, 'SIGKILL')
}

function signalQuietly(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // Ended in between.
  }
}
