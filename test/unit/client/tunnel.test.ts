import { expect, test } from 'bun:test'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { openTunnel } from '../../../src/client/tunnel.ts'

test('a gateway that never answers CONNECT is not waited for without end', async () => {
  const gone = Promise.withResolvers<void>()
  const server = createServer(socket => {
    socket.resume()
    socket.once('close', () => gone.resolve())
    socket.on('error', () => undefined)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const ticket = { sandboxId: 's', token: 't', connectPath: '/connect/ssh' }
  await expect(openTunnel({ url, tls: {} }, ticket, 20)).rejects.toThrow('no answer to CONNECT within 0.02 s')
  await gone.promise
  server.close()
})
