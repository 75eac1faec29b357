import { rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'

/** A Unix socket that accepts and then does something no driver does. */
export interface OddPeer {
  readonly connections: number
  close(): Promise<void>
}

/** Listens at `path`; `greet` does what it likes with each connection. */
export async function listenOddly(path: string, greet: (socket: Socket) => void): Promise<OddPeer> {
  const open = new Set<Socket>()
  let connections = 0
  const server: Server = createServer(socket => {
    connections++
    open.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => open.delete(socket))
    socket.resume()
    greet(socket)
  })
  await new Promise<void>(resolve => server.listen(path, resolve))
  return {
    get connections() {
      return connections
    },
    async close() {
      for (const socket of open) socket.destroy()
      await new Promise<void>(resolve => server.close(() => resolve()))
      rmSync(path, { force: true })
    },
  }
}
