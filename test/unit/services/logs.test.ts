import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { LIMITS } from '../../../src/limits.ts'
import { createSandboxWorld, type SandboxWorld, settle } from '../../kit/sandbox-world.ts'

let world: SandboxWorld
beforeEach(async () => {
  world = await createSandboxWorld()
})
afterEach(() => world.close())

const push = (id: string, ...messages: string[]) =>
  world.push([{ sandbox_id: id, logs: messages.map(message => ({ message })) }])
const read = (request: object) => world.call('GetSandboxLogs', request)
const messages = async (request: object) => (await read(request)).logs.map(line => line.message)

describe('reading', () => {
  test('id is required; an unknown one has no lines', async () => {
    expect(await world.refusal('GetSandboxLogs', {})).toBe('INVALID_ARGUMENT: sandbox_id is required')
    expect(await read({ sandbox_id: 'nope' })).toMatchObject({ logs: [], buffer_total: 0 })
  })

  test('the gateway line of a create is there at once', async () => {
    const id = await world.make('a')
    expect((await read({ sandbox_id: id })).logs[0]).toMatchObject({
      sandbox_id: id,
      level: 'INFO',
      source: 'gateway',
      message: 'CreateSandbox request completed successfully',
    })
  })

  test('the window is taken before the filter, and buffer_total is its size', async () => {
    const id = await world.make('a')
    const logs = ['ERROR', 'warn', 'INFO', 'OCSF', 'Debug', 'TRACE', 'odd', ''].map((level, at) => ({
      level,
      message: level,
      timestamp_ms: (at + 1) * 100,
    }))
    await world.push([{ sandbox_id: id, logs }])
    const levels = async (request: object) => {
      const { logs: lines, buffer_total } = await read({ sandbox_id: id, ...request })
      return [lines.map(line => line.level), buffer_total]
    }
    expect(await levels({ min_level: 'WARN' })).toEqual([['ERROR', 'warn'], 9])
    expect(await levels({ min_level: 'info' })).toEqual([['INFO', 'ERROR', 'warn', 'INFO', 'OCSF'], 9])
    expect(await levels({ lines: 4, min_level: 'INFO' })).toEqual([[], 4])
    expect(await levels({ since_ms: 801, sources: ['sandbox'] })).toEqual([[], 9])
    expect(await levels({ sources: ['sandbox'], lines: 2 })).toEqual([['odd', ''], 2])
    expect((await levels({ min_level: 'loud' }))[0]).toHaveLength(9)
  })
})

describe('pushing', () => {
  test('id and source are ours, the rest is as sent', async () => {
    const id = await world.make('a')
    const line = {
      sandbox_id: 'x',
      timestamp_ms: 77,
      level: 'Info',
      target: 't',
      message: 'm',
      source: 'gateway',
      fields: { k: 'v', '': '' },
    }
    await world.push([{ sandbox_id: id, logs: [line] }])
    expect((await read({ sandbox_id: id, lines: 1 })).logs[0]).toMatchObject({
      ...line,
      sandbox_id: id,
      source: 'sandbox',
      timestamp_ms: 77n,
    })
  })

  test('unknown ids are refused, empty ones passed over', async () => {
    const id = await world.make('a')
    expect(await push('nope', 'x')).toBe('NOT_FOUND: sandbox not found')
    expect(await world.push([{ logs: [{ message: 'x' }] }, { sandbox_id: id, logs: [{ message: 'y' }] }])).toBe('OK')
    expect(await messages({ sandbox_id: id, sources: ['sandbox'] })).toEqual(['y'])
  })

  test('no line reaches a sandbox other than the first of the stream (A-11)', async () => {
    const [one, other] = [await world.make('a'), await world.make('b')]
    for (const id of [other, 'invented']) {
      const answer = await world.push([{ sandbox_id: one }, { sandbox_id: id, logs: [{ message: 'smuggled' }] }])
      expect(answer).toBe('INVALID_ARGUMENT: sandbox_id must not change within a stream')
      expect(await messages({ sandbox_id: id, sources: ['sandbox'] })).toEqual([])
    }
    expect(world.live.logs.has('invented')).toBe(false)
  })

  test("a sandbox's own secret opens no other sandbox's log", async () => {
    const [one, other] = [await world.make('a'), await world.make('b')]
    const principal = { kind: 'sandbox', proof: 'derived', sandboxId: one } as const
    const batch = (id: string) => [{ sandbox_id: id, logs: [{ message: 'm' }] }]
    expect(await world.push(batch(one), { principal })).toBe('OK')
    expect(await world.push(batch(other), { principal })).toBe(
      'PERMISSION_DENIED: sandbox secret does not belong to this sandbox',
    )
  })

  test('a hundred lines of a batch count, two thousand lines are kept', async () => {
    const id = await world.make('a')
    await push(id, ...Array.from({ length: 130 }, (_, n) => `n${n}`))
    expect((await messages({ sandbox_id: id })).at(-1)).toBe('n99')
    for (let batch = 0; batch < 21; batch++)
      await push(id, ...Array.from({ length: 100 }, (_, n) => `b${batch * 100 + n}`))
    const kept = await messages({ sandbox_id: id, lines: 5000 })
    expect([kept.length, kept[0], kept.at(-1)]).toEqual([2000, 'b100', 'b2099'])
  })

  test('a long line is cut at a character and marked, an answer stays below what clients accept (W21)', async () => {
    const id = await world.make('a')
    for (let n = 0; n < 6; n++) await push(id, ...Array.from({ length: 100 }, () => 'é'.repeat(5000)))
    const { logs } = await read({ sandbox_id: id })
    expect(logs.at(-1)!.message).toEndWith('é… [truncated]')
    expect(Buffer.byteLength(logs.at(-1)!.message)).toBeLessThanOrEqual(LIMITS.logLineBytes)
    expect(world.live.logs.bytes).toBeLessThanOrEqual(LIMITS.logSandboxBytes)
    expect(logs.reduce((sum, line) => sum + Buffer.byteLength(line.message), 0)).toBeLessThan(LIMITS.pageBytes)
  })

  test('a time far ahead becomes ours (W22)', async () => {
    const id = await world.make('a')
    await world.push([{ sandbox_id: id, logs: [{ message: 'm', timestamp_ms: 1n << 60n }] }])
    const [line] = (await read({ sandbox_id: id, lines: 1 })).logs
    expect(Number(line!.timestamp_ms)).toBe(world.clock.nowMs())
  })

  test('I-09 times at the edges of 64 bits and any number of lines', async () => {
    const id = await world.make('a')
    const edges = [0n, -1n, -(2n ** 63n), 2n ** 53n + 1n, 2n ** 63n - 1n]
    const ours = BigInt(world.clock.nowMs())
    await world.push([{ sandbox_id: id, logs: edges.map(timestamp_ms => ({ timestamp_ms, message: 'm' })) }])
    const times = async (request: object) =>
      (await read({ sandbox_id: id, sources: ['sandbox'], ...request })).logs.map(line => line.timestamp_ms)
    const kept = [0n, -1n, -(2n ** 63n), ours, ours]
    expect(await times({ lines: 2 ** 32 - 1 })).toEqual(kept)
    expect(await times({ since_ms: -(2n ** 63n) })).toEqual(kept)
    expect(await times({ since_ms: 2n ** 63n - 1n })).toEqual([])
  })

  test('above the rate lines are dropped and counted', async () => {
    const id = await world.make('a')
    for (let batch = 0; batch < 120; batch++) await push(id, ...Array.from({ length: 100 }, () => 'x'))
    expect(world.live.logs.dropped).toBe(2000)
    world.clock.advance(1000)
    await push(id, 'after')
    expect((await messages({ sandbox_id: id, lines: 1 }))[0]).toBe('after')
  })
})

describe('whose lines are kept (W20)', () => {
  const line = (sandboxId: string, message: string) => ({
    sandboxId,
    timestampMs: 1,
    level: 'INFO',
    target: 't',
    message,
  })

  test('gateway lines of ids that do not exist are forgotten', async () => {
    world.live.logs.onLine(line('invented', 'm'))
    await settle()
    expect(world.live.logs.has('invented')).toBe(false)
  })

  test('gateway lines of a stored sandbox are kept in order although nobody had asked for it yet', async () => {
    const id = await world.make('a')
    world.live.logs.remove(id)
    for (const message of ['1', '2', '3']) world.live.logs.onLine(line(id, message))
    await settle()
    expect(await messages({ sandbox_id: id })).toEqual(['1', '2', '3'])
  })

  test('everything goes with the sandbox, and pushes are refused from then on', async () => {
    const id = await world.make('a')
    await push(id, 'x')
    await world.driver.gone(id)
    expect(world.live.logs.bytes).toBe(0)
    expect(await read({ sandbox_id: id })).toMatchObject({ logs: [], buffer_total: 0 })
    expect(await push(id, 'x')).toBe('NOT_FOUND: sandbox not found')
  })
})
