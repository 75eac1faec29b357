/** S-13: the executable on a database in which one kind of record cannot be read. */
import { Database } from 'bun:sqlite'
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type DriverProcess, startDriver } from '../kit/driver-process.ts'
import { SECRET, startGateway, until } from '../kit/gateway.ts'

setDefaultTimeout(30_000)

const dir = mkdtempSync(join(tmpdir(), 'damaged-'))
const file = join(dir, 'gateway.db')
const args = ['--compute-driver-socket', join(dir, 'c.sock')]
let driver: DriverProcess
/** Every RPC that reads records, in an order in which each finds something to do. */
let calls: readonly (readonly [rpc: string, request: unknown])[]

beforeAll(async () => {
  driver = await startDriver('compute-driver.ts', join(dir, 'c.sock'))
  const gateway = await startGateway({ args, dir })
  const ok = async (rpc: string, request: unknown): Promise<Record<string, never>> => {
    const answer = await gateway.call(rpc, request)
    expect(answer).toMatchObject({ code: 'OK' })
    return answer.response as Record<string, never>
  }
  const policy = { version: 1, network_policies: { a: { name: 'a', endpoints: [{ host: 'a.io', port: 1 }] } } }
  const proposal = (host: string) => ({ rule_name: host, proposed_rule: { endpoints: [{ host, port: 2 }] } })
  const setting = { setting_key: 'ocsf_json_enabled', setting_value: { bool_value: true } }
  await ok('CreateSandbox', { name: 's', spec: { policy, providers: [] } })
  const { id } = (await ok('GetSandbox', { name: 's' }))['sandbox']!['metadata'] as { id: string }
  await ok('GetSandboxConfig', { sandbox_id: id })
  const provider = { metadata: { name: 'p' }, type: 'openai', credentials: { OPENAI_API_KEY: 'v' } }
  await ok('CreateProvider', { provider })
  await ok('CreateSandbox', { name: 'user', spec: { providers: ['p'] } })
  const user = ((await ok('GetSandbox', { name: 'user' }))['sandbox']!['metadata'] as { id: string }).id
  await ok('SetClusterInference', { provider_name: 'p', model_id: 'm', no_verify: true })
  await ok('UpdateConfig', { name: 's', ...setting })
  await ok('UpdateConfig', { global: true, ...setting })
  await ok('SubmitPolicyAnalysis', { name: 's', proposed_chunks: [proposal('b.io')] })
  const [chunk] = (await ok('GetDraftPolicy', { name: 's' }))['chunks'] as unknown as { id: string }[]
  const conditions = [{ type: 'Ready', status: 'True', reason: 'Up', message: '', last_transition_time: '' }]
  await driver.tell({ do: 'status', sandbox: id, status: { conditions } })
  const session = await until('the sandbox to be ready', async () => {
    const { code, response } = await gateway.call('CreateSshSession', { sandbox_id: id })
    return code === 'OK' ? response : null
  })
  gateway.child.kill()
  await new Promise(resolve => gateway.child.once('exit', resolve))
  copyFileSync(file, `${file}.whole`)

  const draft = { name: 's', chunk_id: chunk!.id }
  calls = [
    ['GetSandbox', { name: 's' }],
    ['ListSandboxes', {}],
    ['GetSandboxConfig', { sandbox_id: id }],
    ['GetGatewayConfig', {}],
    ['GetSandboxPolicyStatus', { name: 's' }],
    ['ListSandboxPolicies', { name: 's' }],
    ['UpdateConfig', { name: 's', policy }],
    ['UpdateConfig', { name: 's', merge_operations: [{ remove_rule: { rule_name: 'x' } }] }],
    ['UpdateConfig', { name: 's', setting_key: 'ocsf_json_enabled', delete_setting: true }],
    ['UpdateConfig', { global: true, setting_key: 'ocsf_json_enabled', delete_setting: true }],
    ['ReportPolicyStatus', { sandbox_id: id, version: 1, status: 'POLICY_STATUS_LOADED' }],
    ['SubmitPolicyAnalysis', { name: 's', proposed_chunks: [proposal('c.io')] }],
    ['GetDraftPolicy', { name: 's' }],
    ['GetDraftHistory', { name: 's' }],
    ['ApproveDraftChunk', draft],
    ['UndoDraftChunk', draft],
    ['RejectDraftChunk', draft],
    ['EditDraftChunk', { ...draft, proposed_rule: { endpoints: [{ host: 'q.io', port: 1 }] } }],
    ['ApproveAllDraftChunks', { name: 's' }],
    ['ClearDraftChunks', { name: 's' }],
    ['GetSandboxProviderEnvironment', { sandbox_id: user }],
    ['GetProvider', { name: 'p' }],
    ['ListProviders', {}],
    ['UpdateProvider', { provider: { metadata: { name: 'p' }, config: { A: 'b' } } }],
    ['CreateProvider', { provider }],
    ['GetInferenceBundle', {}],
    ['GetClusterInference', {}],
    ['SetClusterInference', { provider_name: 'p', model_id: 'm', no_verify: true }],
    ['CreateSshSession', { sandbox_id: id }],
    ['RevokeSshSession', { token: session['token'] }],
    ['DeleteProvider', { name: 'p' }],
  ]
})
afterAll(async () => {
  await driver?.kill()
  rmSync(dir, { recursive: true, force: true })
})

const BROKEN = "x'0affffffff0f00ff'"

/** TABLE of damages, and calls that have nothing to do with the record and so must be answered as ever. */
const DAMAGES: readonly (readonly [what: string, sql: string, unharmed: readonly string[]])[] = [
  [
    'sandbox',
    `UPDATE objects SET payload = ${BROKEN} WHERE object_type = 'sandbox' AND name = 's'`,
    ['ListSandboxes', 'GetGatewayConfig', 'GetSandboxProviderEnvironment', 'ListProviders', 'GetInferenceBundle'],
  ],
  [
    'provider',
    `UPDATE objects SET payload = ${BROKEN} WHERE object_type = 'provider'`,
    ['GetSandbox', 'GetSandboxProviderEnvironment', 'GetInferenceBundle', 'GetClusterInference', 'DeleteProvider'],
  ],
  [
    'inference route',
    `UPDATE objects SET payload = ${BROKEN} WHERE object_type = 'inference_route'`,
    ['GetInferenceBundle', 'GetProvider', 'GetSandboxProviderEnvironment'],
  ],
  [
    'settings',
    `UPDATE objects SET payload = x'7b' WHERE object_type IN ('sandbox_settings', 'gateway_settings')`,
    ['GetSandbox', 'GetSandboxPolicyStatus', 'ListSandboxPolicies', 'GetDraftPolicy', 'SubmitPolicyAnalysis'],
  ],
  [
    'policy revision',
    `UPDATE sandbox_policies SET policy_payload = ${BROKEN}`,
    ['GetSandbox', 'ListSandboxPolicies', 'GetSandboxPolicyStatus', 'ReportPolicyStatus', 'GetGatewayConfig'],
  ],
  [
    'proposal',
    `UPDATE draft_policy_chunks SET proposed_rule = ${BROKEN}`,
    ['GetDraftPolicy', 'GetDraftHistory', 'SubmitPolicyAnalysis', 'ClearDraftChunks', 'GetSandboxConfig'],
  ],
  [
    'SSH session',
    `UPDATE objects SET payload = ${BROKEN} WHERE object_type = 'ssh_session'`,
    ['GetSandbox', 'CreateSshSession'],
  ],
]

test.each([...DAMAGES])(
  'a damaged %s: what needs it says so, all else is answered, nothing is a bug',
  async (_what, sql, unharmed) => {
    for (const ending of ['-wal', '-shm']) rmSync(file + ending, { force: true })
    copyFileSync(`${file}.whole`, file)
    const db = new Database(file)
    expect(db.run(sql).changes).toBeGreaterThan(0)
    db.close(true)

    const gateway = await startGateway({ args, dir })
    let refused = 0
    try {
      await gateway.logged(line => line.message === 'driver connected')
      for (const [rpc, request] of calls) {
        const { code, details } = await gateway.call(rpc, request, { secret: SECRET })
        if (unharmed.includes(rpc)) expect({ rpc, code }).toEqual({ rpc, code: 'OK' })
        if (code !== 'INTERNAL') continue
        refused++
        expect(details).toMatch(/^[a-z ]+ failed: (the stored record is damaged \(|not JSON$)/)
      }
    } finally {
      expect(await gateway.stop()).toBe(0)
    }
    expect(refused).toBeGreaterThan(0)
    expect(gateway.log.filter(line => line.message === 'bug')).toEqual([])
  },
)
