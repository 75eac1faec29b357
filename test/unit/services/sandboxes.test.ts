import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { PassThrough } from 'node:stream'
import { gatherPage } from '../../../src/services/pages.ts'
import { type ObjectPage, type StoredObject, StoreFailure } from '../../../src/store/store.ts'
import { codec } from '../../../src/wire/codec.ts'
import { SandboxPhase, type Struct } from '../../../src/wire/messages.generated.ts'
import { createCapturedLog } from '../../kit/captured-log.ts'
import { driverFault } from '../../kit/memory-driver.ts'
import { createSandboxWorld, type SandboxWorld, settle } from '../../kit/sandbox-world.ts'

const { SANDBOX_PHASE_PROVISIONING: PROVISIONING, SANDBOX_PHASE_DELETING: DELETING } = SandboxPhase
const MISSING = 'NOT_FOUND: sandbox not found'

let world: SandboxWorld
beforeEach(async () => {
  world = await createSandboxWorld()
})
afterEach(() => world.close())

const count = (rpc: string) => world.driver.calls.filter(call => call.rpc === rpc).length

describe('create', () => {
  test('answers the record as it was built, always PROVISIONING (decision 28)', async () => {
    const { sandbox } = await world.call('CreateSandbox', { name: 'a', spec: {}, labels: { app: 'x' } })
    expect(sandbox?.phase).toBe(PROVISIONING)
    expect(sandbox?.status).toBeNull()
    expect(sandbox?.spec?.template?.image).toBe('base:1')
    expect(sandbox?.metadata?.labels).toEqual({ app: 'x' })
    expect((await world.call('GetSandbox', { name: 'a' })).sandbox).toEqual(sandbox)
  })

  test('checks in the fixed order: the first failure wins (spec/sandbox.md §2)', async () => {
    const spec = { providers: ['nope'], policy: { process: { run_as_user: 'root' } } }
    world.driver.on.set('validate', () => Promise.reject(driverFault('FAILED_PRECONDITION')))
    const ask = (request: object) => world.refusal('CreateSandbox', { name: 'x', ...request })
    expect(await ask({})).toBe('INVALID_ARGUMENT: spec is required')
    expect(await ask({ spec: { ...spec, log_level: 'l'.repeat(33) }, labels: { '': '' } })).toStartWith(
      'INVALID_ARGUMENT: log_level exceeds',
    )
    expect(await ask({ spec, labels: { '': '' } })).toBe('INVALID_ARGUMENT: label key cannot be empty')
    expect(await ask({ spec })).toBe("FAILED_PRECONDITION: provider 'nope' not found")
    expect(await ask({ spec: { policy: spec.policy } })).toBe(
      "INVALID_ARGUMENT: policy contains unsafe content: run_as_user must be 'sandbox', got 'root'",
    )
    expect(await ask({ spec: {} })).toBe('FAILED_PRECONDITION: driver says FAILED_PRECONDITION')
    expect(count('create')).toBe(0)
  })

  test('a taken name is ALREADY_EXISTS after the driver validated', async () => {
    await world.make('a')
    expect(await world.refusal('CreateSandbox', { name: 'a', spec: {} })).toBe(
      "ALREADY_EXISTS: sandbox 'a' already exists",
    )
    expect(count('validate')).toBe(2)
    expect(count('create')).toBe(1)
  })

  test('of eight at once with one name exactly one wins, and the driver makes one (S-10)', async () => {
    for (let round = 0; round < 200; round++) {
      const name = `race-${round}`
      const before = count('create')
      const answers = await Promise.all(
        Array.from({ length: 8 }, () => world.refusal('CreateSandbox', { name, spec: {} })),
      )
      expect(answers.filter(answer => answer === 'OK').length).toBe(1)
      expect(new Set(answers)).toEqual(new Set(['OK', `ALREADY_EXISTS: sandbox '${name}' already exists`]))
      expect(count('create') - before).toBe(1)
    }
  })

  test.each([
    ['ALREADY_EXISTS', 'ALREADY_EXISTS: sandbox already exists'],
    ['FAILED_PRECONDITION', 'FAILED_PRECONDITION: driver says FAILED_PRECONDITION'],
    ['INTERNAL', 'INTERNAL: create sandbox failed: driver says INTERNAL'],
    ['UNAVAILABLE', 'INTERNAL: create sandbox failed: driver says UNAVAILABLE'],
    ['INVALID_ARGUMENT', 'INTERNAL: create sandbox failed: driver says INVALID_ARGUMENT'],
  ] as const)('a driver that answers %s leaves nothing behind', async (kind, told) => {
    world.driver.on.set('create', () => Promise.reject(driverFault(kind)))
    expect(await world.refusal('CreateSandbox', { name: 'a', spec: {} })).toBe(told)
    expect(await world.phase('a')).toBe(MISSING)
    world.driver.on.clear()
    await world.make('a')
  })

  test('a lost answer of a driver that made the sandbox is a success (spec/drivers.md §1)', async () => {
    world.driver.makesBeforeFailing = true
    world.driver.on.set('create', () => Promise.reject(driverFault('UNAVAILABLE')))
    await world.make('a')
    expect(await world.phase('a')).toBe(PROVISIONING)
  })

  test('when nobody knows what the driver made, the record becomes a delete that is followed (S-11)', async () => {
    for (const rpc of ['create', 'get', 'list', 'delete'] as const)
      world.driver.on.set(rpc, () => Promise.reject(driverFault('UNAVAILABLE')))
    world.driver.makesBeforeFailing = true
    expect(await world.refusal('CreateSandbox', { name: 'a', spec: {} })).toStartWith('INTERNAL: create sandbox failed')
    expect(await world.phase('a')).toBe(DELETING)
    expect(world.driver.sandboxes.size).toBe(1)
    world.driver.on.clear()
    for (let step = 0; step < 5; step++) {
      world.clock.advance(30_000)
      await settle()
    }
    expect(await world.phase('a')).toBe(MISSING)
    expect(world.driver.sandboxes.size).toBe(0)
  })

  test('a client that goes away while the driver validates leaves nothing (W41)', async () => {
    const abort = new AbortController()
    world.driver.on.set('validate', () => abort.abort())
    expect(await world.refusal('CreateSandbox', { name: 'a', spec: {} }, { signal: abort.signal })).toStartWith(
      'CANCELLED',
    )
    expect(await world.phase('a')).toBe(MISSING)
    expect(count('create')).toBe(0)
  })

  test('a client that goes away while the driver creates changes nothing (W41)', async () => {
    const abort = new AbortController()
    world.driver.on.set('create', () => abort.abort())
    await world.call('CreateSandbox', { name: 'a', spec: {} }, { signal: abort.signal })
    expect(await world.phase('a')).toBe(PROVISIONING)
  })

  test('a delete while the driver creates leaves neither record nor sandbox (W42)', async () => {
    const go = Promise.withResolvers<void>()
    world.driver.on.set('create', () => go.promise)
    const creating = world.call('CreateSandbox', { name: 'a', spec: {} })
    await settle()
    expect(await world.phase('a')).toBe(PROVISIONING)
    expect((await world.call('DeleteSandbox', { name: 'a' })).deleted).toBe(false)
    go.resolve()
    expect((await creating).sandbox?.phase).toBe(DELETING)
    expect(await world.phase('a')).toBe(MISSING)
    expect(world.driver.sandboxes.size).toBe(0)
  })

  test('create against delete, 200 times at shifting moments: never a sandbox without a record', async () => {
    for (let round = 0; round < 200; round++) {
      const name = `r-${round}`
      const wait = async (turns: number) => {
        for (let turn = 0; turn < turns; turn++) await Promise.resolve()
      }
      world.driver.on.set('create', () => wait(round % 13))
      const creating = world.refusal('CreateSandbox', { name, spec: {} })
      await wait(round % 41)
      await world.refusal('DeleteSandbox', { name })
      await creating
      world.clock.advance(3000)
      await settle()
      const exists = (await world.phase(name)) !== MISSING
      expect([...world.driver.sandboxes.values()].some(sandbox => sandbox.name === name)).toBe(exists)
      if (exists) await world.call('DeleteSandbox', { name })
    }
  })

  test('without a driver that ever answered nothing is stored (decision 15)', async () => {
    world.driver.capabilities = null
    const told = 'UNAVAILABLE: compute driver is not available'
    expect(await world.refusal('CreateSandbox', { name: 'a', spec: {} })).toBe(told)
    expect(await world.phase('a')).toBe(MISSING)
  })

  test('hands out the derived secret only when told to, over a value of the user (decision 3)', async () => {
    const issuing = await createSandboxWorld({ deriveSandboxSecret: id => `secret-of-${id}` })
    const sent: string[] = []
    issuing.driver.on.set('create', () => {})
    const create = issuing.driver.createSandbox
    issuing.driver.createSandbox = async sandbox => {
      const { spec } = codec('openshell.compute.v1.DriverSandbox').decode(
        codec('openshell.compute.v1.DriverSandbox').encode(sandbox),
      )
      sent.push(spec!.environment['OPENSHELL_SSH_HANDSHAKE_SECRET']!)
      await create(sandbox)
    }
    const id = await issuing.make('a', { environment: { OPENSHELL_SSH_HANDSHAKE_SECRET: 'mine', A: '1' } })
    expect(sent).toEqual([`secret-of-${id}`])
    const { sandbox } = await issuing.call('GetSandbox', { name: 'a' })
    expect(sandbox?.spec?.environment['OPENSHELL_SSH_HANDSHAKE_SECRET']).toBe('mine')
    expect(issuing.lines.find(line => line.fields['names'])?.fields['names']).toEqual([
      'OPENSHELL_SSH_HANDSHAKE_SECRET',
    ])
    await issuing.close()
  })

  test('names that are keys of every object come back as they were (I-04)', async () => {
    const odd = Object.fromEntries(['constructor', 'toString', 'hasOwnProperty', ''].map(key => [key, 'v']))
    const environment = new Map([...Object.entries(odd), ['__proto__', 'v']])
    await world.make('constructor', { environment, template: { environment, annotations: environment } })
    const { sandbox } = await world.call('GetSandbox', { name: 'constructor' })
    const keys = Object.keys(sandbox!.spec!.environment).toSorted()
    expect(keys).toEqual(['', '__proto__', 'constructor', 'hasOwnProperty', 'toString'])
    const made = [...world.driver.sandboxes.values()][0]!
    expect(Object.keys(made.spec!.environment).toSorted()).toEqual(keys)
    const annotations = made.spec!.template!.platform_config!.fields['annotations']!.structValue!
    expect(Object.keys(annotations.fields).toSorted()).toEqual(keys)
  })

  test('I-07 numbers of a template reach the driver and the reader as they were sent', async () => {
    const sent = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 2 ** 53, 2 ** 53 + 2, 5e-324]
    const list = { listValue: { values: sent.map(numberValue => ({ numberValue })) } }
    await world.make('a', { template: { resources: { fields: { list } } } })
    const numbers = (struct: Struct | null | undefined) =>
      struct!.fields['list']!.listValue!.values.map(value => value.numberValue)
    const { sandbox } = await world.call('GetSandbox', { name: 'a' })
    expect(numbers(sandbox!.spec!.template!.resources)).toEqual(sent)
    const config = [...world.driver.sandboxes.values()][0]!.spec!.template!.platform_config!
    expect(numbers(config.fields['resources_raw']!.structValue)).toEqual(sent)
  })

  test('generated names are two words, and unique', async () => {
    const names = new Set<string>()
    for (let round = 0; round < 20; round++) {
      const { sandbox } = await world.call('CreateSandbox', { spec: {} })
      expect(sandbox!.metadata!.name).toMatch(/^[a-z]+-[a-z]+$/)
      names.add(sandbox!.metadata!.name)
    }
    expect(names.size).toBe(20)
  })
})

describe('get and list', () => {
  test('an id is not a name, and case counts', async () => {
    const id = await world.make('A')
    for (const name of [id, 'a', 'A ']) expect(await world.phase(name)).toBe(MISSING)
    expect(await world.phase('')).toBe('INVALID_ARGUMENT: name is required')
  })

  test('I-10 names are exact: letters that look alike, and both spellings of one letter, are others', async () => {
    const twins = ['\u00e9', 'e\u0301', 'admin', '\u0430dmin', 'Admin', '\u202eadmin', 'admin\u200b', '\ufffd']
    const ids = new Map<string, string>()
    for (const name of twins) ids.set(name, await world.make(name))
    for (const name of twins) {
      const { sandbox } = await world.call('GetSandbox', { name })
      expect([sandbox!.metadata!.name, sandbox!.metadata!.id]).toEqual([name, ids.get(name)!])
    }
  })

  test('I-09 any limit and offset is a page', async () => {
    for (const name of ['a', 'b']) await world.make(name)
    const count = async (rpc: 'ListSandboxes' | 'ListProviders', limit: number, offset: number) =>
      Object.values(await world.call(rpc, { limit, offset }))[0].length
    await world.call('CreateProvider', { provider: { metadata: { name: 'p' }, type: 'x', credentials: { K: 'v' } } })
    const most = 2 ** 32 - 1
    for (const limit of [0, most]) {
      expect([await count('ListSandboxes', limit, 0), await count('ListProviders', limit, 0)]).toEqual([2, 1])
      for (const offset of [2 ** 31, most])
        expect([await count('ListSandboxes', limit, offset), await count('ListProviders', limit, offset)]).toEqual([
          0, 0,
        ])
    }
  })

  test('lists by selector, with limit and offset counting matches', async () => {
    for (let n = 0; n < 6; n++) {
      await world.call('CreateSandbox', { name: `s${n}`, spec: {}, labels: { parity: n % 2 ? 'odd' : 'even', e: '' } })
      world.clock.advance(1)
    }
    const list = async (request: object) =>
      (await world.call('ListSandboxes', request)).sandboxes.map(sandbox => sandbox.metadata!.name)
    expect(await list({})).toEqual(['s0', 's1', 's2', 's3', 's4', 's5'])
    expect(await list({ label_selector: 'parity=even', limit: 1, offset: 1 })).toEqual(['s2'])
    expect(await list({ label_selector: ' e = , parity=odd,' })).toEqual(['s1', 's3', 's5'])
    expect(await list({ label_selector: ',' })).toHaveLength(6)
    expect(await world.refusal('ListSandboxes', { label_selector: 'a==b' })).toBe(
      "INVALID_ARGUMENT: label value contains invalid characters (must be alphanumeric, '-', '_', or '.'): '=b'",
    )
  })

  test('a damaged record is left out of a list and INTERNAL by name; alone on a page it is told (S-13)', async () => {
    await world.make('a')
    world.clock.advance(1)
    await world.store.transaction(tx =>
      tx.insert({ type: 'sandbox', id: 'broken', name: 'broken', payload: Uint8Array.of(0x0a, 0xff, 0xff) }),
    )
    expect((await world.call('ListSandboxes', {})).sandboxes).toHaveLength(1)
    expect(await world.refusal('ListSandboxes', { offset: 1 })).toStartWith('INTERNAL: decode sandbox failed')
    expect(await world.phase('broken')).toStartWith('INTERNAL: fetch sandbox failed')
  })

  test('a page ends before it is larger than clients accept, and is never empty (W25)', async () => {
    const policy = { network_policies: { r: { name: 'n'.repeat(250_000) } } }
    for (let n = 0; n < 16; n++) {
      await world.make(`big${n}`, { policy })
      world.clock.advance(1)
    }
    const first = (await world.call('ListSandboxes', {})).sandboxes
    expect(first.length).toBe(14)
    expect((await world.call('ListSandboxes', { offset: first.length })).sandboxes).toHaveLength(2)
  })

  test('of the slices of a page only the first looks for its place from the beginning (S-14)', async () => {
    const rows = Array.from({ length: 250 }, (_, n) => ({ createdAtMs: n, name: `s${n}` }) as StoredObject)
    const asked: ObjectPage[] = []
    const page = await gatherPage(
      { limit: 1000, offset: 20, mostBytes: Number.POSITIVE_INFINITY },
      async slice => {
        asked.push(slice)
        const begin = (slice.after ? rows.indexOf(slice.after as StoredObject) + 1 : 0) + slice.offset
        return rows.slice(begin, begin + slice.limit)
      },
      ({ name }) => ({ bytes: 1, name }),
    )
    expect(page.items.map(item => item.name)).toEqual(rows.slice(20).map(row => row.name))
    expect(asked.map(({ offset, after }) => [offset, after?.name])).toEqual([
      [20, undefined],
      [0, 's119'],
      [0, 's219'],
    ])
  })

  test('phase and policy version also stand where later clients look, once a status is there (decision 10)', async () => {
    const id = await world.make('a')
    await world.driver.say(id, { conditions: [{ type: 'Ready', status: 'True' }] })
    const row = await world.store.get('sandbox', id)
    const { emittedSandbox } = await import('../../../src/wire/sandbox-bytes.ts')
    const bytes = Buffer.concat(emittedSandbox(row!.payload))
    expect(codec('openshell.v1.Sandbox').decode(bytes)).toEqual(codec('openshell.v1.Sandbox').decode(row!.payload))
    expect(bytes.includes(Buffer.of(0x30, 2))).toBe(true)
    expect(bytes.length).toBe(row!.payload.length + 2)
  })
})

describe('delete', () => {
  test('accepted by the driver: DELETING until the driver is done, then nothing is left', async () => {
    const id = await world.make('a')
    expect((await world.call('DeleteSandbox', { name: 'a' })).deleted).toBe(true)
    expect(await world.phase('a')).toBe(DELETING)
    await world.driver.gone(id)
    expect(await world.phase('a')).toBe(MISSING)
  })

  test('what streams into a sandbox ends once the driver accepted the delete, however long it takes (W17)', async () => {
    const id = await world.make('a')
    const { supervisors, relays, tunnels } = world.live
    const caller = { proof: 'none', boundTo: null, fingerprint: null, address: 'a', connection: {} } as const
    const control = { listen() {}, pause() {}, send: async () => {} }
    void supervisors.serve({ sandboxId: id, instanceId: 'i' }, caller, control, createCapturedLog()).catch(() => {})
    const never = new AbortController().signal
    const [running, pending] = [await relays.open(id, 1, never), await relays.open(id, 1, never)]
    const relay = new PassThrough()
    relays.claim(running.channelId, caller)(relay)
    const tunnel = tunnels.admit({ id: 'session', sandboxId: id, expiresAtMs: 0 })!
    await world.call('DeleteSandbox', { name: 'a' })
    expect(await world.phase('a')).toBe(DELETING)
    expect([relay.destroyed, tunnel.signal.reason, relays.pending]).toEqual([true, 'sandbox gone', 0])
    await expect(pending.claimed).rejects.toThrow('relay channel dropped')
  })

  test('a driver that never reports the end is asked for it (W12)', async () => {
    await world.make('a')
    await world.call('DeleteSandbox', { name: 'a' })
    world.clock.advance(2000)
    await settle()
    expect(await world.phase('a')).toBe(MISSING)
  })

  test('what the driver does not have goes at once', async () => {
    const id = await world.make('a')
    world.driver.sandboxes.delete(id)
    expect((await world.call('DeleteSandbox', { name: 'a' })).deleted).toBe(false)
    expect(await world.phase('a')).toBe(MISSING)
  })

  test('an error for what is not there counts as gone, by the list as witness (spec/drivers.md §1)', async () => {
    const id = await world.make('a')
    world.driver.sandboxes.delete(id)
    world.driver.on.set('delete', () => Promise.reject(driverFault('INTERNAL')))
    expect((await world.call('DeleteSandbox', { name: 'a' })).deleted).toBe(false)
    expect(await world.phase('a')).toBe(MISSING)
  })

  test('a failed delete stays DELETING, is told, and goes on by itself (W12)', async () => {
    await world.make('a')
    world.driver.on.set('delete', () => Promise.reject(driverFault('UNAVAILABLE')))
    const told = 'INTERNAL: delete sandbox failed: driver says UNAVAILABLE'
    expect(await world.refusal('DeleteSandbox', { name: 'a' })).toBe(told)
    expect(await world.phase('a')).toBe(DELETING)
    world.driver.on.clear()
    for (let step = 0; step < 4; step++) {
      world.clock.advance(10_000)
      await settle()
    }
    expect(await world.phase('a')).toBe(MISSING)
    expect(world.driver.sandboxes.size).toBe(0)
  })

  test('every dependent row goes with the record, whoever deleted it (decision 19)', async () => {
    const id = await world.make('a')
    await world.store.transaction(async tx => {
      await tx.insert({ type: 'sandbox_settings', id: `settings:${id}`, name: 'a', payload: Buffer.from('{}') })
      await tx.insertPolicy({ sandboxId: id, version: 1, payload: new Uint8Array(), hash: 'h' })
    })
    await world.driver.gone(id)
    expect(await world.store.get('sandbox_settings', `settings:${id}`)).toBeNull()
    expect(await world.store.latestPolicy(id)).toBeNull()
  })

  test('a record that became ready again is not deleted behind its back', async () => {
    const id = await world.make('a')
    world.driver.on.set('delete', () => Promise.reject(driverFault('INTERNAL')))
    await world.refusal('DeleteSandbox', { name: 'a' })
    await world.driver.say(id, { conditions: [{ type: 'Ready', status: 'True' }] })
    world.driver.on.clear()
    world.clock.advance(60_000)
    await settle()
    expect(await world.phase('a')).toBe(SandboxPhase.SANDBOX_PHASE_READY)
    expect(world.driver.sandboxes.size).toBe(1)
  })
})

test.each([
  ['unavailable', 'UNAVAILABLE: storage unavailable'],
  ['damaged', 'INTERNAL: fetch sandbox failed: the database is damaged'],
] as const)('a store that is %s is told without its words (S-03, storage W14)', async (kind, told) => {
  world.store.getByName = () => Promise.reject(new StoreFailure(kind, 'secret path'))
  expect(await world.phase('a')).toBe(told)
})
