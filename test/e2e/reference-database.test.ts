/**
 * Row 6: a database file with one of each kind, as the Rust gateway writes it, opened by the executable; and a file of
 * the executable, looked at and written to as that gateway would (decision 9, spec/storage.md §3 to §6).
 */
import { Database } from 'bun:sqlite'
import { afterEach, beforeEach, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { codec, type Init, type MessageName } from '../../src/wire/codec.ts'
import type { Messages } from '../../src/wire/messages.generated.ts'
import { type DriverProcess, startDriver } from '../kit/driver-process.ts'
import { type GatewayProcess, startGateway, until } from '../kit/gateway.ts'
import { REFERENCE_MIGRATIONS, writeReferenceDatabase } from '../kit/reference-database.ts'

setDefaultTimeout(60_000)

const NOW = 1_790_000_000_000
const SANDBOX = '11111111-1111-4111-8111-111111111111'
const TOKEN = '22222222-2222-4222-8222-222222222222'
const POLICY = {
  version: 1,
  filesystem: { include_workdir: true, read_only: ['/usr'], read_write: ['/tmp'] },
  process: { run_as_user: 'sandbox', run_as_group: 'sandbox' },
  network_policies: { web: { name: 'web', endpoints: [{ host: 'example.com', port: 443 }] } },
}
const RULE = { name: 'git', endpoints: [{ host: 'git.test', port: 443 }], binaries: [{ path: '/usr/bin/git' }] }

/** TABLE What is in a payload of each type of object; the others are JSON. */
const PAYLOADS: Readonly<Record<string, MessageName>> = {
  sandbox: 'openshell.v1.Sandbox',
  provider: 'openshell.datamodel.v1.Provider',
  ssh_session: 'openshell.v1.SshSession',
  inference_route: 'openshell.inference.v1.InferenceRoute',
}

let directory: string
let driver: DriverProcess | null
let gateway: GatewayProcess | null
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'reference-'))
})
afterEach(async () => {
  const bugs = gateway?.log.filter(line => line.message === 'bug') ?? []
  await gateway?.stop()
  await driver?.kill()
  gateway = driver = null
  rmSync(directory, { recursive: true, force: true })
  expect(bugs).toEqual([])
})

const file = () => join(directory, 'gateway.db')
const encode = <N extends MessageName>(name: N, value: Init<Messages[N]>) => codec(name).encode(value)
const start = async () => {
  driver ??= await startDriver('compute-driver.ts', join(directory, 'c.sock'))
  gateway = await startGateway({
    dir: directory,
    args: ['--compute-driver-socket', join(directory, 'c.sock')],
    env: { OPENSHELL_INFERENCE_ALLOW_PRIVATE_ENDPOINTS: 'true' },
  })
  await gateway.logged(line => line.message === 'driver connected')
}
const stop = async () => {
  expect(await gateway!.stop()).toBe(0)
  gateway = null
}
const ok = async (rpc: string, request: object = {}): Promise<Record<string, unknown>> => {
  const answer = await gateway!.call(rpc, request)
  expect({ rpc, code: answer.code, details: answer.details }).toEqual({ rpc, code: 'OK', details: '' })
  return answer.response!
}

/** The statements of that gateway (spec/storage.md §6), on a file of either. */
function asReference(db: Database) {
  return {
    put: (type: string, id: string, name: string, payload: Uint8Array, labels = '{}') =>
      db.run(
        `INSERT INTO objects (object_type, id, name, payload, created_at_ms, updated_at_ms, labels) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)
         ON CONFLICT (id) DO UPDATE SET payload = excluded.payload, updated_at_ms = excluded.updated_at_ms, labels = excluded.labels
         WHERE objects.object_type = excluded.object_type`,
        [type, id, name, payload, NOW, labels],
      ).changes,
    revision: (sandbox: string, version: number, status: string, payload: Uint8Array, hash: string) =>
      db.run(
        `INSERT INTO sandbox_policies (id, sandbox_id, version, policy_payload, policy_hash, status, created_at_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?)`,
        [crypto.randomUUID(), sandbox, version, payload, hash, status, NOW],
      ).changes,
    draft: (id: string, sandbox: string, host: string, hits = 2) =>
      db.run(
        `INSERT INTO draft_policy_chunks (id, sandbox_id, draft_version, status, rule_name, proposed_rule, rationale, security_notes,
           confidence, host, port, "binary", hit_count, first_seen_ms, last_seen_ms, created_at_ms)
         VALUES (?, ?, 3, 'pending', 'git', ?, 'why', '', 0.5, ?, 443, '/usr/bin/git', ?, ?, ?, ?)
         ON CONFLICT (sandbox_id, host, port, "binary") WHERE status IN ('pending', 'approved', 'rejected')
         DO UPDATE SET hit_count = hit_count + excluded.hit_count, last_seen_ms = excluded.last_seen_ms`,
        [id, sandbox, encode('openshell.sandbox.v1.NetworkPolicyRule', RULE), host, hits, NOW, NOW, NOW],
      ).changes,
  }
}

/** One of each kind, by those statements. */
function fill(db: Database): void {
  const write = asReference(db)
  const policy = encode('openshell.sandbox.v1.SandboxPolicy', POLICY as never)
  const meta = (id: string, name: string) => ({ id, name, created_at_ms: NOW })
  const provider = {
    metadata: { ...meta('p', 'llm'), labels: { team: 'core' } },
    type: 'openai',
    credentials: { OPENAI_API_KEY: 'sk-stored', 'not-fit': 'x' },
    config: { OPENAI_BASE_URL: 'mock://llm' },
  }
  write.put('provider', 'p', 'llm', encode('openshell.datamodel.v1.Provider', provider as never), '{"team":"core"}')
  const sandbox = {
    metadata: meta(SANDBOX, 'old'),
    spec: { policy: POLICY, providers: ['llm'] },
    phase: 2,
    current_policy_version: 1,
  }
  write.put('sandbox', SANDBOX, 'old', encode('openshell.v1.Sandbox', sandbox as never))
  const session = { metadata: meta(TOKEN, 'abcdef'), sandbox_id: SANDBOX, token: TOKEN }
  write.put('ssh_session', TOKEN, 'abcdef', encode('openshell.v1.SshSession', session as never))
  const route = {
    metadata: meta('r', 'inference.local'),
    config: { provider_name: 'llm', model_id: 'gpt' },
    version: 7n,
  }
  write.put('inference_route', 'r', 'inference.local', encode('openshell.inference.v1.InferenceRoute', route as never))
  const json = (value: unknown) => Buffer.from(JSON.stringify(value))
  const setting = { ocsf_json_enabled: { type: 'Bool', value: true } }
  write.put('gateway_settings', 'gateway_settings:global', 'global', json({ revision: 4, settings: {} }))
  write.put('sandbox_settings', `settings:${SANDBOX}`, 'old', json({ revision: 9, settings: setting }))
  write.revision(SANDBOX, 1, 'loaded', policy, 'a'.repeat(64))
  write.revision(SANDBOX, 2, 'pending', policy, 'b'.repeat(64))
  write.revision('__global__', 1, 'superseded', policy, 'c'.repeat(64))
  write.draft('d1', SANDBOX, 'git.test')
}

/** All rows of the reference's tables and columns. */
function dump(db: Database): Record<string, unknown[]> {
  const columns = {
    objects: 'object_type, id, name, hex(payload), labels, created_at_ms, updated_at_ms',
    sandbox_policies: '*',
    draft_policy_chunks:
      'id, sandbox_id, draft_version, status, rule_name, hex(proposed_rule), rationale, hit_count, host',
    _sqlx_migrations: 'version, description, success, hex(checksum)',
  }
  return Object.fromEntries(
    Object.entries(columns).map(([table, names]) => [
      table,
      db.query(`SELECT ${names} FROM ${table} ORDER BY 1, 2`).all(),
    ]),
  )
}

test('each kind of record that the Rust gateway wrote is answered as it is stored, and reading changes none', async () => {
  writeReferenceDatabase(file())
  const db = new Database(file())
  fill(db)
  const before = dump(db)
  db.close(true)
  await start()
  expect((await ok('GetProvider', { name: 'llm' }))['provider']).toEqual({
    metadata: { id: 'p', name: 'llm', created_at_ms: String(NOW), labels: { team: 'core' } },
    type: 'openai',
    credentials: { OPENAI_API_KEY: 'REDACTED', 'not-fit': 'REDACTED' },
    config: { OPENAI_BASE_URL: 'mock://llm' },
  })
  expect((await ok('GetSandbox', { name: 'old' }))['sandbox']).toMatchObject({ metadata: { id: SANDBOX } })
  expect(await ok('GetSandboxProviderEnvironment', { sandbox_id: SANDBOX })).toEqual({
    environment: { OPENAI_API_KEY: 'sk-stored' },
  })
  expect(await ok('GetSandboxConfig', { sandbox_id: SANDBOX })).toMatchObject({
    version: 2,
    policy_hash: 'b'.repeat(64),
    policy: { network_policies: { web: { name: 'web' } } },
    settings: { ocsf_json_enabled: { value: { bool_value: true }, scope: 'SETTING_SCOPE_SANDBOX' } },
  })
  expect(await ok('GetGatewayConfig')).toMatchObject({ settings_revision: '4' })
  expect((await ok('ListSandboxPolicies', { name: 'old' }))['revisions']).toMatchObject([
    { version: 2, status: 'POLICY_STATUS_PENDING' },
    { version: 1, status: 'POLICY_STATUS_LOADED' },
  ])
  expect((await ok('ListSandboxPolicies', { global: true }))['revisions']).toMatchObject([{ version: 1 }])
  expect(await ok('GetDraftPolicy', { name: 'old' })).toMatchObject({
    draft_version: '3',
    chunks: [{ id: 'd1', rule_name: 'git', hit_count: 2, confidence: 0.5, proposed_rule: RULE }],
  })
  expect(await ok('GetClusterInference')).toMatchObject({ provider_name: 'llm', model_id: 'gpt', version: '7' })
  expect((await ok('GetInferenceBundle'))['routes']).toMatchObject([{ api_key: 'sk-stored', base_url: 'mock://llm' }])
  await stop()
  const after = new Database(file())
  expect(dump(after)).toEqual(before)
  after.close(true)
})

test('a session of the Rust gateway is known by its token', async () => {
  writeReferenceDatabase(file())
  const db = new Database(file())
  fill(db)
  db.close(true)
  await start()
  expect(await ok('RevokeSshSession', { token: TOKEN })).toEqual({ revoked: true })
})

test('a file of the executable has what the Rust gateway expects, and takes its statements', async () => {
  await start()
  const provider = {
    metadata: { name: 'llm', labels: { team: 'core' } },
    type: 'openai',
    credentials: { OPENAI_API_KEY: 'sk' },
  }
  await ok('CreateProvider', { provider })
  const made = await ok('CreateSandbox', {
    name: 'new',
    spec: { policy: POLICY, providers: ['llm'] },
    labels: { a: 'b' },
  })
  const { id } = (made['sandbox'] as { metadata: { id: string } }).metadata
  const ready = { conditions: [{ type: 'Ready', status: 'True', reason: 'Ready' }] }
  await driver!.tell({ do: 'status', sandbox: id, status: ready })
  const phase = async () => ((await ok('GetSandbox', { name: 'new' }))['sandbox'] as { phase: string }).phase
  await until('the sandbox to be ready', async () => (await phase()) === 'SANDBOX_PHASE_READY')
  await ok('GetSandboxConfig', { sandbox_id: id })
  await ok('CreateSshSession', { sandbox_id: id })
  await ok('UpdateConfig', { name: 'new', merge_operations: [{ add_rule: { rule_name: 'git', rule: RULE } }] })
  const setting = { setting_key: 'ocsf_json_enabled', setting_value: { bool_value: true } }
  await ok('UpdateConfig', { name: 'new', ...setting })
  await ok('UpdateConfig', { global: true, ...setting })
  await ok('UpdateConfig', { global: true, policy: POLICY })
  const proposed = { rule_name: 'git', proposed_rule: RULE, confidence: 0.5, hit_count: 3, rationale: 'why' }
  await ok('SubmitPolicyAnalysis', { name: 'new', proposed_chunks: [proposed] })
  await ok('SetClusterInference', { provider_name: 'llm', model_id: 'gpt', no_verify: true })
  await stop()

  const db = new Database(file())
  const rows = db.query<Record<string, unknown> & { payload: Uint8Array }, []>('SELECT * FROM objects').all()
  const types = 'gateway_settings inference_route provider sandbox sandbox_settings ssh_session'
  expect(rows.map(row => row['object_type']).sort()).toEqual(types.split(' '))
  for (const row of rows) {
    const message = PAYLOADS[String(row['object_type'])]
    if (message) {
      const decoded = codec(message).decode(row.payload) as { metadata: { id: string; name: string } }
      expect(
        codec(message)
          .encode(decoded as never)
          .equals(row.payload),
      ).toBe(true)
      expect(decoded.metadata.name).toBe(String(row['name']))
      if (row['object_type'] !== 'ssh_session') expect(decoded.metadata.id).toBe(String(row['id']))
    } else expect(Object.keys(JSON.parse(Buffer.from(row.payload).toString()))).toEqual(['revision', 'settings'])
    expect(JSON.parse(String(row['labels']))).toBeObject()
    expect(Number(row['updated_at_ms'])).toBeGreaterThanOrEqual(Number(row['created_at_ms']))
  }
  const blob = rows.find(row => row['object_type'] === 'gateway_settings')!
  const { settings } = JSON.parse(Buffer.from(blob.payload).toString()) as {
    settings: Record<string, { value: string }>
  }
  const stored = codec('openshell.sandbox.v1.SandboxPolicy').decode(Buffer.from(settings['policy']!.value, 'hex'))
  expect(stored.filesystem?.read_only).toEqual(['/usr'])
  expect(db.query('SELECT version, lower(hex(checksum)) AS checksum FROM _sqlx_migrations ORDER BY 1').all()).toEqual(
    REFERENCE_MIGRATIONS.map(({ version, checksum }) => ({ version, checksum })),
  )

  // What it does not know of does not stand in its way.
  const write = asReference(db)
  const policy = encode('openshell.sandbox.v1.SandboxPolicy', POLICY as never)
  expect(write.put('provider', 'q', 'theirs', encode('openshell.datamodel.v1.Provider', theirs as never))).toBe(1)
  expect(write.revision(id, 9, 'pending', policy, 'd'.repeat(64))).toBe(1)
  expect(write.draft('d2', id, 'other.test')).toBe(1)
  expect(write.draft('d3', id, 'git.test', 4)).toBe(1)
  db.run("DELETE FROM draft_policy_chunks WHERE id = 'd2'")
  db.close(true)
  await start()
  expect((await ok('GetProvider', { name: 'theirs' }))['provider']).toMatchObject({ credentials: { KEY: 'REDACTED' } })
  expect(await ok('GetDraftPolicy', { name: 'new' })).toMatchObject({ chunks: [{ rule_name: 'git', hit_count: 7 }] })
  expect(await ok('GetSandboxPolicyStatus', { name: 'new' })).toMatchObject({ revision: { version: 9 } })
})

const theirs = { metadata: { id: 'q', name: 'theirs', created_at_ms: NOW }, type: 'generic', credentials: { KEY: 'v' } }
