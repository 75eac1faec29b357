import { readFileSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import { LIMITS } from '../limits.ts'

/** One open connection, as the caps see it. */
export interface Connection {
  readonly socket: Duplex
  /** Null = nested in another connection, which is counted already. */
  readonly source: Source | null
}

interface Source {
  count: number
  /** Connections that have not shown to be worth keeping, oldest first. */
  readonly unproven: Set<Connection>
}

/**
 * The open connections of a listener within two caps. At a cap the oldest connection that has proved nothing yet (no
 * complete HTTP/1.1 request, no authenticated call) makes room, so that silent peers never keep a good client out
 * (F-09); only when there is none is the newcomer refused.
 */
export interface ConnectionTable {
  /** Null = over a cap. The connection leaves the table when its socket closes. */
  add(socket: Duplex, address: string): Connection | null
  addNested(socket: Duplex): Connection
  /** Idempotent. */
  proven(connection: Connection): void
  size(): number
  closeAll(): void
}

export function createConnectionTable(most: number, mostPerAddress: number): ConnectionTable {
  const all = new Set<Connection>()
  const unproven = new Set<Connection>()
  const sources = new Map<string, Source>()
  let counted = 0

  const remove = (connection: Connection, address: string) => {
    if (!all.delete(connection)) return
    unproven.delete(connection)
    const { source } = connection
    if (source === null) return
    counted--
    source.unproven.delete(connection)
    source.count--
    if (source.count === 0) sources.delete(address)
  }
  const evict = (candidates: Set<Connection>, address: string): boolean => {
    for (const oldest of candidates) {
      remove(oldest, addresses.get(oldest) ?? address)
      oldest.socket.destroy()
      return true
    }
    return false
  }
  const addresses = new WeakMap<Connection, string>()

  return {
    add(socket, address) {
      const source = sources.get(address) ?? { count: 0, unproven: new Set<Connection>() }
      if (mostPerAddress > 0 && source.count >= mostPerAddress && !evict(source.unproven, address)) return null
      if (counted >= most && !evict(unproven, address)) return null
      const connection = { socket, source }
      addresses.set(connection, address)
      sources.set(address, source)
      source.count++
      counted++
      source.unproven.add(connection)
      unproven.add(connection)
      all.add(connection)
      socket.once('close', () => remove(connection, address))
      return connection
    },
    addNested(socket) {
      const connection = { socket, source: null }
      all.add(connection)
      socket.once('close', () => remove(connection, ''))
      return connection
    },
    proven(connection) {
      unproven.delete(connection)
      connection.source?.unproven.delete(connection)
    },
    size: () => all.size,
    closeAll() {
      for (const { socket } of [...all]) socket.destroy()
    },
  }
}

/** `wanted`, lowered so that descriptors stay free for everything else (F-14, M13). */
export function capByDescriptors(wanted: number, descriptors: number | null = readDescriptorLimit()): number {
  if (descriptors === null) return wanted
  const reserved = Math.min(LIMITS.descriptorsReserved, Math.floor(descriptors / 2))
  return Math.max(1, Math.min(wanted, descriptors - reserved))
}

/** The cap of a side port, which lives off the descriptors that the main port leaves. */
export const capSidePort = (descriptors: number | null = readDescriptorLimit()): number =>
  Math.max(1, Math.min(LIMITS.sideConnections, Math.floor((descriptors ?? Infinity) / LIMITS.sideDescriptorShare)))

/** Soft limit of open files; null where the system does not tell. */
function readDescriptorLimit(): number | null {
  try {
    const line = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
    return line ? Number(line[1]) : null
  } catch {
    return null
  }
}
