import { createHash, timingSafeEqual } from 'node:crypto'

const HIDDEN = '[secret]'

/** A value that cannot be printed, logged or serialized by accident; only `reveal()` gives it out (P-09). */
export class Secret {
  readonly #value: string

  constructor(value: string) {
    this.#value = value
  }

  reveal(): string {
    return this.#value
  }

  /** Compares in constant time, whatever the lengths. */
  equals(other: string): boolean {
    return timingSafeEqual(digest(this.#value), digest(other))
  }

  toString(): string {
    return HIDDEN
  }

  toJSON(): string {
    return HIDDEN
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return HIDDEN
  }
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
