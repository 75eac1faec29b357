/**
 * Row 5: two clients change one policy, one settings map and one provider at the same moment, round after round, on
 * SQLite with one gateway and on PostgreSQL with two. Nothing that was answered with OK is lost, and who loses gets the
 * code of the contract. CONCURRENT_ROUNDS raises the number of rounds.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials } from '@grpc/grpc-js'
import { type DriverProcess, startDriver } from '../kit/driver-process.ts'
import { type Answer, callUnary, type GatewayProcess, startGateway } from '../kit/gateway.ts'
import { type PostgresServer, startPostgres } from '../kit/postgres.ts'

const ROUNDS = Number(process.env['CONCURRENT_ROUNDS'] ?? 15)
setDefaultTimeout(60_000 + ROUNDS * 400)

const postgres: PostgresServer | null = await startPostgres()
afterAll(() => postgres?.stop())

type Call = (rpc: string, request: unknown) => Promise<Answer>
type Fields = Record<string, unknown>

const DATABASES = [
  { name: 'SQLite, one gateway', server: null, gateways: 1 },
  ...(postgres ? [{ name: 'PostgreSQL, two gateways', server: postgres, gateways: 2 }] : []),
]

describe.each(DATABASES)('$name', ({ server, gateways }) => {
  const directory = mkdtempSync(join(tmpdir(), 'concurrent-'))
  const running: GatewayProcess[] = []
  const clients: Client[] = []
  let driver: DriverProcess
  /** The two clients, each on a connection of its own. */
  let callers: readonly [Call, Call]

  beforeAll(async () => {
    driver = await startDriver('compute-driver.ts', join(directory, 'c.sock'))
    const dbUrl = await server?.createDatabase()
    for (let n = 0; n < gateways; n++) {
      const gateway = await startGateway({
        args: ['--compute-driver-socket', join(directory, 'c.sock')],
        ...(dbUrl && { dbUrl }),
      })
      running.push(gateway)
      await gateway.logged(line => line.message === 'driver connected')
    }
    const callerOf = (gateway: GatewayProcess): Call => {
      const client = new Client(gateway.address, credentials.createInsecure())
      clients.push(client)
      return (rpc, request) => callUnary(client, rpc, request)
    }
    callers = [callerOf(running[0]!), callerOf(running.at(-1)!)]
    expect((await callers[0]('CreateSandbox', { name: 's', spec: {} })).code).toBe('OK')
  })
  afterAll(async () => {
    const bugs = running.flatMap(gateway => gateway.log.filter(line => line.message === 'bug'))
    for (const client of clients) client.close()
    for (const gateway of running) await gateway.stop()
    await driver?.kill()
    rmSync(directory, { recursive: true, force: true })
    expect(bugs).toEqual([])
  })

  /** Both requests at the same moment. */
  const both = (rpc: string, a: unknown, b: unknown = a): Promise<[Answer, Answer]> =>
    Promise.all([callers[0](rpc, a), callers[1](rpc, b)])
  const codes = (answers: readonly Answer[]) => answers.map(answer => answer.code).sort()
  const field = (answer: Answer, name: string) => answer.response?.[name]
  const ok = async (rpc: string, request: unknown): Promise<Fields> => {
    const answer = await callers[0](rpc, request)
    expect(answer.code).toBe('OK')
    return answer.response!
  }
  const rounds = async (round: (n: number) => Promise<void>) => {
    for (let n = 1; n <= ROUNDS; n++) await round(n)
  }
  const rules = async (): Promise<{ version: number; keys: string[] }> => {
    const { revision } = (await ok('GetSandboxPolicyStatus', { name: 's' })) as {
      revision: { version: number; policy: { network_policies?: Fields } }
    }
    return { version: revision.version, keys: Object.keys(revision.policy.network_policies ?? {}) }
  }

  test(`${ROUNDS} rounds of merges into one policy: both are in it, each with a version of its own`, () =>
    rounds(async n => {
      const merge = (who: string) => ({
        name: 's',
        merge_operations: [
          { remove_rule: { rule_name: `${who}-${n - 1}` } },
          { add_rule: { rule_name: `${who}-${n}`, rule: { endpoints: [{ host: `${who}${n}.test`, port: 443 }] } } },
        ],
      })
      const answers = await both('UpdateConfig', merge('a'), merge('b'))
      expect(codes(answers)).toEqual(['OK', 'OK'])
      const { version, keys } = await rules()
      expect(keys.sort()).toEqual([`a-${n}`, `b-${n}`])
      expect(answers.map(answer => field(answer, 'version')).sort()).toEqual([version - 1, version].sort())
    }))

  test(`${ROUNDS} rounds of whole policies: one after the other, the later one stands`, () =>
    rounds(async n => {
      const { version } = await rules()
      const replace = (who: string) => ({
        name: 's',
        policy: {
          version: 1,
          network_policies: { [`${who}-${n}`]: { name: who, endpoints: [{ host: `${who}.test` }] } },
        },
      })
      const answers = await both('UpdateConfig', replace('a'), replace('b'))
      expect(codes(answers)).toEqual(['OK', 'OK'])
      const [a, b] = answers.map(answer => field(answer, 'version') as number) as [number, number]
      expect([a, b].sort((x, y) => x - y)).toEqual([version + 1, version + 2])
      expect(await rules()).toEqual({ version: version + 2, keys: [a > b ? `a-${n}` : `b-${n}`] })
    }))

  test(`${ROUNDS} rounds of one setting: each change that had an effect counts, the last one stands`, () =>
    rounds(async () => {
      const set = (value: boolean) => ({
        name: 's',
        setting_key: 'ocsf_json_enabled',
        setting_value: { bool_value: value },
      })
      await ok('UpdateConfig', { name: 's', setting_key: 'ocsf_json_enabled', delete_setting: true })
      const answers = await both('UpdateConfig', set(true), set(false))
      expect(codes(answers)).toEqual(['OK', 'OK'])
      const [on, off] = answers.map(answer => BigInt(String(field(answer, 'settings_revision')))) as [bigint, bigint]
      expect(on - off === 1n || off - on === 1n).toBe(true)
      const { sandbox } = (await ok('GetSandbox', { name: 's' })) as { sandbox: { metadata: { id: string } } }
      const config = await ok('GetSandboxConfig', { sandbox_id: sandbox.metadata.id })
      expect(config['settings']).toEqual({
        ocsf_json_enabled: { value: { bool_value: on > off }, scope: 'SETTING_SCOPE_SANDBOX' },
      })
    }))

  test(`${ROUNDS} rounds of a setting of the gateway against one of the sandbox: the sandbox's is refused once the other is there`, () =>
    rounds(async () => {
      const about = { setting_key: 'ocsf_json_enabled' }
      await ok('UpdateConfig', { ...about, global: true, delete_setting: true })
      const value = { setting_value: { bool_value: true } }
      const answers = await both(
        'UpdateConfig',
        { ...about, ...value, global: true },
        { ...about, ...value, name: 's' },
      )
      expect(answers[0].code).toBe('OK')
      if (answers[1].code !== 'OK')
        expect(answers[1]).toEqual({
          code: 'FAILED_PRECONDITION',
          details: "setting 'ocsf_json_enabled' is managed globally; delete the global setting before sandbox update",
        })
    }))

  test(`${ROUNDS} rounds of a global policy against one of the sandbox: never both`, () =>
    rounds(async n => {
      const policy = { version: 1, network_policies: { [`g-${n}`]: { name: 'g', endpoints: [{ host: 'g.test' }] } } }
      const before = await rules()
      const answers = await both('UpdateConfig', { global: true, policy }, { name: 's', policy })
      expect(answers[0].code).toBe('OK')
      const after = await rules()
      if (answers[1].code === 'OK') expect(after).toEqual({ version: before.version + 1, keys: [`g-${n}`] })
      else {
        expect(answers[1]).toEqual({
          code: 'FAILED_PRECONDITION',
          details: 'policy is managed globally; delete global policy before sandbox policy update',
        })
        expect(after).toEqual(before)
      }
      await ok('UpdateConfig', { global: true, setting_key: 'policy', delete_setting: true })
    }))

  test(`${ROUNDS} rounds of one provider: made once, both credentials are in it, deleted once`, () =>
    rounds(async n => {
      const named = (credentials: Fields) => ({
        provider: { metadata: { name: `p-${n}` }, type: 'generic', credentials },
      })
      const made = await both('CreateProvider', named({ FIRST: 'x' }))
      expect(codes(made)).toEqual(['ALREADY_EXISTS', 'OK'])
      expect(made.find(answer => answer.code !== 'OK')!.details).toBe('provider already exists')
      expect(codes(await both('UpdateProvider', named({ A: '1', FIRST: '' }), named({ B: '2' })))).toEqual(['OK', 'OK'])
      const { provider } = (await ok('GetProvider', { name: `p-${n}` })) as { provider: { credentials: Fields } }
      expect(Object.keys(provider.credentials).sort()).toEqual(['A', 'B'])
      const deleted = await both('DeleteProvider', { name: `p-${n}` })
      expect(codes(deleted)).toEqual(['OK', 'OK'])
      expect(deleted.filter(answer => field(answer, 'deleted') === true)).toHaveLength(1)
    }))

  test(`${ROUNDS} rounds of one proposal: approved once, and what is rejected gives no access`, () =>
    rounds(async n => {
      const rule = { name: 'd', endpoints: [{ host: `d${n}.test`, port: 443 }], binaries: [{ path: '/usr/bin/git' }] }
      await ok('SubmitPolicyAnalysis', { name: 's', proposed_chunks: [{ rule_name: `d-${n}`, proposed_rule: rule }] })
      const { chunks } = (await ok('GetDraftPolicy', { name: 's', status_filter: 'pending' })) as {
        chunks: { id: string }[]
      }
      const about = { name: 's', chunk_id: chunks[0]!.id }
      const twice = await both('ApproveDraftChunk', about)
      expect(codes(twice)).toEqual(['FAILED_PRECONDITION', 'OK'])
      expect((await rules()).keys).toContain(`d-${n}`)
      await ok('UndoDraftChunk', about)
      const [approved, rejected] = await Promise.all([
        callers[0]('ApproveDraftChunk', about),
        callers[1]('RejectDraftChunk', about),
      ])
      // Either order is allowed; the state and the access agree.
      expect([approved.code, rejected.code]).toEqual(['OK', 'OK'])
      const { chunks: decided } = (await ok('GetDraftPolicy', { name: 's' })) as {
        chunks: { id: string; status: string }[]
      }
      const { status } = decided.find(chunk => chunk.id === about.chunk_id)!
      expect((await rules()).keys.includes(`d-${n}`)).toBe(status === 'approved')
      if (status === 'approved') await ok('RejectDraftChunk', about)
    }))

  test(`${ROUNDS} rounds of one inference route: each change has a version of its own`, async () => {
    const credentialsOf = { OPENAI_API_KEY: 'sk' }
    await ok('CreateProvider', { provider: { metadata: { name: 'llm' }, type: 'openai', credentials: credentialsOf } })
    await rounds(async n => {
      const route = (model_id: string) => ({ provider_name: 'llm', model_id, no_verify: true })
      const answers = await both('SetClusterInference', route('a'), route('b'))
      expect(codes(answers)).toEqual(['OK', 'OK'])
      const versions = answers.map(answer => Number(field(answer, 'version'))) as [number, number]
      expect(versions.toSorted((x, y) => x - y)).toEqual([2 * n - 1, 2 * n])
      const stands = await ok('GetClusterInference', {})
      expect([stands['model_id'], Number(stands['version'])]).toEqual([versions[0] > versions[1] ? 'a' : 'b', 2 * n])
    })
  })
})
