import { codec, WireError } from '../wire/codec.ts'

const SESSION = codec('openshell.v1.SshSession')

/** What pruning must know of a stored SSH session; null when its bytes cannot be read. */
export function readSession(payload: Uint8Array): { sandboxId: string; revoked: boolean; expiresAtMs: bigint } | null {
  try {
    const session = SESSION.decode(payload)
    return { sandboxId: session.sandbox_id, revoked: session.revoked, expiresAtMs: session.expires_at_ms }
  } catch (error) {
    if (error instanceof WireError || error instanceof RangeError) return null
    throw error
  }
}

/** Whether a session can never be used again: revoked, or past an expiry it has (spec/storage.md §9). */
export function isSpent(payload: Uint8Array, nowMs: number): boolean {
  const session = readSession(payload)
  if (session === null) return false
  return session.revoked || (session.expiresAtMs > 0n && BigInt(Math.trunc(nowMs)) > session.expiresAtMs)
}

/** Whether a row that mentions the sandbox's id somewhere is its session. One that cannot be read counts as such. */
export function isSessionOf(payload: Uint8Array, sandboxId: string): boolean {
  const session = readSession(payload)
  return session === null || session.sandboxId === sandboxId
}
