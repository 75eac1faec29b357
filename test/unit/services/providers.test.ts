import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import type { CredentialsDriver } from '../../../src/drivers/contract.ts'
import { codec } from '../../../src/wire/codec.ts'
import { driverFault } from '../../kit/memory-driver.ts'
import { createSandboxWorld, type SandboxWorld } from '../../kit/sandbox-world.ts'

let world: SandboxWorld
beforeEach(async () => {
  world = await createSandboxWorld()
})
afterEach(() => world.close())

const REFERENCE = 'openshell:resolve:credential:'
const create = (name: string, credentials: Record<string, string> = { K: 'canary' }, more: object = {}) =>
  world.call('CreateProvider', { provider: { metadata: { name, ...more }, type: 'generic', credentials } })
const refusal = (name: string, credentials: Record<string, string>) =>
  world.refusal('CreateProvider', { provider: { metadata: { name }, type: 'generic', credentials } })
const stored = async (name: string) => {
  const row = await world.store.getByName('provider', name)
  return codec('openshell.datamodel.v1.Provider').decode(row!.payload)
}

test('id and time are ours whatever the client sends (decision 21, W2)', async () => {
  const { provider } = await create('a', { K: 'v' }, { id: 'my own', created_at_ms: -5, labels: { a: 'b' } })
  expect(provider?.metadata?.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4/)
  expect(Number(provider?.metadata?.created_at_ms)).toBe(world.clock.nowMs())
  expect((await world.store.getByName('provider', 'a'))?.labels).toEqual(new Map([['a', 'b']]))
})

test('without a name it gets six letters', async () => {
  const { provider } = await world.call('CreateProvider', { provider: { type: 'x', credentials: { K: 'v' } } })
  expect(provider?.metadata?.name).toMatch(/^[a-z]{6}$/)
})

test('answers never hold a value, the store does', async () => {
  await create('a', { K: 'canary', EMPTY: '' })
  const answers = [
    await world.call('GetProvider', { name: 'a' }),
    await world.call('ListProviders', {}),
    await world.call('UpdateProvider', { provider: { metadata: { name: 'a' }, credentials: { L: 'canary' } } }),
  ]
  for (const [at, name] of (['ProviderResponse', 'ListProvidersResponse', 'ProviderResponse'] as const).entries())
    expect(
      codec(`openshell.v1.${name}`)
        .encode(answers[at] as never)
        .includes('canary'),
    ).toBe(false)
  expect(answers[0]).toMatchObject({ provider: { credentials: { K: 'REDACTED', EMPTY: 'REDACTED' } } })
  expect((await stored('a')).credentials).toEqual({ K: 'canary', EMPTY: '', L: 'canary' })
  expect(JSON.stringify(world.lines)).not.toContain('canary')
})

test('of eight creates of one name at once one wins, the others are ALREADY_EXISTS (W3)', async () => {
  for (let round = 0; round < 25; round++) {
    const answers = await Promise.all(Array.from({ length: 8 }, (_, n) => refusal(`race${round}`, { K: `${n}` })))
    expect(answers.filter(answer => answer === 'OK')).toHaveLength(1)
    expect(new Set(answers)).toEqual(new Set(['OK', 'ALREADY_EXISTS: provider already exists']))
  }
})

test('of many rotations at once none is lost (W4)', async () => {
  await create('a')
  const update = (n: number) =>
    world.call('UpdateProvider', { provider: { metadata: { name: 'a' }, credentials: { [`K${n}`]: 'v' } } })
  await Promise.all(Array.from({ length: 24 }, (_, n) => update(n)))
  expect(Object.keys((await stored('a')).credentials)).toHaveLength(25)
})

test('names, absence and deletion', async () => {
  await create('a')
  expect(await world.refusal('GetProvider', { name: 'A' })).toBe('NOT_FOUND: provider not found')
  expect(await world.refusal('GetProvider', {})).toBe('INVALID_ARGUMENT: name is required')
  expect(await world.refusal('UpdateProvider', { provider: {} })).toBe('INVALID_ARGUMENT: provider.name is required')
  expect(await world.refusal('UpdateProvider', { provider: { metadata: { name: 'b' } } })).toBe(
    'NOT_FOUND: provider not found',
  )
  expect((await world.call('DeleteProvider', { name: 'b' })).deleted).toBe(false)
  expect((await world.call('DeleteProvider', { name: 'a' })).deleted).toBe(true)
  await create('a')
})

test('I-05 a type is kept as it was sent, also one that every object has a member of', async () => {
  const types = ['__proto__', 'constructor', 'hasOwnProperty', 'toString']
  for (const [at, type] of types.entries())
    await world.call('CreateProvider', { provider: { metadata: { name: `p${at}` }, type, credentials: { K: 'v' } } })
  expect((await world.call('ListProviders', {})).providers.map(provider => provider.type)).toEqual(types)
})

describe('damaged records', () => {
  const damage = () =>
    world.store.transaction(tx =>
      tx.insert({ type: 'provider', id: 'x', name: 'broken', payload: Uint8Array.of(255, 255) }),
    )

  test('are left out of lists, INTERNAL by name, and can be deleted (W19)', async () => {
    await damage()
    await create('a')
    expect((await world.call('ListProviders', {})).providers).toHaveLength(1)
    expect(await world.refusal('ListProviders', { offset: 1 })).toStartWith('INTERNAL: decode provider failed')
    expect(await world.refusal('GetProvider', { name: 'broken' })).toStartWith('INTERNAL: fetch provider failed')
    expect(await refusal('broken', { K: 'v' })).toStartWith('INTERNAL: fetch provider failed')
    expect((await world.call('DeleteProvider', { name: 'broken' })).deleted).toBe(true)
  })
})

describe('references to held credentials (decision 4)', () => {
  const over = async (credentials: CredentialsDriver | null) => {
    await world.close()
    world = await createSandboxWorld({ credentials })
  }
  const driver = (list: CredentialsDriver['list']): CredentialsDriver => ({
    ...{ state: { status: 'ready' }, list, start: async () => {}, close: async () => {} },
    resolve: () => Promise.reject(new Error('not asked')),
  })

  test('without a driver they are refused', async () => {
    expect(await refusal('a', { K: `${REFERENCE}x` })).toBe('FAILED_PRECONDITION: no credentials driver is configured')
  })

  test('what the driver does not list is refused, on create and on update, by key and name', async () => {
    await over(driver(async () => [{ name: 'known', scopes: [] }]))
    await create('a', { K: `${REFERENCE}known` })
    const told = "INVALID_ARGUMENT: provider.credentials 'L' refers to the unknown credential 'nobody'"
    expect(await refusal('b', { L: `${REFERENCE}nobody` })).toBe(told)
    const update = { provider: { metadata: { name: 'a' }, credentials: { L: `${REFERENCE}nobody` } } }
    expect(await world.refusal('UpdateProvider', update)).toBe(told)
  })

  test('a driver that is away is no reason to refuse', async () => {
    await over(driver(() => Promise.reject(driverFault('UNAVAILABLE'))))
    expect(await refusal('a', { K: `${REFERENCE}x` })).toBe('OK')
  })
})
