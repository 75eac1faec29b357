import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { LIMITS } from '../../../src/limits.ts'
import { codec } from '../../../src/wire/codec.ts'
import { SandboxPhase } from '../../../src/wire/messages.generated.ts'
import { createCapturedLog } from '../../kit/captured-log.ts'
import { driverFault } from '../../kit/memory-driver.ts'
import { createSandboxWorld, type SandboxWorld, settle } from '../../kit/sandbox-world.ts'

const {
  SANDBOX_PHASE_PROVISIONING: PROVISIONING,
  SANDBOX_PHASE_READY: READY,
  SANDBOX_PHASE_ERROR: ERROR,
} = SandboxPhase
const MISSING = 'NOT_FOUND: sandbox not found'
const IS_READY = { conditions: [{ type: 'Ready', status: 'True' }] }

let world: SandboxWorld
beforeEach(async () => {
  world = await createSandboxWorld()
})
afterEach(() => world.close())

/** Lets `minutes` of sweeps pass. */
const pass = async (minutes: number) => {
  for (let minute = 0; minute < minutes; minute++) {
    world.clock.advance(61_000)
    await settle()
  }
}
const writes = async (id: string, during: () => Promise<void>) => {
  let count = 0
  const real = world.store.transaction.bind(world.store)
  world.store.transaction = async work => {
    const before = await world.store.get('sandbox', id)
    const answer = await real(work)
    const after = await world.store.get('sandbox', id)
    if (before && after && Buffer.compare(before.payload, after.payload) !== 0) count++
    return answer
  }
  await during()
  return count
}

describe('what the driver says', () => {
  test('unknown ids never become records, late words about gone ones neither (W3)', async () => {
    await world.driver.say('11111111-2222-4333-8444-555555555555', IS_READY)
    const id = await world.make('a')
    await world.driver.gone(id)
    await world.driver.say(id, IS_READY)
    expect((await world.call('ListSandboxes', {})).sandboxes).toEqual([])
    expect(world.live.reconciler.unknownEvents).toBe(2)
  })

  test('the name stays ours (W6), spec and labels are kept', async () => {
    const id = await world.make('a', { environment: { A: '1' } })
    await world.driver.emit({ sandbox: { sandbox: { id, name: 'other', status: IS_READY } } })
    const { sandbox } = await world.call('GetSandbox', { name: 'a' })
    expect(sandbox?.metadata?.name).toBe('a')
    expect(sandbox?.spec?.environment).toEqual({ A: '1' })
    expect(sandbox?.phase).toBe(READY)
  })

  test('empty events are passed over', async () => {
    await world.make('a')
    for (const event of [
      {},
      { sandbox: {} },
      { deleted: {} },
      { platform_event: {} },
      { platform_event: { event: { reason: 'r' } } },
    ])
      await world.driver.emit(event)
    expect(await world.phase('a')).toBe(PROVISIONING)
  })

  test('ten thousand words in a second are a few writes, and the last one wins (D-09)', async () => {
    const id = await world.make('a')
    const count = await writes(id, async () => {
      for (let n = 0; n < 10_000; n++)
        await world.driver.emit({ sandbox: { sandbox: { id, status: { instance_id: `${n}` } } } })
      world.clock.advance(1000)
      await settle()
    })
    expect(count).toBeLessThanOrEqual(LIMITS.observationBurst + LIMITS.observationsPerSecond)
    expect((await world.call('GetSandbox', { name: 'a' })).sandbox?.status?.agent_pod).toBe('9999')
  })

  test('a failing store costs the event, not the watch', async () => {
    const id = await world.make('a')
    const real = world.store.get
    world.store.get = () => Promise.reject(new Error('away'))
    await world.driver.say(id, IS_READY)
    world.store.get = real
    await world.driver.say(id, { instance_id: 'x', ...IS_READY })
    expect(await world.phase('a')).toBe(READY)
  })
})

describe('sweeps', () => {
  test('the list is applied as it is, one get for nobody (W8)', async () => {
    const id = await world.make('a')
    const { sandboxes } = world.driver
    const shape = codec('openshell.compute.v1.DriverSandbox')
    sandboxes.set(id, shape.decode(shape.encode({ id, status: IS_READY })))
    world.clock.advance(10)
    world.driver.open()
    world.clock.advance(LIMITS.sweepLeastMs)
    await settle()
    expect(await world.phase('a')).toBe(READY)
    expect(world.driver.calls.some(call => call.rpc === 'get')).toBe(false)
  })

  test('a driver that lost everything loses no record in 300 s, and each after a check (D-11, W11)', async () => {
    for (const name of ['a', 'b']) {
      const id = await world.make(name)
      await world.driver.say(id, IS_READY)
    }
    world.driver.sandboxes.clear()
    await pass(4)
    expect((await world.call('ListSandboxes', {})).sandboxes).toHaveLength(2)
    await pass(3)
    expect((await world.call('ListSandboxes', {})).sandboxes).toEqual([])
    expect(world.driver.calls.filter(call => call.rpc === 'get')).toHaveLength(2)
  })

  test('one incomplete list among good ones removes nothing, however old the record (W11)', async () => {
    const id = await world.make('a')
    await world.driver.say(id, IS_READY)
    await pass(20)
    const kept = world.driver.sandboxes.get(id)!
    world.driver.sandboxes.clear()
    await pass(2)
    world.driver.sandboxes.set(id, kept)
    await pass(10)
    expect(await world.phase('a')).toBe(READY)
  })

  test('a check that fails keeps the record, and the others get their turn (W7)', async () => {
    const ids = [await world.make('a'), await world.make('b')]
    for (const id of ids) await world.driver.say(id, IS_READY)
    world.driver.sandboxes.clear()
    world.driver.on.set('get', id => (id === ids[0] ? Promise.reject(driverFault('INTERNAL')) : undefined))
    await pass(8)
    expect(await world.phase('a')).toBe(READY)
    expect(await world.phase('b')).toBe(MISSING)
  })

  test('more than five hundred are looked at (W9), strangers are counted and left alone (W10)', async () => {
    for (let n = 0; n < 620; n++) await world.make(`s${n}`)
    world.driver.sandboxes.clear()
    await world.driver.say('99999999-2222-4333-8444-555555555555', IS_READY)
    await pass(8)
    expect((await world.call('ListSandboxes', { limit: 1000 })).sandboxes).toEqual([])
    expect(world.live.reconciler.counts.strangers).toBe(1)
    expect(world.driver.sandboxes.size).toBe(1)
  })

  test('a word older than the record is not applied over it', async () => {
    const id = await world.make('a')
    world.driver.on.set('list', async () => {
      world.driver.on.clear()
      world.clock.advance(5)
      await world.live.state.supervisorConnected(id, 's')
    })
    world.driver.open()
    world.clock.advance(LIMITS.sweepLeastMs)
    await settle()
    expect(await world.phase('a')).toBe(READY)
  })

  test('a watch that flaps does not multiply sweeps (D-08)', async () => {
    for (let n = 0; n < 50; n++) {
      world.driver.open()
      world.clock.advance(100)
      await settle(2)
    }
    expect(world.driver.calls.filter(call => call.rpc === 'list').length).toBeLessThanOrEqual(4)
  })
})

describe('after a restart', () => {
  const record = (name: string, phase: number, id = crypto.randomUUID()) =>
    world.store.transaction(tx =>
      tx.insert({
        type: 'sandbox',
        id,
        name,
        payload: codec('openshell.v1.Sandbox').encode({
          metadata: { id, name },
          spec: { template: { image: 'i' } },
          phase,
        }),
      }),
    )

  test('a create the driver never heard of is handed to it (S-11)', async () => {
    await record('cut', PROVISIONING)
    world.clock.advance(10)
    const next = await createSandboxWorld({ after: world })
    next.driver.open()
    world.clock.advance(1)
    await settle()
    expect([...next.driver.sandboxes.values()].map(sandbox => sandbox.name)).toEqual(['cut'])
    expect(await next.phase('cut')).toBe(PROVISIONING)
  })

  test('a delete that was cut off goes on (S-11)', async () => {
    const row = await record('dying', SandboxPhase.SANDBOX_PHASE_DELETING)
    const shape = codec('openshell.compute.v1.DriverSandbox')
    world.driver.sandboxes.set(row.id, shape.decode(shape.encode({ id: row.id, name: 'dying' })))
    world.driver.open()
    await pass(4)
    expect(await world.phase('dying')).toBe(MISSING)
    expect(world.driver.sandboxes.size).toBe(0)
  })
})

describe('supervisor (spec/sandbox.md §9)', () => {
  test('connects: READY; goes: PROVISIONING; the old session of a newer one changes nothing (W36)', async () => {
    const id = await world.make('a')
    const { state } = world.live
    await state.supervisorConnected(id, 'one')
    expect(await world.phase('a')).toBe(READY)
    await state.supervisorConnected(id, 'two')
    await state.supervisorDisconnected(id, 'one')
    expect(await world.phase('a')).toBe(READY)
    await state.supervisorDisconnected(id, 'two')
    expect(await world.phase('a')).toBe(PROVISIONING)
  })

  test('connect and disconnect racing in any order leave what the last session says, 200 times', async () => {
    const id = await world.make('a')
    const { state } = world.live
    for (let round = 0; round < 200; round++) {
      await Promise.all([
        state.supervisorConnected(id, `old-${round}`),
        state.supervisorConnected(id, `new-${round}`),
        state.supervisorDisconnected(id, `old-${round}`),
      ])
      expect(await world.phase('a')).toBe(READY)
    }
  })

  test('while connected a starting driver means READY, a failed one ERROR', async () => {
    const id = await world.make('a')
    await world.live.state.supervisorConnected(id, 's')
    await world.driver.say(id, { conditions: [{ type: 'X' }, { type: 'Ready', status: 'False', reason: 'Starting' }] })
    expect(await world.phase('a')).toBe(READY)
    await world.driver.say(id, { conditions: [{ type: 'Ready', status: 'False', reason: 'Failed' }] })
    expect(await world.phase('a')).toBe(ERROR)
  })

  test('of an id without record it is forgotten, and told that its sandbox is gone (W15)', async () => {
    const caller = { proof: 'none', boundTo: null, fingerprint: null, address: 'a', connection: {} } as const
    const control = { listen() {}, pause() {}, send: async () => {} }
    const { state, supervisors } = world.live
    const serving = supervisors.serve({ sandboxId: 'nobody', instanceId: 'i' }, caller, control, createCapturedLog())
    await expect(serving).rejects.toMatchObject({ kind: 'NOT_FOUND', publicText: 'sandbox not found' })
    expect([state.isConnected('nobody'), supervisors.size]).toEqual([false, 0])
  })
})

test('a thousand changes of one record at once lose none (S-09)', async () => {
  const id = await world.make('a')
  await Promise.all(
    Array.from({ length: 1000 }, () =>
      world.live.state.mutate(id, sandbox => {
        const next = codec('openshell.v1.Sandbox').decode(codec('openshell.v1.Sandbox').encode(sandbox))
        next.current_policy_version++
        return next
      }),
    ),
  )
  expect((await world.call('GetSandbox', { name: 'a' })).sandbox?.current_policy_version).toBe(1000)
})
