import { readdirSync, readFileSync } from 'node:fs'

/**
 * What tells a process from a later one with the same id: its start time in the kernel's words. Null when no such process
 * lives; a zombie counts as dead.
 */
export function processIdentity(pid: number): string | null {
  if (!Number.isSafeInteger(pid) || pid <= 0) return null
  return process.platform === 'linux' ? linuxIdentity(pid) : psIdentity(pid)
}

/** Whether the process that had this identity still lives. */
export const isAlive = (pid: number, identity: string): boolean => processIdentity(pid) === identity

function linuxIdentity(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' || fields[0] === 'X' ? null : (fields[19] ?? null)
  } catch {
    return null
  }
}

function psIdentity(pid: number): string | null {
  const { exitCode, stdout } = Bun.spawnSync(['/bin/ps', '-o', 'lstart=', '-p', String(pid)])
  const text = stdout.toString().trim()
  return exitCode === 0 && text !== '' ? text : null
}

/**
 * Every process of ours whose environment has `entry` (`NAME=value`), except this one. Processes of a sandbox make
 * groups and sessions of their own; what they cannot leave behind is their first environment. Linux only, elsewhere
 * empty.
 */
export function processesWithEnvironment(entry: string): number[] {
  if (process.platform !== 'linux') return []
  return readdirSync('/proc').flatMap(name => {
    const pid = /^\d+$/.test(name) ? Number(name) : 0
    if (pid === 0 || pid === process.pid) return []
    try {
      return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(entry) ? [pid] : []
    } catch {
      return []
    }
  })
}
