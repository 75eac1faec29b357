import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { LIMITS } from '../../../src/limits.ts'
import { codec } from '../../../src/wire/codec.ts'
import type { SandboxStreamEvent } from '../../../src/wire/messages.generated.ts'
import { createSandboxWorld, type SandboxWorld, settle } from '../../kit/sandbox-world.ts'

let world: SandboxWorld
beforeEach(async () => {
  world = await createSandboxWorld()
})
afterEach(() => world.close())

const PHASES = ['', 'PROVISIONING', 'READY', 'ERROR', 'DELETING', 'UNKNOWN']
const READY = { conditions: [{ type: 'Ready', status: 'True' }] }
const FAILED = { conditions: [{ type: 'Ready', status: 'False', reason: 'Failed' }] }

/** One event in one line. */
const brief = (event: SandboxStreamEvent): string => {
  if (event.sandbox) return `${PHASES[event.sandbox.phase]} ${event.sandbox.status?.agent_pod ?? ''}`.trim()
  if (event.log) return `log ${event.log.message}`
  if (event.event) return `event ${event.event.reason}`
  return `warning ${event.warning?.message}`
}
const push = (id: string, ...messages: string[]) =>
  world.push([{ sandbox_id: id, logs: messages.map(message => ({ message })) }])
const happen = (id: string, reason: string) =>
  world.driver.emit({ platform_event: { sandbox_id: id, event: { reason } } })

test('id is required, and unknown ids end with NOT_FOUND', async () => {
  const readers = [world.watch({ id: '' }), world.watch({ id: 'nope', follow_status: true })]
  await settle()
  expect(readers.map(reader => reader.end())).toEqual([
    'INVALID_ARGUMENT: id is required',
    'NOT_FOUND: sandbox not found',
  ])
})

describe('status', () => {
  test('a snapshot first, then one for each change, none for what changes nothing', async () => {
    const id = await world.make('a')
    const reader = world.watch({ id, follow_status: true })
    await settle()
    for (const status of [{ instance_id: '1' }, { instance_id: '1' }, { instance_id: '2', ...READY }]) {
      await world.driver.say(id, status)
      await settle()
    }
    expect(reader.events.map(brief)).toEqual(['PROVISIONING', 'PROVISIONING 1', 'READY 2'])
    reader.cancel()
  })

  test('a nudge sends a snapshot even of an unchanged record (policy calls)', async () => {
    const id = await world.make('a')
    const reader = world.watch({ id, follow_status: true })
    await settle()
    world.live.bus.notify(id)
    await settle()
    expect(reader.events.map(brief)).toEqual(['PROVISIONING', 'PROVISIONING'])
  })

  test('without flags only the first snapshot comes', async () => {
    const id = await world.make('a')
    const reader = world.watch({ id })
    await settle()
    await world.driver.say(id, READY)
    await settle()
    expect(reader.events).toHaveLength(1)
    expect(reader.end()).toBe('open')
  })

  test.each([
    ['READY', READY],
    ['ERROR', FAILED],
  ] as const)('stop_on_terminal ends at %s (W19)', async (phase, status) => {
    const id = await world.make('a')
    const reader = world.watch({ id, follow_status: true, stop_on_terminal: true })
    await settle()
    await world.driver.say(id, status)
    await settle()
    expect([...reader.events.map(brief), reader.end()]).toEqual(['PROVISIONING', phase, 'OK'])
  })

  test('a reader that stops gets the newest state when it reads on, and costs nothing meanwhile (R-01)', async () => {
    const id = await world.make('a')
    const reader = world.watch({ id, follow_status: true })
    await settle()
    reader.pause()
    for (let n = 0; n < 15; n++) await world.driver.say(id, { instance_id: `${n}` })
    reader.resume()
    await settle()
    const got = reader.events.map(brief)
    expect(got.length).toBeLessThanOrEqual(3)
    expect(got.at(-1)).toBe('PROVISIONING 14')
  })
})

describe('ends (spec/sandbox.md §5.2)', () => {
  const follow = {
    status: { follow_status: true },
    logs: { follow_logs: true },
    events: { follow_events: true },
    none: {},
  }

  test.each([
    ['status', 'OK'],
    ['logs', 'CANCELLED: stream closed'],
    ['events', 'CANCELLED: stream closed'],
    ['none', 'CANCELLED: stream closed'],
  ] as const)('removed by the driver while following %s: %s', async (what, end) => {
    const id = await world.make('a')
    const reader = world.watch({ id, ...follow[what] })
    await settle()
    await world.driver.gone(id)
    await settle()
    expect(reader.end()).toBe(end)
    expect(reader.events.filter(event => event.sandbox)).toHaveLength(1)
  })

  test.each([true, false])('DeleteSandbox, the driver having it: %p. DELETING comes before the end', async has => {
    const id = await world.make('a')
    const reader = world.watch({ id, follow_status: true })
    await settle()
    if (!has) world.driver.sandboxes.delete(id)
    await world.call('DeleteSandbox', { name: 'a' })
    await settle()
    expect([...reader.events.map(brief), reader.end()]).toEqual([
      'PROVISIONING',
      'DELETING',
      'CANCELLED: stream closed',
    ])
  })

  test("the driver's event before its answer to the delete ends OK", async () => {
    const id = await world.make('a')
    const reader = world.watch({ id, follow_status: true })
    await settle()
    world.driver.on.set('delete', () => world.driver.gone(id))
    await world.call('DeleteSandbox', { name: 'a' })
    await settle()
    expect([...reader.events.map(brief), reader.end()]).toEqual(['PROVISIONING', 'DELETING', 'OK'])
  })

  test('a client that leaves a quiet watch leaves nothing behind (W16)', async () => {
    const id = await world.make('a')
    const readers = Array.from({ length: 10 }, () => world.watch({ id }))
    await settle()
    expect(world.live.bus.watchers).toBe(10)
    for (const reader of readers) reader.cancel()
    await settle()
    expect(world.live.bus.watchers).toBe(0)
  })
})

describe('logs and events', () => {
  test('replay order: snapshot, logs, events; then live lines, none twice (W17)', async () => {
    const id = await world.make('a')
    await push(id, 'l1', 'l2')
    await happen(id, 'e1')
    const reader = world.watch({ id, follow_logs: true, follow_status: true, follow_events: true, log_tail_lines: 2 })
    await settle()
    await push(id, 'l3')
    await happen(id, 'e2')
    await settle()
    expect(reader.events.map(brief)).toEqual(['PROVISIONING', 'log l1', 'log l2', 'event e1', 'log l3', 'event e2'])
  })

  test('the whole log tail comes before the first event, also one that comes meanwhile', async () => {
    const id = await world.make('a')
    for (let batch = 0; batch < 3; batch++)
      await push(id, ...Array.from({ length: 100 }, (_, n) => `${batch * 100 + n}`))
    const reader = world.watch({ id, follow_logs: true, follow_events: true, log_tail_lines: 300 })
    await happen(id, 'end')
    await settle(100)
    expect(reader.events).toHaveLength(302)
    expect(brief(reader.events.at(-1)!)).toBe('event end')
  })

  test('I-09 tails and times at their edges give all there is, or nothing', async () => {
    const id = await world.make('a')
    await push(id, 'said')
    await happen(id, 'happened')
    const all = { id, follow_logs: true, follow_events: true, log_tail_lines: 2 ** 32 - 1, event_tail: 2 ** 32 - 1 }
    const readers = [-(2n ** 63n), 2n ** 63n - 1n].map(log_since_ms => world.watch({ ...all, log_since_ms }))
    await settle()
    const logs = readers.map(reader => reader.events.map(brief).filter(text => text === 'log said').length)
    const events = readers.map(reader => reader.events.map(brief).filter(text => text === 'event happened').length)
    expect([logs, events]).toEqual([
      [1, 0],
      [1, 1],
    ])
  })

  test('event_tail is honoured, 0 means fifty (W19)', async () => {
    const id = await world.make('a')
    for (let n = 0; n < 60; n++) await happen(id, `e${n}`)
    const readers = [world.watch({ id, follow_events: true }), world.watch({ id, follow_events: true, event_tail: 3 })]
    await settle()
    expect(readers.map(reader => reader.events.length)).toEqual([51, 4])
    expect(brief(readers[0]!.events[1]!)).toBe('event e10')
  })

  test('filters hold for replayed and live lines alike', async () => {
    const id = await world.make('a')
    const reader = world.watch({
      id,
      follow_logs: true,
      log_min_level: 'WARN',
      log_since_ms: 5000,
      log_sources: ['sandbox'],
    })
    await settle()
    const line = (level: string, message: string, timestamp_ms: number) => ({ level, message, timestamp_ms })
    await world.push([
      { sandbox_id: id, logs: [line('INFO', 'quiet', 9000), line('ERROR', 'old', 4000), line('warn', 'loud', 9000)] },
    ])
    await settle()
    expect(reader.events.slice(1).map(brief)).toEqual(['log loud'])
  })

  test('a reader too slow for the tail goes on, and is told what it missed (W18)', async () => {
    const id = await world.make('a')
    const reader = world.watch({ id, follow_logs: true })
    await settle()
    reader.pause()
    for (let batch = 0; batch < 25; batch++)
      await push(id, ...Array.from({ length: 100 }, (_, n) => `${batch * 100 + n}`))
    reader.resume()
    await settle(200)
    const got = reader.events.map(brief)
    expect(got.at(-1)).toBe('log 2499')
    expect(got).toContainEqual(expect.stringMatching(/^warning \d+ log lines were dropped/))
    const lines = got.filter(text => /^log \d/.test(text)).length
    const lost = Number(/\d+/.exec(got.find(text => text.startsWith('warning'))!)![0])
    expect(lines + lost).toBe(2500)
    expect(reader.end()).toBe('open')
  })

  test('events of an unknown sandbox are not kept (W20)', async () => {
    await happen('stray', 'e')
    expect(world.live.events.ring('stray')).toBeNull()
    expect(world.live.reconciler.unknownEvents).toBe(1)
  })
})

test('a user may hold so many watches and no more', async () => {
  const id = await world.make('a')
  const principal = { kind: 'user', subject: 's', issuer: 'i' } as never
  const readers = Array.from({ length: LIMITS.watchStreamsPerUser + 1 }, () => world.watch({ id }, { principal }))
  await settle()
  expect(readers.at(-1)!.end()).toBe('RESOURCE_EXHAUSTED: too many watch streams')
  readers[0]!.cancel()
  await settle()
  const next = world.watch({ id }, { principal })
  await settle()
  expect(next.end()).toBe('open')
})

/** The states of a record as they are stored from now on, whoever stores them: calls, driver and sweeps alike. */
async function recordHistory(id: string): Promise<{ readonly states: string[]; stop(): void }> {
  const { store } = world
  const own = store.transaction
  const states = [hex((await store.get('sandbox', id))!.payload)]
  store.transaction = async work => {
    let stored: Uint8Array | undefined
    const result = await own.call(store, async tx => {
      const done = await work(tx)
      stored = (await tx.get('sandbox', id))?.payload
      return done
    })
    if (stored && hex(stored) !== states.at(-1)) states.push(hex(stored))
    return result as never
  }
  const stop = () => {
    store.transaction = own
  }
  return { states, stop }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

test('watch promises hold for any history: snapshot first, in order, no repetition, the final state (R-02)', async () => {
  const act = fc.constantFrom('ready', 'failed', 'starting', 'connect', 'disconnect', 'same', 'pause', 'resume', 'turn')
  await fc.assert(
    fc.asyncProperty(fc.array(act, { maxLength: 30 }), async acts => {
      const id = await world.make(`w-${crypto.randomUUID()}`)
      const history = await recordHistory(id)
      const reader = world.watch({ id, follow_status: true })
      const seen = () => reader.events.map(event => hex(codec('openshell.v1.Sandbox').encode(event.sandbox!)))
      await settle(3)
      let n = 0
      for (const what of acts) {
        if (what === 'ready') await world.driver.say(id, { instance_id: `${n++}`, ...READY })
        if (what === 'failed') await world.driver.say(id, { instance_id: `${n++}`, ...FAILED })
        if (what === 'starting') await world.driver.say(id, { instance_id: `${n++}` })
        if (what === 'connect') await world.live.state.supervisorConnected(id, `s${n++}`)
        if (what === 'disconnect') await world.live.state.supervisorDisconnected(id, `s${n - 1}`)
        if (what === 'pause') reader.pause()
        if (what === 'resume') reader.resume()
        if (what === 'turn') await settle(1)
        world.clock.advance(1000)
      }
      reader.resume()
      // A sweep may still have the last word.
      await settle(10)
      for (let turn = 0; turn < 100 && seen().at(-1) !== history.states.at(-1); turn++) await settle(1)
      reader.cancel()
      history.stop()
      let at = -1
      for (const state of seen()) {
        const next = history.states.indexOf(state, at + 1)
        expect(next).toBeGreaterThan(at)
        at = next
      }
      expect(seen().at(-1)).toBe(history.states.at(-1)!)
      await world.driver.gone(id)
    }),
    { numRuns: 60 },
  )
})
