import type { Duplex } from 'node:stream'
import type { Clock, Timer } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'

/** What went through. */
export interface PipedBytes {
  readonly up: number
  readonly down: number
}

/**
 * Joins two byte streams until both directions are over (spec/relay.md §5, §8). An end of one side half-closes the
 * other; an error or a close of one side closes the other at once, after what it has already taken. A reader that
 * stalls stalls its source. When one direction has ended and nothing moves in the other for `halfClosedMs`, both are
 * closed. Never rejects.
 */
export function joinStreams(client: Duplex, relay: Duplex, clock: Clock, signal?: AbortSignal): Promise<PipedBytes> {
  return new Promise(resolve => {
    const moved = { up: 0, down: 0 }
    let ended = 0
    let closed = 0
    let timer: Timer | null = null

    const destroyBoth = () => {
      client.destroy()
      relay.destroy()
    }
    const watchIdle = (seen: number) => {
      timer = clock.after(LIMITS.halfClosedMs, () =>
        moved.up + moved.down === seen ? destroyBoth() : watchIdle(moved.up + moved.down),
      )
    }
    const pump = (from: Duplex, to: Duplex, direction: 'up' | 'down') => {
      from.on('data', (chunk: Buffer) => {
        moved[direction] += chunk.length
        if (!to.destroyed && !to.writableEnded && !to.write(chunk)) from.pause()
      })
      to.on('drain', () => from.resume())
      from.once('end', () => {
        if (!to.destroyed) to.end()
        if (++ended === 1) watchIdle(moved.up + moved.down)
      })
      from.on('error', () => {})
      from.once('close', () => {
        if (++closed === 2) {
          timer?.cancel()
          signal?.removeEventListener('abort', destroyBoth)
          resolve(moved)
        }
        if (to.destroyed) return
        // What the other side was already given still goes out, then it is over.
        if (from.readableEnded && from.writableFinished) return
        if (to.writableEnded) to.destroy()
        else to.end(() => to.destroy())
        clock.after(LIMITS.relayLingerMs, () => to.destroy())
      })
    }

    pump(client, relay, 'up')
    pump(relay, client, 'down')
    // A stream that was paused on purpose does not start by itself.
    client.resume()
    relay.resume()
    signal?.addEventListener('abort', destroyBoth, { once: true })
    if (signal?.aborted) destroyBoth()
  })
}
