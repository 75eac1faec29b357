import { beforeEach, expect, test } from 'bun:test'
import { Duplex } from 'node:stream'
import type { SupervisorCaller } from '../../../src/domain/supervisor-identity.ts'
import { LIMITS } from '../../../src/limits.ts'
import { createRelays, type Relays } from '../../../src/live/relays.ts'
import type { ControlStream } from '../../../src/live/supervisor-session.ts'
import { createSupervisors, type Supervisors } from '../../../src/live/supervisors.ts'
import { createTunnels } from '../../../src/live/tunnels.ts'
import type { Init } from '../../../src/wire/codec.ts'
import type { GatewayMessage, SupervisorMessage } from '../../../src/wire/messages.generated.ts'
import { createCapturedLog } from '../../kit/captured-log.ts'
import { createFakeClock } from '../../kit/clock.ts'

const HERE = {}
const caller = (change: Partial<SupervisorCaller> = {}): SupervisorCaller => ({
  proof: 'none',
  boundTo: null,
  fingerprint: null,
  address: '127.0.0.1',
  connection: HERE,
  ...change,
})

/** A supervisor by hand: what it was sent, what it says, and how its stream ended. */
interface Hand {
  readonly sent: Init<GatewayMessage>[]
  readonly opens: () => string[]
  readonly over: Promise<string>
  say(message: Init<SupervisorMessage> & { payload: string }): void
  leave(): void
}

let clock: ReturnType<typeof createFakeClock>
let supervisors: Supervisors
let relays: Relays
let phases: string[]
const never = new AbortController().signal

beforeEach(() => {
  clock = createFakeClock()
  phases = []
  const log = createCapturedLog()
  const phase = {
    supervisorConnected: (id: string) => void phases.push(`+${id}`),
    supervisorDisconnected: (id: string) => void phases.push(`-${id}`),
  }
  supervisors = createSupervisors({ clock, log, phase })
  relays = createRelays({ clock, log, supervisors })
})

const turn = () => new Promise<void>(resolve => setImmediate(resolve))

function connect(sandboxId: string, who = caller(), send?: (message: Init<GatewayMessage>) => Promise<void>): Hand {
  const sent: Init<GatewayMessage>[] = []
  let put = (_item: SupervisorMessage | null): void => {}
  const stream: ControlStream = {
    listen(take, over) {
      put = item => (item ? take(item) : over(null))
    },
    pause() {},
    send: send ?? (async message => void sent.push(message)),
  }
  const over = supervisors.serve({ sandboxId, instanceId: 'i' }, who, stream, createCapturedLog()).then(
    () => 'OK',
    error => `${error.kind}: ${error.publicText}`,
  )
  return {
    sent,
    opens: () => sent.flatMap(message => (message.relay_open ? [message.relay_open.channel_id!] : [])),
    over,
    say: message => put(message as SupervisorMessage),
    leave: () => put(null),
  }
}

const failure = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'resolved',
    error => `${error.kind}: ${error.publicText}`,
  )
const bytes = () => new Duplex({ read() {}, write: (_c, _e, done) => done() })

test('a relay is announced, claimed once, and its bytes reach the requester', async () => {
  const hand = connect('s')
  const relay = await relays.open('s', 1000, never)
  await turn()
  expect(hand.sent.map(message => Object.keys(message)[0])).toEqual(['session_accepted', 'relay_open'])
  const end = bytes()
  relays.claim(hand.opens()[0]!, caller())(end)
  expect(await relay.claimed).toBe(end)
  expect([relays.pending, relays.running]).toEqual([0, 1])
  expect(() => relays.claim(hand.opens()[0]!, caller())).toThrow('unknown or expired relay channel')
  end.destroy()
  await turn()
  expect(relays.running).toBe(0)
})

test('a relay that nobody claims fails after 10 s and leaves nothing (R-05)', async () => {
  connect('s')
  const relay = await relays.open('s', 1000, never)
  const failed = failure(relay.claimed)
  clock.advance(9_999)
  expect(relays.pending).toBe(1)
  clock.advance(1)
  expect(await failed).toBe('DEADLINE_EXCEEDED: relay open timed out')
  expect(relays.pending).toBe(0)
})

test('a requester that leaves takes its relay with it (W10)', async () => {
  const hand = connect('s')
  const abort = new AbortController()
  const relay = await relays.open('s', 1000, abort.signal)
  abort.abort()
  expect(await failure(relay.claimed)).toBe('CANCELLED: relay requester dropped')
  expect(relays.pending).toBe(0)
  await turn()
  expect(hand.sent.at(-1)).toEqual({ relay_close: { channel_id: relay.channelId, reason: 'relay requester dropped' } })
})

test('32 of one sandbox and 256 in all may wait; another sandbox is free until then', async () => {
  for (let s = 0; s < 9; s++) {
    const hand = connect(`s${s}`)
    await turn()
    for (let i = 0; i < 32 && s < 8; i++) {
      await relays.open(`s${s}`, 1000, never)
      await turn()
    }
    if (s === 0)
      expect(await failure(relays.open('s0', 1000, never))).toBe(
        'RESOURCE_EXHAUSTED: per-sandbox relay limit reached (32 in flight for s0)',
      )
    if (s < 8) expect(hand.opens().length).toBe(32)
  }
  expect(relays.pending).toBe(256)
  expect(await failure(relays.open('s8', 1000, never))).toBe(
    'RESOURCE_EXHAUSTED: gateway relay capacity reached (256 in flight)',
  )
})

test('without a supervisor the wait ends at its limit; one that comes ends it at once (W12)', async () => {
  const failed = failure(relays.open('s', 15_000, never))
  clock.advance(15_000)
  expect(await failed).toBe('UNAVAILABLE: supervisor session not connected')
  const opening = relays.open('s', 15_000, never)
  connect('s')
  expect((await opening).channelId).toMatch(/^[0-9a-f-]{36}$/)
})

test('pending relays are announced again to whoever comes next, with the same id (W13)', async () => {
  const first = connect('s')
  const relay = await relays.open('s', 1000, never)
  first.leave()
  expect(await first.over).toBe('OK')
  const second = connect('s')
  await turn()
  expect(second.opens()).toEqual([relay.channelId])
})

test('a supervisor that declines fails the relay at once, but only its own (W14)', async () => {
  const other = connect('other')
  const hand = connect('s')
  const relay = await relays.open('s', 1000, never)
  const refusal = {
    payload: 'relay_open_result',
    relay_open_result: { channel_id: relay.channelId, success: false, error: 'no' },
  } as const
  other.say(refusal)
  await turn()
  expect(relays.pending).toBe(1)
  hand.say(refusal)
  expect(await failure(relay.claimed)).toBe('UNAVAILABLE: relay channel dropped')
})

test.each([
  ['another sandbox’s own secret', caller({ proof: 'derived', boundTo: 'other', connection: {} })],
  ['nothing, where the sandbox’s secret announced it', caller({ connection: {} })],
  ['the fleet’s secret', caller({ proof: 'master', connection: {} })],
  ['another certificate', caller({ proof: 'certificate', fingerprint: 'b', connection: {} })],
])('a claim with %s finds nothing and takes nothing (R-06)', async (_name, claimer) => {
  connect('s', caller({ proof: 'derived', boundTo: 's', fingerprint: 'a' }))
  const relay = await relays.open('s', 1000, never)
  expect(() => relays.claim(relay.channelId, claimer)).toThrow('unknown or expired relay channel')
  expect(relays.pending).toBe(1)
  relays.claim(relay.channelId, caller({ proof: 'derived', boundTo: 's', connection: {} }))
  expect(relays.pending).toBe(0)
})

test('a new session ends the old one; the late end of the old does not touch the new (R-07)', async () => {
  const old = connect('s')
  const next = connect('s')
  expect(await old.over).toBe('OK')
  expect(supervisors.size).toBe(1)
  expect(phases).toEqual(['+s', '+s'])
  next.leave()
  await next.over
  expect(phases).toEqual(['+s', '+s', '-s'])
  expect(supervisors.size).toBe(0)
})

test('1 000 takeovers in a row keep exactly the newest session (R-07)', async () => {
  let last = connect('s')
  for (let i = 0; i < 1000; i++) {
    const next = connect('s')
    if (i % 3 === 0) last.leave()
    last = next
  }
  await turn()
  expect(supervisors.size).toBe(1)
  expect(phases.filter(phase => phase === '-s')).toEqual([])
})

test('a session bound to the sandbox is not taken over by less, and from elsewhere once in 5 s (A-12)', async () => {
  const bound = caller({ proof: 'derived', boundTo: 's' })
  connect('s', bound)
  expect(await connect('s', caller({ connection: {} })).over).toStartWith('PERMISSION_DENIED')
  expect(await connect('s', caller({ proof: 'master', connection: {} })).over).toStartWith('PERMISSION_DENIED')
  connect('s', caller({ ...bound, address: '10.0.0.2', connection: {} }))
  expect(await connect('s', caller({ ...bound, address: '10.0.0.3', connection: {} })).over).toStartWith(
    'RESOURCE_EXHAUSTED',
  )
  clock.advance(5000)
  connect('s', caller({ ...bound, address: '10.0.0.3', connection: {} }))
  expect(supervisors.current('s')!.caller.address).toBe('10.0.0.3')
})

test('heartbeats go out every 15 s; a supervisor that stops sending its own is dropped, one that never did is not (W8)', async () => {
  const quiet = connect('quiet')
  const hand = connect('s')
  hand.say({ payload: 'heartbeat', heartbeat: {} })
  await turn()
  for (let i = 0; i < 4; i++) {
    clock.advance(15_000)
    await turn()
  }
  expect(await hand.over).toBe('UNAVAILABLE: supervisor heartbeats missing')
  expect(quiet.sent.filter(message => message.heartbeat).length).toBe(4)
  expect(supervisors.size).toBe(1)
})

test('a process that is stopped for 5 s, whenever that is, takes no supervisor for dead (T-03)', async () => {
  /** Second by second, so that what is sent is also read. */
  const pass = async (seconds: number) => {
    for (let second = 0; second < seconds; second++) {
      await turn()
      clock.advance(1000)
    }
    await turn()
  }
  for (let second = 0; second <= LIMITS.heartbeatSecs; second++) {
    const hand = connect(`s${second}`)
    const isThere = () => supervisors.current(`s${second}`)?.isOver === false
    hand.say({ payload: 'heartbeat', heartbeat: {} })
    await pass(second)
    clock.stall(5000)
    // What fell due runs first; what the supervisor said meanwhile is read after that.
    clock.advance(0)
    expect(isThere()).toBe(true)
    for (let beats = 0; beats < 4; beats++) {
      hand.say({ payload: 'heartbeat', heartbeat: {} })
      await pass(LIMITS.heartbeatSecs)
    }
    expect(isThere()).toBe(true)
    hand.leave()
  }
})

test('a flood of messages ends the session (R-13)', async () => {
  const hand = connect('s')
  for (let i = 0; i < 201; i++) hand.say({ payload: 'heartbeat', heartbeat: {} })
  expect(await hand.over).toStartWith('RESOURCE_EXHAUSTED')
})

test('a supervisor that does not read is dropped, not queued for (W9)', async () => {
  const hand = connect('s', caller(), () => new Promise(() => {}))
  const opening = relays.open('s', 1000, never)
  await turn()
  clock.advance(10_000)
  // The send never returns: the session is out of the registry all the same.
  await turn()
  expect(supervisors.current('s')?.isOver ?? true).toBe(true)
  await opening.catch(() => {})
  void hand
})

test('a sandbox that goes takes session, waiters, pending and running relays along', async () => {
  const hand = connect('s')
  const pending = await relays.open('s', 1000, never)
  const running = await relays.open('s', 1000, never)
  const end = bytes()
  relays.claim(running.channelId, caller())(end)
  const failed = failure(pending.claimed)
  supervisors.drop('s')
  relays.drop('s')
  expect(await hand.over).toBe('NOT_FOUND: sandbox not found')
  expect(await failed).toBe('UNAVAILABLE: relay channel dropped')
  expect(end.destroyed).toBe(true)
})

test('a drain ends every session and refuses new ones (decision 23)', async () => {
  const hand = connect('s')
  supervisors.drain()
  expect(await hand.over).toBe('UNAVAILABLE: gateway shutting down')
  expect(await connect('s').over).toBe('UNAVAILABLE: gateway shutting down')
})

test('3 tunnels of a token and 20 of a sandbox; every place comes back, once (R-08)', () => {
  const tunnels = createTunnels(clock)
  const session = (id: string) => ({ id, sandboxId: 's', expiresAtMs: 0 })
  const slots = [1, 2, 3].map(() => tunnels.admit(session('a'))!)
  expect(tunnels.admit(session('a'))).toBeNull()
  for (let i = 0; i < 17; i++) slots.push(tunnels.admit(session(`b${i}`))!)
  expect(tunnels.admit(session('c'))).toBeNull()
  expect(tunnels.admit({ id: 'd', sandboxId: 'other', expiresAtMs: 0 })).not.toBeNull()
  for (const slot of slots) {
    slot.release()
    slot.release()
  }
  expect(tunnels.open).toBe(1)
  expect([1, 2, 3, 4].map(() => tunnels.admit(session('a')) !== null)).toEqual([true, true, true, false])
})

test('a tunnel ends with its session: revoked, expired or its sandbox gone (A-15)', () => {
  const tunnels = createTunnels(clock)
  const revoked = tunnels.admit({ id: 'a', sandboxId: 's', expiresAtMs: 0 })!
  const gone = tunnels.admit({ id: 'b', sandboxId: 't', expiresAtMs: 0 })!
  const expiring = tunnels.admit({ id: 'c', sandboxId: 's', expiresAtMs: clock.nowMs() + 60_000 })!
  tunnels.cutSession('a', 'revoked')
  tunnels.cutSandbox('t')
  clock.advance(60_000)
  expect(expiring.signal.aborted).toBe(false)
  clock.advance(1)
  expect([revoked, gone, expiring].map(slot => slot.signal.reason)).toEqual(['revoked', 'sandbox gone', 'expired'])
})
