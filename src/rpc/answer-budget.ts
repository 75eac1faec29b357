import type { Http2Session } from 'node:http2'
import type { Clock } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'
import type { GatewayCall } from './call.ts'

/** Large answers from the moment they are made until their readers have taken them: they lie in memory. */
export interface AnswerBudget {
  /** Waits until a page may be made for `call`; false = readers have left no room for too long. */
  enter(call: GatewayCall): boolean | Promise<boolean>
  /** Records that `call` answers so many bytes; false = too much is waiting already. */
  hold(call: GatewayCall, bytes: number): boolean
  /** `call` is over, answered or not. */
  leave(call: GatewayCall): void
}

/**
 * Small answers never notice the budget. One connection can have half of it, so that a client that does not read
 * leaves room for others; a reader that takes nothing for a while loses its stream.
 */
export function createAnswerBudget(clock: Clock): AnswerBudget {
  const ofSession = new WeakMap<Http2Session, number>()
  /** Calls whose page is being made, and their connections: it counts as large as a page can be. */
  const making = new Map<GatewayCall, Http2Session>()
  const waiting = new Set<() => void>()
  let total = 0

  const bytesOf = (session: Http2Session) => ofSession.get(session) ?? 0

  const add = (session: Http2Session, bytes: number) => {
    total += bytes
    ofSession.set(session, bytesOf(session) + bytes)
  }

  /** The first one always does, however large: it would not have been made if nobody may have it. */
  const fits = (session: Http2Session, bytes: number) =>
    (bytesOf(session) === 0 || bytesOf(session) + bytes <= LIMITS.unreadBytes / 2) &&
    (total === 0 || total + bytes <= LIMITS.unreadBytes)

  const letIn = () => {
    for (const retry of waiting) retry()
  }

  const release = (session: Http2Session, bytes: number) => {
    add(session, -bytes)
    letIn()
  }

  return {
    enter(call) {
      const { session } = call.opening.stream
      if (!session) return false
      const take = () => {
        if (!fits(session, LIMITS.pageBytes)) return false
        add(session, LIMITS.pageBytes)
        making.set(call, session)
        return true
      }
      if (take()) return true
      return new Promise(resolve => {
        const settle = (isIn: boolean) => {
          late.cancel()
          waiting.delete(retry)
          resolve(isIn)
        }
        const retry = () => {
          if (call.ended) settle(false)
          else if (take()) settle(true)
        }
        const late = clock.after(LIMITS.unreadWaitMs, () => settle(false))
        waiting.add(retry)
      })
    },
    hold(call, bytes) {
      if (bytes <= LIMITS.answerUncountedBytes) return true
      const { stream } = call.opening
      const { session } = stream
      if (!session) return true
      if (making.delete(call)) add(session, -LIMITS.pageBytes)
      const isFitting = fits(session, bytes)
      if (isFitting) add(session, bytes)
      // It is rarely as large as a page can be: there may be room for another one.
      letIn()
      if (!isFitting) return false
      const late = clock.after(LIMITS.unreadMs, () => stream.destroy())
      stream.on('close', () => {
        late.cancel()
        release(session, bytes)
      })
      return true
    },
    leave(call) {
      const session = making.get(call)
      if (!session) return
      making.delete(call)
      release(session, LIMITS.pageBytes)
    },
  }
}
