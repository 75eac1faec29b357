import { Secret } from '../base/secret.ts'
import { LIMITS } from '../limits.ts'
import type { ResolveCredentialResponse } from '../wire/messages.generated.ts'
import type { ResolvedCredential } from './contract.ts'

/** Why an answer of a credentials driver cannot be used; a fixed word for logs, never anything of the answer itself (D-12). */
export type AnswerFault =
  | 'token is empty'
  | 'token is too long'
  | 'token holds a character that no header may carry'
  | 'expiry is negative'
  | 'expiry is too far away'
  | 'token has expired'
  | 'token type is not Bearer'

/**
 * Judges the answer of ResolveCredential; pure. Zero expiry means unknown. An expiry of "now" is what a driver says
 * when the issuer gave no lifetime (spec/providers.md §14.2), so only what is past by more than the leeway is refused.
 */
export function judgeCredential(answer: ResolveCredentialResponse, nowMs: number): ResolvedCredential | AnswerFault {
  const { token, token_type: type, expires_at_ms: expiry } = answer
  if (token === '') return 'token is empty'
  if (token.length > LIMITS.credentialTokenBytes) return 'token is too long'
  if (!/^[\x21-\x7e]+$/.test(token)) return 'token holds a character that no header may carry'
  if (type !== '' && type.toLowerCase() !== 'bearer') return 'token type is not Bearer'
  if (expiry < 0n) return 'expiry is negative'
  if (expiry > BigInt(nowMs + LIMITS.credentialFarthestExpiryMs)) return 'expiry is too far away'
  if (expiry === 0n) return { token: new Secret(token), expiresAtMs: null, tokenType: 'Bearer' }
  if (Number(expiry) < nowMs - LIMITS.credentialExpiredLeewayMs) return 'token has expired'
  return { token: new Secret(token), expiresAtMs: Number(expiry), tokenType: 'Bearer' }
}
