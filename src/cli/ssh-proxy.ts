import { createBackoff } from '../base/backoff.ts'
import { sleep, systemClock } from '../base/clock.ts'
import { callOnce } from '../client/grpc-stream.ts'
import { connectGateway, type GatewayClient } from '../client/session.ts'
import { type OpenTunnel, openTunnel, TunnelRefused, type TunnelTicket } from '../client/tunnel.ts'
import { LIMITS } from '../limits.ts'
import { runClient } from './client-command.ts'
import { CLIENT_FLAGS, targetFrom } from './client-flags.ts'
import { defineGatewayCommand } from './command.ts'
import { sandboxIdOf } from './exec.ts'

const NOT_READY = 412

/** Waits for a sandbox that is not ready, as long as the real command line tool does (spec/relay.md §12). */
async function openWhenReady(client: GatewayClient, ticket: TunnelTicket): Promise<OpenTunnel> {
  const pauses = createBackoff(LIMITS.tunnelRetryFirstMs, LIMITS.tunnelRetryMostMs, () => 0)
  const until = systemClock.monotonicMs() + LIMITS.tunnelRetryForMs
  for (;;) {
    try {
      return await openTunnel(client.endpoint, ticket)
    } catch (error) {
      const isWorthIt =
        error instanceof TunnelRefused && error.status === NOT_READY && systemClock.monotonicMs() < until
      if (!isWorthIt) throw error
      await sleep(systemClock, pauses.nextMs())
    }
  }
}

/** Joins standard input and output to the tunnel until the gateway ends it; what came through has then been written. */
function pipe({ socket, early }: OpenTunnel): Promise<void> {
  return new Promise(resolve => {
    const flush = () => void process.stdout.write('', () => resolve())
    if (early.length > 0) process.stdout.write(early)
    process.stdin.pipe(socket)
    socket.pipe(process.stdout, { end: false })
    socket.once('error', flush)
    socket.once('end', flush)
    socket.once('close', flush)
    process.stdout.once('error', () => resolve())
  })
}

/** Best effort and no long wait: a session that is not revoked ends by itself within a day. */
async function revoke(client: GatewayClient, token: string): Promise<void> {
  const done = client
    .prove()
    .then(() => callOnce(client.open('RevokeSshSession'), { token }))
    .catch(() => undefined)
  await Promise.race([done, sleep(systemClock, LIMITS.tunnelRevokeMs)])
}

/** `ssh-proxy NAME`: what OpenSSH runs as ProxyCommand. The SSH session it opens is revoked when it ends. */
export const command = defineGatewayCommand({
  flags: CLIENT_FLAGS,
  positionals: [{ name: 'name', help: 'Name of the sandbox' }],
  run: (values, io) =>
    runClient(io, async () => {
      const client = await connectGateway(targetFrom(values, io))
      try {
        const sandboxId = await sandboxIdOf(client, values.positionals[0] ?? '')
        const session = await callOnce(client.open('CreateSshSession'), { sandbox_id: sandboxId })
        const ticket = { sandboxId, token: session.token, connectPath: session.connect_path }
        try {
          await pipe(await openWhenReady(client, ticket))
        } finally {
          await revoke(client, ticket.token)
        }
        return 0
      } finally {
        client.close()
      }
    }),
})
