import type { Http2Session } from 'node:http2'

/** Between two PINGs of one connection: far below what anyone takes for a flood. */
const EVERY_MS = 10
const PAYLOAD = Buffer.alloc(8)

interface Flushing {
  lastMs: number
  /** A look at the queue is due, or a PING is out whose answer does the same. */
  isUnderWay: boolean
}

const table = new WeakMap<Http2Session, Flushing>()

/**
 * Call it after a write. Bun's HTTP/2 engine queues what the window of a stream does not let through, and then queues
 * all that is written to the other streams of the connection behind it until something is received: a reader that stops
 * would hold up every other call of its connection, `relay_open` among them. A PING sends what may go, and its answer
 * what was written meanwhile.
 */
export function flushQueued(session: Http2Session | undefined): void {
  if (!session || session.destroyed) return
  const known = table.get(session)
  if (known?.isUnderWay) return
  const flushing = known ?? { lastMs: Number.NEGATIVE_INFINITY, isUnderWay: false }
  if (!known) table.set(session, flushing)
  flushing.isUnderWay = true
  setImmediate(look, session, flushing)
}

function look(session: Http2Session, flushing: Flushing): void {
  flushing.isUnderWay = false
  if (session.destroyed || !session.state.outboundQueueSize) return
  flushing.isUnderWay = true
  const waitMs = flushing.lastMs + EVERY_MS - performance.now()
  if (waitMs > 0) return void setTimeout(look, waitMs, session, flushing).unref()
  flushing.lastMs = performance.now()
  const over = () => {
    flushing.isUnderWay = false
  }
  try {
    if (!session.ping(PAYLOAD, over)) over()
  } catch {
    // A session that is closing takes no pings, and what it still has to send is on its way.
    over()
  }
}
