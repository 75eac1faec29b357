/** Allows a burst, then a steady rate. */
export interface TokenBucket {
  /** Takes up to `wanted` tokens and says how many it got. */
  take(wanted: number): number
  /** Milliseconds until one token is there; 0 when one is. */
  waitMs(): number
}

/** `nowMs` is monotonic time. */
export function createTokenBucket(burst: number, perSecond: number, nowMs: () => number): TokenBucket {
  let tokens = burst
  let at = nowMs()
  const refill = () => {
    const now = nowMs()
    tokens = Math.min(burst, tokens + ((now - at) / 1000) * perSecond)
    at = now
  }
  return {
    take(wanted) {
      refill()
      const got = Math.min(wanted, Math.floor(tokens))
      tokens -= got
      return got
    },
    waitMs() {
      refill()
      return tokens >= 1 ? 0 : Math.ceil(((1 - tokens) / perSecond) * 1000)
    },
  }
}
