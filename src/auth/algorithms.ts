/**
 * TABLE signature algorithms a configuration may name, asymmetric ones only, and the type of key each is for (RFC 7518
 * §3.1, RFC 8037 §3.1; spec/auth.md §6.4 [B]).
 */
export const ALGORITHMS = {
  RS256: 'RSA',
  RS384: 'RSA',
  RS512: 'RSA',
  PS256: 'RSA',
  PS384: 'RSA',
  PS512: 'RSA',
  ES256: 'EC P-256',
  ES384: 'EC P-384',
  ES512: 'EC P-521',
  EdDSA: 'OKP Ed25519',
} as const

export type Algorithm = keyof typeof ALGORITHMS

export const ALGORITHM_NAMES = Object.keys(ALGORITHMS) as readonly Algorithm[]
