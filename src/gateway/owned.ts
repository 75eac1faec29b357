import { errorText } from '../base/errors.ts'
import type { Logger } from '../observe/log.ts'

/** Closes what was opened, last first and once; each step is bounded by its owner and none stops the next. */
export class Owned {
  readonly #steps: { what: string; close: () => unknown }[] = []
  #closing: Promise<void> | null = null

  add<T>(what: string, thing: T, close: (thing: T) => unknown): T {
    this.#steps.push({ what, close: () => close(thing) })
    return thing
  }

  /** However often it is asked for, from whatever side the end comes. */
  closeAll(log: Logger): Promise<void> {
    this.#closing ??= this.#close(log)
    return this.#closing
  }

  async #close(log: Logger): Promise<void> {
    for (const { what, close } of this.#steps.reverse()) {
      try {
        await close()
      } catch (error) {
        log.error('not closed cleanly', { part: what, cause: errorText(error) })
      }
    }
  }
}
