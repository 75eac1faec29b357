import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { LIMITS } from '../../../src/limits.ts'
import { createPolicyBench } from '../../kit/policy-bench.ts'

const HOSTS = ['a.example.com', 'b.example.com']
const BINARIES = ['/bin/0', '/bin/1', '/bin/2']
type Bench = Awaited<ReturnType<typeof createPolicyBench>>

interface Pair {
  readonly host: string
  readonly binary: string
}
const nameOf = ({ host, binary }: Pair): string => `${host} ${binary}`
const ruleOf = ({ host, binary }: Pair) => ({ endpoints: [{ host, port: 443 }], binaries: [{ path: binary }] })
const FROM = {
  ApproveDraftChunk: ['pending', 'rejected'],
  RejectDraftChunk: ['pending', 'approved'],
  UndoDraftChunk: ['approved'],
  EditDraftChunk: ['pending'],
} as const
const TO = {
  ApproveDraftChunk: 'approved',
  RejectDraftChunk: 'rejected',
  UndoDraftChunk: 'pending',
  EditDraftChunk: 'pending',
} as const

/** What a chunk should be, kept beside the gateway. */
type Model = Map<string, { status: string; hits: number }>
interface Real {
  readonly bench: Bench
}

const chunksOf = async ({ bench }: Real) => (await bench.call('GetDraftPolicy', { name: 's' })).response!.chunks
const idOf = async (real: Real, pair: Pair): Promise<string> =>
  (await chunksOf(real)).find(chunk => chunk.rule_name === nameOf(pair))?.id ?? 'none'

/** Everybody agrees: statuses and hits are the model's; exactly the approved pairs have access. */
async function agree(model: Model, real: Real): Promise<void> {
  const chunks = await chunksOf(real)
  expect(
    Object.fromEntries(chunks.map(chunk => [chunk.rule_name, { status: chunk.status, hits: chunk.hit_count }])),
  ).toEqual(Object.fromEntries(model))
  const latest = await real.bench.call('GetSandboxPolicyStatus', { name: 's' })
  const rules = Object.values(latest.response?.revision?.policy?.network_policies ?? {})
  const open = rules.flatMap(rule =>
    rule.endpoints.flatMap(({ host }) => rule.binaries.map(({ path }) => nameOf({ host, binary: path }))),
  )
  const approved = [...model].filter(([, chunk]) => chunk.status === 'approved').map(([name]) => name)
  expect(open.toSorted()).toEqual(approved.toSorted())
}

const pairs = fc.record({ host: fc.constantFrom(...HOSTS), binary: fc.constantFrom(...BINARIES) })
type Command = fc.AsyncCommand<Model, Real>

const submit = (pair: Pair, hits: number): Command => ({
  check: () => true,
  toString: () => `submit ${nameOf(pair)}`,
  async run(model, real) {
    const sent = { rule_name: nameOf(pair), proposed_rule: ruleOf(pair), hit_count: hits }
    await real.bench.call('SubmitPolicyAnalysis', { name: 's', proposed_chunks: [sent] })
    const known = model.get(nameOf(pair))
    model.set(nameOf(pair), { status: known?.status ?? 'pending', hits: (known?.hits ?? 0) + hits })
    await agree(model, real)
  },
})

const decide = (rpc: keyof typeof FROM, pair: Pair): Command => ({
  check: () => true,
  toString: () => `${rpc} ${nameOf(pair)}`,
  async run(model, real) {
    const more = rpc === 'EditDraftChunk' ? { proposed_rule: ruleOf(pair) } : {}
    const { code } = await real.bench.call(rpc, { name: 's', chunk_id: await idOf(real, pair), ...more } as never)
    const known = model.get(nameOf(pair))
    if (!known) expect(code).toBe('NOT_FOUND')
    else if ((FROM[rpc] as readonly string[]).includes(known.status)) {
      expect(code).toBe('OK')
      known.status = TO[rpc]
    } else expect(code).toBe('FAILED_PRECONDITION')
    await agree(model, real)
  },
})

const all: Command = {
  check: () => true,
  toString: () => 'approve all',
  async run(model, real) {
    const pending = [...model.values()].filter(chunk => chunk.status === 'pending')
    const outcome = await real.bench.call('ApproveAllDraftChunks', { name: 's' })
    expect(outcome.code).toBe(pending.length === 0 ? 'FAILED_PRECONDITION' : 'OK')
    for (const chunk of pending) chunk.status = 'approved'
    await agree(model, real)
  },
}

const clear: Command = {
  check: () => true,
  toString: () => 'clear',
  async run(model, real) {
    const { response } = await real.bench.call('ClearDraftChunks', { name: 's' })
    const pending = [...model].filter(([, chunk]) => chunk.status === 'pending')
    expect(response!.chunks_cleared).toBe(pending.length)
    for (const [name] of pending) model.delete(name)
    await agree(model, real)
  },
}

describe('drafts', () => {
  test('whatever is done to them, status and access stay in step with a model (W13, W16)', async () => {
    const actions = fc.commands(
      [
        fc.tuple(pairs, fc.integer({ min: 1, max: 100 })).map(([pair, hits]) => submit(pair, hits)),
        fc
          .tuple(
            fc.constantFrom(
              'ApproveDraftChunk' as const,
              'RejectDraftChunk' as const,
              'UndoDraftChunk' as const,
              'EditDraftChunk' as const,
            ),
            pairs,
          )
          .map(([rpc, pair]) => decide(rpc, pair)),
        fc.constant(all),
        fc.constant(clear),
      ],
      { maxCommands: 50, size: 'max' },
    )
    await fc.assert(
      fc.asyncProperty(actions, async commands => {
        const bench = await createPolicyBench()
        try {
          await bench.sandbox('s')
          await fc.asyncModelRun(() => ({ model: new Map() as Model, real: { bench } }), commands)
        } finally {
          await bench.close()
        }
      }),
      { numRuns: Number(process.env['FC_RUNS'] ?? 15) },
    )
  }, 600_000)

  const start = async (policy: Parameters<Bench['sandbox']>[1] = null) => {
    const bench = await createPolicyBench()
    await bench.sandbox('s', policy)
    const propose = async (rule: object, name = 'c') => {
      await bench.call('SubmitPolicyAnalysis', {
        name: 's',
        proposed_chunks: [{ rule_name: name, proposed_rule: rule }],
      })
      return (await chunksOf({ bench })).find(chunk => chunk.rule_name === name)!.id
    }
    const rules = async () =>
      (await bench.call('GetSandboxPolicyStatus', { name: 's' })).response?.revision?.policy?.network_policies
    return { bench, propose, rules }
  }

  test('taking an approval back leaves what was there before (W13)', async () => {
    const { bench, propose, rules } = await start({
      version: 1,
      network_policies: { c: { endpoints: [{ host: 'a.io', port: 443, ports: [443] }], binaries: [{ path: '/x' }] } },
    })
    const id = await propose({ endpoints: [{ host: 'a.io', port: 443 }], binaries: [{ path: '/x' }] })
    expect((await bench.call('ApproveDraftChunk', { name: 's', chunk_id: id })).code).toBe('OK')
    expect((await bench.call('UndoDraftChunk', { name: 's', chunk_id: id })).code).toBe('OK')
    expect((await rules())?.['c']?.binaries[0]?.path ?? '/x').toBe('/x')
  })

  test('a rule without binary can be taken back (W13)', async () => {
    const { bench, propose, rules } = await start()
    const id = await propose({ endpoints: [{ host: 'a.io', port: 443 }] })
    await bench.call('ApproveDraftChunk', { name: 's', chunk_id: id })
    expect(Object.keys((await rules())!)).toEqual(['c'])
    await bench.call('RejectDraftChunk', { name: 's', chunk_id: id })
    expect(Object.keys((await rules())!)).toEqual([])
  })

  test('approving what can never work, or under a global policy, is refused and changes nothing (W14, W15)', async () => {
    const { bench, propose, rules } = await start()
    const id = await propose({ endpoints: [{ host: 'localhost', port: 443 }] })
    expect((await bench.call('ApproveDraftChunk', { name: 's', chunk_id: id })).code).toBe('INVALID_ARGUMENT')
    expect(
      (
        await bench.call('EditDraftChunk', {
          name: 's',
          chunk_id: id,
          proposed_rule: { endpoints: [{ host: '127.0.0.1' }] },
        })
      ).code,
    ).toBe('INVALID_ARGUMENT')
    const good = await propose({ endpoints: [{ host: 'b.io', port: 443 }], binaries: [{ path: '/x' }] }, 'good')
    await bench.call('ApproveDraftChunk', { name: 's', chunk_id: good })
    await bench.call('UpdateConfig', { global: true, policy: { version: 1 } })
    expect((await bench.call('UndoDraftChunk', { name: 's', chunk_id: good })).code).toBe('FAILED_PRECONDITION')
    expect(Object.keys((await rules())!)).toEqual(['good'])
  })

  test('hundreds of approvals into one rule do not each keep a copy of it; what is not kept is not taken back', async () => {
    const { bench } = await start()
    for (let round = 0; round < 2; round++)
      await bench.call('SubmitPolicyAnalysis', {
        name: 's',
        proposed_chunks: Array.from({ length: 200 }, (_, n) => ({
          rule_name: 'one',
          proposed_rule: { endpoints: [{ host: `h${round}-${n}.some-department.example.com`, port: 443 }] },
        })),
      })
    const all = await bench.call('ApproveAllDraftChunks', { name: 's' })
    expect(all.response).toMatchObject({ chunks_approved: 400, policy_version: 400 })
    const { id } = (await bench.store.getByName('sandbox', 's'))!
    const kept = await bench.store.listDrafts(id)
    for (const chunk of kept) expect(chunk.approval!.length).toBeLessThan(1.5 * LIMITS.draftApprovalBytes)
    expect(kept.reduce((sum, chunk) => sum + chunk.approval!.length, 0)).toBeLessThan(4_000_000)
    const states = await Promise.all(kept.map(chunk => bench.call('UndoDraftChunk', { name: 's', chunk_id: chunk.id })))
    expect(new Set(states.map(state => state.code))).toEqual(new Set(['OK', 'FAILED_PRECONDITION']))
    await bench.close()
  })

  test('a chunk that cannot be read stops neither approving nor taking back the others (S-13, W23)', async () => {
    const { bench, propose, rules } = await start()
    const rule = (host: string) => ({ endpoints: [{ host, port: 443 }], binaries: [{ path: '/x' }] })
    const [a, b, c] = [
      await propose(rule('a.io'), 'a'),
      await propose(rule('b.io'), 'b'),
      await propose(rule('c.io'), 'c'),
    ]
    const damage = (id: string) =>
      bench.store.transaction(tx => tx.setDraftDetails(id, { proposedRule: Buffer.from('0affffffff0f', 'hex') }))
    await damage(b)
    expect(await bench.call('ApproveAllDraftChunks', { name: 's' })).toMatchObject({
      response: { chunks_approved: 2, chunks_skipped: 1 },
    })
    expect(await bench.call('ApproveDraftChunk', { name: 's', chunk_id: b })).toMatchObject({
      code: 'INTERNAL',
      details: expect.stringContaining('read draft chunk failed: the stored record is damaged'),
    })
    await damage(a)
    await bench.call('UpdateConfig', {
      name: 's',
      merge_operations: [{ add_rule: { rule_name: 'c', rule: rule('d.io') } }],
    } as never)
    expect((await bench.call('RejectDraftChunk', { name: 's', chunk_id: c })).code).toBe('OK')
    expect((await bench.call('RejectDraftChunk', { name: 's', chunk_id: a })).code).toBe('OK')
    expect(Object.keys((await rules()) ?? {})).toEqual([])
  })

  test.each([
    '{"approval":{"key":"a","after":"","before":5}}',
    '{"approval":{"key":"a","after":"x"}}',
    '{"approval":{"__proto__":{"key":"a","before":null,"after":"x"}}}',
    '{"__proto__":{"edited":true,"approval":{"key":"a","before":null,"after":"x"}}}',
    '{"approval":{"key":["a"],"before":null,"after":"x"}}',
    '{"approval":1e999}',
    '[[[',
  ])(
    'I-11 what is stored of an approval as %s counts as nothing: it is taken back by name and binary',
    async memory => {
      const { bench, propose, rules } = await start()
      const id = await propose({ endpoints: [{ host: 'a.io', port: 443 }], binaries: [{ path: '/x' }] }, 'a')
      expect((await bench.call('ApproveDraftChunk', { name: 's', chunk_id: id })).code).toBe('OK')
      await bench.store.transaction(tx => tx.setDraftDetails(id, { approval: memory }))
      expect((await bench.call('UndoDraftChunk', { name: 's', chunk_id: id })).code).toBe('OK')
      expect(Object.keys((await rules()) ?? {})).toEqual([])
      await bench.close()
    },
  )

  test('a chunk of another sandbox is not found (W12)', async () => {
    const { bench, propose } = await start()
    await bench.sandbox('other')
    const id = await propose({ endpoints: [{ host: 'a.io', port: 443 }] })
    for (const rpc of ['ApproveDraftChunk', 'RejectDraftChunk', 'UndoDraftChunk'] as const)
      expect((await bench.call(rpc, { name: 'other', chunk_id: id })).code).toBe('NOT_FOUND')
  })

  test('a refined proposal replaces a pending one, never an edited or decided one (W19)', async () => {
    const { bench, propose } = await start()
    const plain = { endpoints: [{ host: 'a.io', port: 443 }], binaries: [{ path: '/x' }] }
    const refined = { endpoints: [{ host: 'a.io', port: 443, protocol: 'rest' }], binaries: [{ path: '/x' }] }
    const stored = async () => (await chunksOf({ bench }))[0]!
    await propose(plain)
    await bench.call('SubmitPolicyAnalysis', {
      name: 's',
      proposed_chunks: [{ rule_name: 'c', proposed_rule: refined, confidence: 0.75 }],
    })
    expect(await stored()).toMatchObject({
      hit_count: 2,
      confidence: 0.75,
      proposed_rule: { endpoints: [{ protocol: 'rest' }] },
    })
    const { id } = await stored()
    await bench.call('EditDraftChunk', {
      name: 's',
      chunk_id: id,
      proposed_rule: { endpoints: [{ host: '10.0.0.1', port: 5432 }] },
    })
    expect((await stored()).security_notes).toContain('internal/private')
    await bench.call('SubmitPolicyAnalysis', { name: 's', proposed_chunks: [{ rule_name: 'c', proposed_rule: plain }] })
    expect((await stored()).proposed_rule!.endpoints[0]!.host).toBe('10.0.0.1')
  })

  test('numbers from a supervisor are bounded: 201 chunks, NaN, 2 147 483 647 hits (W20, W21)', async () => {
    const { bench } = await start()
    const chunk = (port: number, more = {}) => ({
      rule_name: `r${port}`,
      proposed_rule: { endpoints: [{ host: 'a.io', port }] },
      ...more,
    })
    const { response } = await bench.call('SubmitPolicyAnalysis', {
      name: 's',
      proposed_chunks: Array.from({ length: 201 }, (_, i) => chunk(i + 1)),
    })
    expect(response).toMatchObject({ accepted_chunks: 200, rejected_chunks: 1 })
    await bench.call('SubmitPolicyAnalysis', {
      name: 's',
      proposed_chunks: [chunk(9000, { confidence: Number.NaN, hit_count: 2_147_483_647 })],
    })
    expect((await chunksOf({ bench })).find(one => one.rule_name === 'r9000')).toMatchObject({
      confidence: 0,
      hit_count: 100,
    })
    const furthest = 2n ** 63n - 1n
    await bench.call('SubmitPolicyAnalysis', {
      name: 's',
      proposed_chunks: [chunk(9001, { first_seen_ms: furthest, last_seen_ms: furthest })],
    })
    const latest = BigInt(Number.MAX_SAFE_INTEGER)
    expect((await chunksOf({ bench })).find(one => one.rule_name === 'r9001')).toMatchObject({
      first_seen_ms: latest,
      last_seen_ms: latest,
    })
  })

  test('a NUL, which PostgreSQL keeps in no text, costs its own chunk and no other', async () => {
    const { bench } = await start()
    const chunk = (rule_name: string, host: string, path = '/bin/x', more = {}) => ({
      rule_name,
      proposed_rule: {
        endpoints: [
          { host: 'a.io', port: 1 },
          { host, port: 2 },
        ],
        binaries: [{ path }],
      },
      ...more,
    })
    const { response } = await bench.call('SubmitPolicyAnalysis', {
      name: 's',
      proposed_chunks: [
        chunk('na\0me', 'b.io'),
        chunk('host', '*.b\0.io'),
        chunk('path', 'b.io', '/bin/\0'),
        chunk('why', 'b.io', '/bin/y', { rationale: 'a\0b' }),
        chunk('good', 'b.io'),
      ],
    })
    expect(response).toEqual({
      accepted_chunks: 1,
      rejected_chunks: 4,
      rejection_reasons: [
        'chunk rule_name contains a NUL character',
        ...['host', 'path', 'why'].map(name => `chunk '${name}' contains a NUL character`),
      ],
    })
    const [good] = await chunksOf({ bench })
    const edit = { name: 's', chunk_id: good!.id, proposed_rule: chunk('good', '*.c\0.io').proposed_rule }
    expect(await bench.call('EditDraftChunk', edit)).toMatchObject({
      code: 'INVALID_ARGUMENT',
      details: 'proposed_rule contains a NUL character',
    })
  })
})
