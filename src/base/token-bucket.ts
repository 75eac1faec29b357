/** Allows a burst, then a steady rate. */
export interface TokenBucket {
  /** Takes up to `wanted` tokens and says how many it got. */
  take(wanted: number): number
  /** Milliseconds until one token is there; 0 when one is. */
  waitMs(): number
}

/** `nowMs` is monotonic time. */
export const createTokenBucket = (burst: number, perSecond: number, nowMs: () => number): TokenBucket =>
  new Bucket(burst, perSecond, nowMs)

/** A class, not closures: every connection has some. */
class Bucket implements TokenBucket {
  readonly #burst: number
  readonly #perSecond: number
  readonly #nowMs: () => number
  #tokens: number
  #atMs: number

  constructor(burst: number, perSecond: number, nowMs: () => number) {
    this.#burst = this.#tokens = burst
    this.#perSecond = perSecond
    this.#nowMs = nowMs
    this.#atMs = nowMs()
  }

  #refill(): void {
    const now = this.#nowMs()
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#atMs) / 1000) * this.#perSecond)
    this.#atMs = now
  }

  take(wanted: number): number {
    this.#refill()
    const got = Math.min(wanted, Math.floor(this.#tokens))
    this.#tokens -= got
    return got
  }

  waitMs(): number {
    this.#refill()
    return this.#tokens >= 1 ? 0 : Math.ceil(((1 - this.#tokens) / this.#perSecond) * 1000)
  }
}
