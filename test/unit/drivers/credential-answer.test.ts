import { describe, expect, test } from 'bun:test'
import { Secret } from '../../../src/base/secret.ts'
import { judgeCredential } from '../../../src/drivers/credential-answer.ts'
import { LIMITS } from '../../../src/limits.ts'

const NOW = 1_700_000_000_000

describe('D-12: an answer of the credentials driver', () => {
  const refused: [string, string, bigint, string][] = [
    ['token is empty', '', 0n, 'Bearer'],
    ['token is too long', 'a'.repeat(LIMITS.credentialTokenBytes + 1), 0n, 'Bearer'],
    ['token holds a character that no header may carry', 'a\nb', 0n, 'Bearer'],
    ['token holds a character that no header may carry', 'a\r', 0n, 'Bearer'],
    ['token holds a character that no header may carry', 'a\0b', 0n, 'Bearer'],
    ['token holds a character that no header may carry', 'a b', 0n, 'Bearer'],
    ['token holds a character that no header may carry', 'tökén', 0n, 'Bearer'],
    ['token type is not Bearer', 'a', 0n, 'MAC'],
    ['token type is not Bearer', 'a', 0n, 'Bearer '],
    ['expiry is negative', 'a', -1n, 'Bearer'],
    ['expiry is negative', 'a', -(2n ** 63n), 'Bearer'],
    ['expiry is too far away', 'a', 2n ** 63n - 1n, 'Bearer'],
    ['expiry is too far away', 'a', BigInt(NOW) * 1000n, 'Bearer'],
    ['token has expired', 'a', BigInt(NOW - 3_600_000), 'Bearer'],
    ['token has expired', 'a', 1n, 'Bearer'],
  ]
  for (const [fault, token, expires_at_ms, token_type] of refused)
    test(`refused: ${fault} (${expires_at_ms}, ${token_type})`, () =>
      expect(judgeCredential({ token, expires_at_ms, token_type }, NOW)).toBe(fault as never))

  const taken: [bigint, string, number | null][] = [
    [0n, '', null],
    [0n, 'Bearer', null],
    [BigInt(NOW), 'bearer', NOW],
    [BigInt(NOW - 1000), 'BEARER', NOW - 1000],
    [BigInt(NOW + 300_000), 'Bearer', NOW + 300_000],
  ]
  for (const [expires_at_ms, token_type, expiresAtMs] of taken)
    test(`taken: expiry ${expires_at_ms}, type '${token_type}'`, () => {
      const answer = judgeCredential({ token: 'a.b-c_d~e+f/g=', expires_at_ms, token_type }, NOW)
      expect(answer).toEqual({ token: expect.any(Secret), expiresAtMs, tokenType: 'Bearer' })
    })
})
