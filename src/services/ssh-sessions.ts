import { streamEndMs } from '../auth/sandbox-binding.ts'
import type { Clock } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import type { SshConfig } from '../config/config.ts'
import { RELAY_TEXTS } from '../domain/relay-texts.ts'
import { insertSshSession, revokeSshSession } from '../live/ssh-sessions.ts'
import type { Tunnels } from '../live/tunnels.ts'
import type { Handlers } from '../rpc/handlers.ts'
import type { Store } from '../store/store.ts'
import { SandboxPhase } from '../wire/messages.generated.ts'
import { sandboxById } from './sandbox-lookup.ts'
import { storing } from './store-errors.ts'

export interface SshSessionServiceDeps {
  readonly store: Pick<Store, 'transaction'>
  readonly tunnels: Tunnels
  readonly clock: Clock
  readonly ssh: SshConfig
  /** Seconds by which a session outlives the token it was asked for with; null = it has a life of its own. */
  readonly graceSecs?: number | null
  /** Where the gateway itself listens: stands in for what is not configured. */
  readonly listener: () => { readonly address: string; readonly port: number; readonly tls: boolean }
}

/** CreateSshSession and RevokeSshSession (spec/sandbox.md §7). */
export function createSshSessionService(
  deps: SshSessionServiceDeps,
): Pick<Handlers, 'CreateSshSession' | 'RevokeSshSession'> {
  return {
    async CreateSshSession({ sandbox_id }, context) {
      if (sandbox_id === '') throw new GatewayError('INVALID_ARGUMENT', RELAY_TEXTS.sandboxIdRequired)
      const session = await storing('persist ssh session', () =>
        deps.store.transaction(async tx => {
          const { sandbox } = await sandboxById(tx, sandbox_id)
          if (sandbox.phase !== SandboxPhase.SANDBOX_PHASE_READY)
            throw new GatewayError('FAILED_PRECONDITION', RELAY_TEXTS.sandboxNotReady)
          return insertSshSession(tx, {
            sandboxId: sandbox_id,
            ttlSecs: deps.ssh.sessionTtlSecs,
            nowMs: deps.clock.nowMs(),
            notAfterMs: streamEndMs(context.principal, deps.graceSecs ?? null),
            tokenAtRest: deps.ssh.tokenAtRest,
          })
        }),
      )
      const listener = deps.listener()
      return {
        sandbox_id,
        token: session.token,
        gateway_host: deps.ssh.gatewayHost || listener.address,
        gateway_port: deps.ssh.gatewayPort || listener.port,
        gateway_scheme: deps.ssh.gatewayScheme ?? (listener.tls ? 'https' : 'http'),
        connect_path: deps.ssh.connectPath,
        expires_at_ms: session.expiresAtMs,
      }
    },
    async RevokeSshSession({ token }) {
      if (token === '') throw new GatewayError('INVALID_ARGUMENT', RELAY_TEXTS.tokenRequired)
      const session = await storing('persist ssh session', () =>
        deps.store.transaction(tx => revokeSshSession(tx, token)),
      )
      if (session) deps.tunnels.cutSession(session.id, 'revoked')
      return { revoked: session !== null }
    },
  }
}
