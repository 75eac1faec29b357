import { createServer } from 'node:net'
import { StartError } from '../base/errors.ts'

const tryPort = (port: number): Promise<number | null> =>
  new Promise(resolve => {
    const server = createServer()
    server.once('error', () => resolve(null))
    server.listen(port, '127.0.0.1', () => {
      const { port: bound } = server.address() as { port: number }
      server.close(() => resolve(bound))
    })
  })

/** `port` when it is free on loopback, else one chosen by the kernel; with `exactly` a taken port is a StartError. */
export async function freePort(port: number, exactly: boolean): Promise<number> {
  const wanted = await tryPort(port)
  if (wanted !== null) return wanted
  const other = exactly ? null : await tryPort(0)
  if (other === null) throw new StartError(`port ${port} of 127.0.0.1 is taken; give another one with --port`)
  return other
}
