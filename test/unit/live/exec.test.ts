/** ExecSandbox over SSH with a daemon by hand, which refuses, lies, falls silent or never stops (issue "Into the sandbox"). */
import { afterEach, beforeEach, expect, jest, test } from 'bun:test'
import type { Duplex } from 'node:stream'
import { type Connection, Server, type ServerChannel, type Session, utils } from 'ssh2'
import { GatewayError } from '../../../src/base/errors.ts'
import { LIMITS } from '../../../src/limits.ts'
import { type ExecJob, runExec } from '../../../src/live/exec.ts'
import { createDuplexPair } from '../../../src/net/duplex-pair.ts'
import type { Init } from '../../../src/wire/codec.ts'
import type { ExecSandboxEvent } from '../../../src/wire/messages.generated.ts'
import { createFakeClock, type FakeClock, until } from '../../kit/clock.ts'

const { private: HOST_KEY } = utils.generateKeyPairSync('ecdsa', { bits: 256 })
const KIB = 1024
const MIB = KIB * KIB
/** What a real sandbox's daemon does not do is ask whether its client lives. */
const NEVER = 0x7fffffff
const LOST = 'UNAVAILABLE: relay channel dropped'

let clock: FakeClock
beforeEach(() => {
  clock = createFakeClock()
})
afterEach(() => jest.useRealTimers())

/** The parts of ssh2's channel that send a packet as it is. */
interface Inside {
  readonly _client: { readonly _protocol: { channelData(channel: number, data: Buffer): void } }
  readonly outgoing: { readonly id: number }
}

/** What the daemon does with a session, or with the one channel that was asked for. */
interface Daemon {
  session?(session: Session): void
  exec?(channel: ServerChannel, connection: Connection): void
}

interface Running {
  readonly events: Init<ExecSandboxEvent>[]
  /** `exit N`, or the status it ended with. */
  readonly end: Promise<string>
  /** The daemon's end of the relay. */
  readonly far: Duplex
  /** The gateway's end of the relay. */
  readonly relay: Duplex
  /** Bytes of output that the caller has taken. */
  taken(): number
  /** How often the daemon received a message of which its library says this. */
  heard(what: string): number
}

const turn = () => new Promise<void>(resolve => setImmediate(resolve))

function run(daemon: Daemon, job: Partial<ExecJob> = {}, take: () => Promise<void> = async () => {}): Running {
  const [relay, far] = createDuplexPair()
  const inbound: string[] = []
  const debug = (line: string) => line.includes('Inbound: ') && inbound.push(line)
  const server = new Server({ hostKeys: [HOST_KEY], keepaliveInterval: NEVER, debug }, connection => {
    connection.on('error', () => {})
    connection.on('authentication', attempt => attempt.accept())
    connection.on('request', (_accept, reject) => reject?.())
    connection.on('session', accept => {
      const session = accept()
      session.on('pty', accept => accept?.())
      daemon.session?.(session)
      if (daemon.exec) session.on('exec', accept => daemon.exec!(accept(), connection))
    })
  })
  far.on('error', () => {})
  server.injectSocket(far as never)
  const events: Init<ExecSandboxEvent>[] = []
  const write = async (event: Init<ExecSandboxEvent>) => {
    await take()
    events.push(event)
  }
  const around = { clock, signal: new AbortController().signal, write }
  const end = runExec(relay, { line: 'x', stdin: Buffer.alloc(0), tty: false, timeoutMs: 0, ...job }, around).then(
    () => `exit ${events.at(-1)?.exit?.exit_code}`,
    error => {
      if (!(error instanceof GatewayError)) throw error
      return `${error.kind}: ${error.publicText}`
    },
  )
  const taken = () => events.reduce((sum, event) => sum + (event.stdout?.data?.length ?? 0), 0)
  const heard = (what: string) => inbound.filter(line => line.includes(what)).length
  return { events, end, far, relay, taken, heard }
}

/** Writes so many bytes as the channel takes them, then calls `then`. */
function pour(channel: ServerChannel, bytes: number, then: () => void): void {
  channel.on('error', () => {})
  const go = (left: number): void => {
    if (left === 0) return then()
    const size = Math.min(left, 16 * KIB)
    channel.write(Buffer.alloc(size, 'x'), () => go(left - size))
  }
  go(bytes)
}

const finish = (channel: ServerChannel, code: number) => {
  channel.exit(code)
  channel.end()
}

/** Lets so many seconds pass for everyone, and what they do in each of them. */
async function pass(seconds: number): Promise<void> {
  for (let second = 0; second < seconds; second++) {
    clock.advance(1000)
    jest.advanceTimersByTime(1000)
    for (let turns = 0; turns < 12; turns++) await turn()
  }
}

test('an exec that the daemon refuses is over at once (W37)', async () => {
  const daemon = { session: (session: Session) => session.on('exec', (_accept, reject) => reject?.()) }
  expect(await run(daemon).end).toBe('INTERNAL: failed to execute command over ssh: Unable to exec')
})

test('a terminal that the daemon refuses is told as what it is', async () => {
  const daemon = {
    session(session: Session) {
      session.removeAllListeners('pty')
      session.on('pty', (_accept, reject) => reject?.())
    },
  }
  expect(await run(daemon, { tty: true }).end).toStartWith('INTERNAL: failed to allocate PTY: ')
})

test('an exec request that is never answered is over after 30 s', async () => {
  const asked = Promise.withResolvers<void>()
  const { end } = run({ session: session => void session.on('exec', () => asked.resolve()) })
  await asked.promise
  clock.advance(LIMITS.execReplyMs)
  expect(await end).toBe('INTERNAL: failed to execute command over ssh: no answer')
})

test('an exit status that no close follows is the answer half a second later (W23, W37)', async () => {
  const { end, events } = run({ exec: channel => void channel.write('out', () => channel.exit(3)) })
  await until(() => events.length === 1)
  for (let turns = 0; turns < 20; turns++) await turn()
  clock.advance(LIMITS.execCloseMs)
  expect(await end).toBe('exit 3')
})

test('output behind the exit status arrives whole, however slowly it is read', async () => {
  const slow = async () => {
    for (let turns = 0; turns < 30; turns++) await turn()
    clock.advance(LIMITS.execCloseMs)
  }
  const daemon = {
    exec(channel: ServerChannel) {
      channel.exit(0)
      pour(channel, 4 * MIB, () => channel.end())
    },
  }
  const { end, taken } = run(daemon, {}, slow)
  expect(await end).toBe('exit 0')
  expect(taken()).toBe(4 * MIB)
})

test.each(['reads', 'does not read'])(
  'a command over its time is told to end, also when its caller %s (W20)',
  async how => {
    const started = Promise.withResolvers<void>()
    const reads = Promise.withResolvers<void>()
    if (how === 'reads') reads.resolve()
    const daemon = { exec: (channel: ServerChannel) => void channel.write('x', () => started.resolve()) }
    const { end, heard } = run(daemon, { timeoutMs: 5000 }, () => reads.promise)
    await started.promise
    for (let turns = 0; turns < 20; turns++) await turn()
    clock.advance(5000)
    await until(() => heard('CHANNEL_CLOSE') > 0)
    expect(heard('signal: TERM')).toBe(1)
    reads.resolve()
    expect(await end).toBe('exit 124')
  },
)

test('a channel that closes without an exit status is UNAVAILABLE, never an exit code (W22)', async () => {
  expect(await run({ exec: channel => void channel.close() }).end).toBe(LOST)
})

test.each([
  ['reset', 'handshake'],
  ['reset', 'command'],
  ['cut', 'handshake'],
  ['cut', 'command'],
])('a relay that is %s in the %s is UNAVAILABLE (R-04)', async (how, when) => {
  const started = Promise.withResolvers<void>()
  const { end, relay } = run({ exec: () => started.resolve() })
  if (when === 'command') await started.promise
  else await turn()
  relay.destroy(how === 'reset' ? new Error('reset') : undefined)
  expect(await end).toBe(LOST)
})

test('a daemon that says good-bye in the handshake is told as what it is', async () => {
  const { end, far } = run({})
  await turn()
  far.end()
  expect(await end).toBe('INTERNAL: failed to establish ssh transport: disconnected')
})

test('a command that is silent for over 600 s goes on: its daemon hears from the gateway meanwhile (W21)', async () => {
  jest.useFakeTimers()
  const started = Promise.withResolvers<ServerChannel>()
  const { end, far, events } = run({ exec: started.resolve })
  const channel = await started.promise
  let heardMs = clock.monotonicMs()
  let longestMs = 0
  far.on('data', () => {
    longestMs = Math.max(longestMs, clock.monotonicMs() - heardMs)
    heardMs = clock.monotonicMs()
  })
  await pass(700)
  // The daemon of a real sandbox gives a connection up that says nothing for 600 s.
  expect(longestMs).toBeGreaterThan(0)
  expect(Math.max(longestMs, clock.monotonicMs() - heardMs)).toBeLessThan(60_000)
  channel.write('late')
  finish(channel, 4)
  await pass(1)
  expect(await end).toBe('exit 4')
  expect(Buffer.from(events[0]!.stdout!.data!).toString()).toBe('late')
})

test('a daemon that falls silent, keep-alives and all, ends its exec within 90 s (W21)', async () => {
  jest.useFakeTimers()
  const started = Promise.withResolvers<void>()
  const { end, far } = run({ exec: () => started.resolve() })
  await started.promise
  await turn()
  far.removeAllListeners('data')
  far.resume()
  await pass(90)
  expect(await Promise.race([end, turn().then(() => 'runs')])).toBe(LOST)
})

test('output that outruns its reader is held back at the daemon, for 700 s if need be, and arrives whole (R-01)', async () => {
  jest.useFakeTimers()
  const gate = Promise.withResolvers<void>()
  let poured = 0
  const daemon = {
    exec(channel: ServerChannel) {
      const go = (): void => {
        if (poured === 64 * MIB) return finish(channel, 0)
        poured += 16 * KIB
        channel.write(Buffer.alloc(16 * KIB, 'x'), go)
      }
      go()
    },
  }
  const { end, taken } = run(daemon, {}, () => gate.promise)
  await pass(700)
  // One SSH window and what each side holds.
  expect(poured).toBeLessThan(4 * MIB)
  expect(taken()).toBe(0)
  gate.resolve()
  expect(await end).toBe('exit 0')
  expect(taken()).toBe(64 * MIB)
})

test.each([0, 1])('output in packets of %d bytes is held back no later than other output (R-01)', async size => {
  const daemon = {
    exec(channel: ServerChannel) {
      // The library's own way to write sends nothing for nothing.
      const { _client: connection, outgoing } = channel as unknown as Inside
      for (let packet = 0; packet < 20_000; packet++)
        connection._protocol.channelData(outgoing.id, Buffer.alloc(size, 'x'))
    },
  }
  const { relay } = run(daemon, {}, () => new Promise(() => {}))
  await until(() => relay.isPaused())
})

test('output goes on through key exchanges that the daemon starts, as after each GiB (W40)', async () => {
  let rekeyed = 0
  const daemon = {
    exec(channel: ServerChannel, connection: Connection) {
      const go = (left: number): void => {
        if (left === 0) return finish(channel, 0)
        connection.rekey(() => void rekeyed++)
        pour(channel, 2 * MIB, () => go(left - 1))
      }
      go(8)
    },
  }
  const { end, taken } = run(daemon)
  expect(await end).toBe('exit 0')
  expect([taken(), rekeyed]).toEqual([16 * MIB, 8])
})
