import { isIP } from 'node:net'
import { LIMITS } from '../limits.ts'

/** An IP address without brackets and zone, or null. */
export function parseIp(text: string): string | null {
  const bare = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text
  return isIP(bare) === 0 || bare.includes('%') ? null : bare
}

/** Whether the text is an address or a CIDR range. */
export function isAddressRange(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/')
  const family = isIP(address)
  if (family === 0 || rest.length > 0) return false
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
}

/** Whether clients accept the host in a reply to CreateSshSession (spec/client.md, R-11). */
export const isReplyHost = (text: string): boolean => /^[A-Za-z0-9.:[\]-]{1,253}$/.test(text)

/** Whether clients accept the path in a reply to CreateSshSession (spec/client.md, R-11). */
export const isReplyPath = (text: string): boolean => /^\/[A-Za-z0-9\-._~!$&'()*+,;=:@/%]{0,2047}$/.test(text)

/** Loopback names and addresses, to which plain http is no risk. */
export function isLoopbackHost(hostname: string): boolean {
  const bare = hostname.replace(/^\[|\]$/g, '').toLowerCase()
  return bare === 'localhost' || bare === '::1' || /^127(\.\d{1,3}){3}$/.test(bare)
}

/** The issuer as a URL, null when it is no http(s) URL. */
export function parseIssuer(text: string): URL | null {
  const url = URL.canParse(text) ? new URL(text) : null
  return url && (url.protocol === 'https:' || url.protocol === 'http:') ? url : null
}

/** Seconds after a token's expiry at which what it opened ends; null = never (spec/auth.md §6.7, A-14). */
export interface StreamLifetimes {
  readonly watchGraceSecs: number | null
  /** Commands and SSH sessions: interactive work, which short tokens must not cut unless somebody wants it. */
  readonly workGraceSecs: number | null
}

/**
 * `unbounded`, `token` or `token+SECONDS` for watches and work alike; nothing said: watches end ten minutes after
 * their token, work goes on (spec/auth.md §6.7). Undefined when it is none of them.
 */
export function parseStreamLifetime(text: string | null): StreamLifetimes | undefined {
  if (text === null) return { watchGraceSecs: LIMITS.watchAfterTokenSecs, workGraceSecs: null }
  if (text === 'unbounded') return { watchGraceSecs: null, workGraceSecs: null }
  const match = /^token(?:\+(\d{1,9}))?$/.exec(text)
  if (!match) return undefined
  const graceSecs = Number(match[1] ?? 0)
  return { watchGraceSecs: graceSecs, workGraceSecs: graceSecs }
}
