import { isIPv6 } from 'node:net'
import { type Clock, sleep } from '../base/clock.ts'
import { LIMITS } from '../limits.ts'

/** The other end of a connection, as far as guarding against guesses needs it. */
export interface GuessingPeer {
  readonly address: string
  readonly connection: object
}

/**
 * Slows down who guesses secrets (A-10 of spec/auth.md, reliability A-08). It never keeps a right secret out: many
 * sandboxes may share one address, and one of them must not shut out the others.
 */
export interface FailureThrottle {
  /** Records a wrong secret; true when this address has used up its tries. */
  recordFailure(peer: GuessingPeer): boolean
  isOverBudget(address: string): boolean
  /** Resolves when an answer to an address over its budget may be given. */
  holdBack(): Promise<void>
}

/** `onAbuse` is told about a connection with so many wrong secrets that it should be closed. */
export function createFailureThrottle(clock: Clock, onAbuse: (peer: GuessingPeer) => void = () => {}): FailureThrottle {
  const windows = new Map<string, { startedMs: number; failures: number }>()
  const perConnection = new WeakMap<object, number>()
  let heldBack = 0

  const windowOf = (address: string) => {
    const found = windows.get(address)
    return found && clock.monotonicMs() - found.startedMs < LIMITS.secretFailureWindowMs ? found : undefined
  }

  return {
    recordFailure(peer) {
      const address = networkOf(peer.address)
      const window = windowOf(address) ?? { startedMs: clock.monotonicMs(), failures: 0 }
      window.failures++
      windows.delete(address)
      windows.set(address, window)
      if (windows.size > LIMITS.secretAddresses) windows.delete(windows.keys().next().value!)
      const failures = (perConnection.get(peer.connection) ?? 0) + 1
      perConnection.set(peer.connection, failures)
      if (failures === LIMITS.secretFailuresPerConnection) onAbuse(peer)
      return window.failures > LIMITS.secretFailures
    },
    isOverBudget: address => (windowOf(networkOf(address))?.failures ?? 0) >= LIMITS.secretFailures,
    async holdBack() {
      if (heldBack >= LIMITS.secretPenalties) return
      heldBack++
      await sleep(clock, LIMITS.secretPenaltyMs)
      heldBack--
    },
  }
}

/** The address, or for IPv6 the /64 it is in: one host owns all of it. */
function networkOf(address: string): string {
  if (!isIPv6(address) || address.startsWith('::ffff:')) return address
  const [head = '', tail] = address.split('::', 2)
  const front = head === '' ? [] : head.split(':')
  const back = tail ? tail.split(':') : []
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - front.length - back.length)
  return [...front, ...Array<string>(zeros).fill('0'), ...back].slice(0, 4).join(':')
}
