import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { connect } from 'node:net'

/** A process as the kernel shows it. */
export interface ProcessRow {
  readonly pid: number
  readonly parent: number
  readonly state: string
  readonly command: string
  readonly directory: string
}

const read = (path: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

const follow = (path: string): string => {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

/** Every process that is alive; zombies are not. */
export function listProcesses(): ProcessRow[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .flatMap(name => {
      const stat = read(`/proc/${name}/stat`)
      const [state = '', parent = ''] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      if (stat === '' || state === 'Z') return []
      const command = read(`/proc/${name}/cmdline`).replaceAll('\0', ' ').trim()
      return [{ pid: Number(name), parent: Number(parent), state, command, directory: follow(`/proc/${name}/cwd`) }]
    })
}

/** The processes below one, at any depth. */
export function descendantsOf(pid: number): ProcessRow[] {
  const all = listProcesses()
  const found = new Set([pid])
  for (let size = 0; size !== found.size; ) {
    size = found.size
    for (const row of all) if (found.has(row.parent)) found.add(row.pid)
  }
  return all.filter(row => row.pid !== pid && found.has(row.pid))
}

/** Whether somebody listens on a loopback port. */
export const isListening = (port: number, host = '127.0.0.1'): Promise<boolean> =>
  new Promise(resolve => {
    const socket = connect(port, host)
    socket.once('error', () => resolve(false))
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
  })

/** Resident memory in bytes; 0 for a process that is gone. */
export const residentBytes = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) * 1024
