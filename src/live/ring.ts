/** One thing in a ring. */
export interface RingItem {
  /** Memory it is charged with. */
  readonly bytes: number
}

/**
 * The newest items of a sequence, bounded in number and bytes. Items are numbered from 0, so that a reader who keeps
 * the number of its next item never sees one twice and knows how many it missed (W17, W18).
 */
export class Ring<T extends RingItem> {
  readonly #items: (T | undefined)[] = []
  readonly #most: number
  #first = 0
  #next = 0
  #bytes = 0

  constructor(most: number) {
    this.#most = most
  }

  /** Number of the oldest item that is still there. */
  get first(): number {
    return this.#first
  }

  /** Number the next item will get. */
  get next(): number {
    return this.#next
  }

  get size(): number {
    return this.#next - this.#first
  }

  get bytes(): number {
    return this.#bytes
  }

  push(item: T): void {
    if (this.size === this.#most) this.shift()
    this.#items[this.#next % this.#most] = item
    this.#next++
    this.#bytes += item.bytes
  }

  /** Forgets the oldest item; says what memory that gave back. */
  shift(): number {
    if (this.size === 0) return 0
    const at = this.#first % this.#most
    const bytes = this.#items[at]!.bytes
    this.#items[at] = undefined
    this.#first++
    this.#bytes -= bytes
    return bytes
  }

  /** The item of a number, unless it is gone or has not come yet. */
  at(number: number): T | undefined {
    return number >= this.#first && number < this.#next ? this.#items[number % this.#most] : undefined
  }

  /** The newest `count` items, oldest first. */
  tail(count: number): T[] {
    const items: T[] = []
    for (let number = Math.max(this.#first, this.#next - count); number < this.#next; number++)
      items.push(this.at(number)!)
    return items
  }
}
