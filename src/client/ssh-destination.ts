import { spawnSync } from 'node:child_process'
import { LIMITS } from '../limits.ts'
import { ClientFailure } from './failure.ts'

/** Where a gateway is that is reached by SSH. */
export interface SshDestination {
  /** `host` or `user@host`, as ssh takes it. */
  readonly destination: string
  /** What OpenSSH makes of it with its configuration; the host itself when there is no OpenSSH. */
  readonly resolvedHost: string
}

/** `ssh://[user@]host:port` (spec/client.md §5 step 1). Throws a `ClientFailure`. */
export function parseSshUrl(text: string): SshDestination & { readonly port: number } {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null) throw new ClientFailure('usage', `Invalid ssh:// URL '${text}'`)
  if (url.hostname === '') throw new ClientFailure('usage', `ssh:// URL must include a hostname: ${text}`)
  if (url.port === '') throw new ClientFailure('usage', `ssh:// URL must include a port: ${text}`)
  const user = decoded(url.username)
  if (user === null) throw new ClientFailure('usage', `Invalid ssh:// URL '${text}'`)
  const destination = user === '' ? url.hostname : `${user}@${url.hostname}`
  return { ...resolveSsh(destination), port: Number(url.port) }
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}

/** Asks OpenSSH for the host behind a destination. Throws a `ClientFailure` for what ssh would take for an option. */
export function resolveSsh(destination: string): SshDestination {
  if (destination === '' || destination.startsWith('-') || /[\s'"$`;&|<>\\]/.test(destination))
    throw new ClientFailure('usage', `not an SSH destination: '${destination}'`)
  const asked = spawnSync('ssh', ['-G', '--', destination], { encoding: 'utf8', timeout: LIMITS.dialMs })
  const line = asked.stdout?.split('\n').find(text => text.startsWith('hostname '))
  const host = destination.slice(destination.lastIndexOf('@') + 1)
  return { destination, resolvedHost: line?.slice('hostname '.length).trim() || host }
}
