import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { codec } from '../../../src/wire/codec.ts'
import { createPolicyBench } from '../../kit/policy-bench.ts'

const IDENTITY = { run_as_user: 'sandbox', run_as_group: 'sandbox' }
const RULE_A = {
  name: 'github',
  endpoints: [
    { host: 'api.github.com', port: 443, ports: [443], protocol: 'rest', enforcement: 'enforce', access: 'read-only' },
  ],
  binaries: [{ path: '/usr/bin/curl' }],
}
const DEFAULT = {
  version: 1,
  filesystem: {
    include_workdir: true,
    read_only: ['/usr', '/lib', '/proc', '/dev/urandom', '/app', '/etc', '/var/log'],
    read_write: ['/sandbox', '/tmp', '/dev/null'],
  },
  landlock: { compatibility: 'best_effort' },
  process: IDENTITY,
}
const WITH_A = { ...DEFAULT, network_policies: { github: RULE_A } }
const HASH_DEFAULT = '21ca0b7c8c0ee3fe71660bb18960bdb2d572b6904f6a22338eba727ca26add43'
const HASH_A = '7cc003b50e7afe2c151068d30dd0196e076465c45fb24cb421dc182c8aeeaecb'
const BOOL = { setting_key: 'ocsf_json_enabled', setting_value: { bool_value: true } }
const MASTER = { kind: 'sandbox', proof: 'master', sandboxId: null } as const

let bench: Awaited<ReturnType<typeof createPolicyBench>>
beforeEach(async () => {
  bench = await createPolicyBench()
})
afterEach(() => bench.close())

const states = async (name: string) =>
  (await bench.call('ListSandboxPolicies', { name })).response!.revisions.map(one => [one.version, one.status])

describe('GetSandboxConfig', () => {
  test('a sandbox without policy has the revision of nothing', async () => {
    const id = await bench.sandbox('a')
    const { response } = await bench.call('GetSandboxConfig', { sandbox_id: id })
    expect(response).toMatchObject({ version: 0, policy_hash: '', policy_source: 1 })
    expect(response!.policy).toBeNull()
    expect(response!.config_revision).toBe(9818314756715133604n)
    expect(Object.keys(response!.settings)).toEqual(['ocsf_json_enabled'])
  })

  test('the first read makes revision 1, loaded and never loaded again', async () => {
    const id = await bench.sandbox('a', DEFAULT)
    for (let i = 0; i < 2; i++)
      expect((await bench.call('GetSandboxConfig', { sandbox_id: id })).response).toMatchObject({
        version: 1,
        policy_hash: HASH_DEFAULT,
        config_revision: 259528162185947343n,
      })
    expect(await states('a')).toEqual([[1, 2]])
    const { response } = await bench.call('GetSandboxPolicyStatus', { name: 'a' })
    expect(response!.revision).toMatchObject({ status: 2, loaded_at_ms: 0n })
    expect(response!.revision!.policy!.filesystem!.read_write).toEqual(['/sandbox', '/tmp', '/dev/null'])
  })

  test('a secret of another sandbox reads nothing (A-3)', async () => {
    const id = await bench.sandbox('a', DEFAULT)
    bench.as({ kind: 'sandbox', proof: 'derived', sandboxId: 'other' })
    expect((await bench.call('GetSandboxConfig', { sandbox_id: id })).code).toBe('PERMISSION_DENIED')
  })
})

describe('UpdateConfig', () => {
  test('what is loaded stays loaded until the next one is (W8)', async () => {
    const id = await bench.sandbox('a', DEFAULT)
    await bench.call('GetSandboxConfig', { sandbox_id: id })
    const updated = await bench.call('UpdateConfig', { name: 'a', policy: WITH_A })
    expect(updated.response).toMatchObject({ version: 2, policy_hash: HASH_A })
    expect(await states('a')).toEqual([
      [2, 1],
      [1, 2],
    ])
    await bench.call('ReportPolicyStatus', { sandbox_id: id, version: 2, status: 2 })
    expect(await states('a')).toEqual([
      [2, 2],
      [1, 4],
    ])
    expect((await bench.call('GetSandboxPolicyStatus', { name: 'a' })).response!.active_version).toBe(2)
  })

  test('an older report does not move the active version back (W10)', async () => {
    const id = await bench.sandbox('a', DEFAULT)
    for (const version of [1, 2, 3]) await bench.call('UpdateConfig', { name: 'a', policy: { ...DEFAULT, version } })
    await bench.call('ReportPolicyStatus', { sandbox_id: id, version: 3, status: 2 })
    await bench.call('ReportPolicyStatus', { sandbox_id: id, version: 2, status: 2 })
    expect((await bench.call('GetSandboxPolicyStatus', { name: 'a' })).response!.active_version).toBe(3)
    expect((await bench.call('ReportPolicyStatus', { sandbox_id: '__global__', version: 1, status: 2 })).code).toBe(
      'NOT_FOUND',
    )
  })

  test('the same policy makes no revision, another with the same hash does (W7)', async () => {
    await bench.sandbox('a', { version: 1, process: IDENTITY })
    const first = { name: 'x', endpoints: [{ host: 'a.io', port: 80 }] }
    const second = { endpoints: [{ host: 'b.io', port: 81 }] }
    const bytes = codec('openshell.sandbox.v1.NetworkPolicyRule').encode(first).toString()
    const one = await bench.call('UpdateConfig', {
      name: 'a',
      policy: { version: 1, network_policies: { a: first, b: second } },
    })
    const again = await bench.call('UpdateConfig', {
      name: 'a',
      policy: { version: 1, network_policies: { b: second, a: first } },
    })
    const other = await bench.call('UpdateConfig', {
      name: 'a',
      policy: { version: 1, network_policies: { [`a${bytes}b`]: second } },
    })
    expect(again.response!.version).toBe(one.response!.version)
    expect(other.response!.policy_hash).toBe(one.response!.policy_hash)
    expect(other.response!.version).toBe(one.response!.version + 1)
  })

  test.each([
    ['no baseline, root identity (W2)', { process: { run_as_user: 'root' } }],
    [
      '300 kB (W3)',
      { version: 1, network_policies: { big: { name: 'x'.repeat(300_000), endpoints: [{ host: 'a.io', port: 1 }] } } },
    ],
    ['port out of range (W4)', { network_policies: { r: { endpoints: [{ host: 'a.io', port: 65_536 }] } } }],
    ['hidden root (W4)', { filesystem: { read_write: ['/./'] } }],
    ['wildcard only (W4)', { network_policies: { r: { endpoints: [{ host: '**', port: 1 }] } } }],
  ])('%s is refused and not stored', async (_title, policy) => {
    await bench.sandbox('a')
    for (const scope of [{ name: 'a' }, { global: true }])
      expect((await bench.call('UpdateConfig', { ...scope, policy })).code).toBe('INVALID_ARGUMENT')
    expect(await states('a')).toEqual([])
    expect((await bench.call('GetGatewayConfig', {})).response!.settings_revision).toBe(0n)
  })

  test('a sandbox secret may set the first policy and add paths, nothing else (W1)', async () => {
    const id = await bench.sandbox('a')
    bench.as(MASTER)
    const send = (policy: object) => bench.call('UpdateConfig', { name: 'a', policy })
    const net = { version: 1, network_policies: { github: RULE_A } }
    expect((await send(net)).code).toBe('OK')
    expect((await send({ ...net, filesystem: DEFAULT.filesystem })).response!.version).toBe(2)
    expect((await send({ ...net, filesystem: DEFAULT.filesystem, landlock: DEFAULT.landlock })).code).toBe(
      'PERMISSION_DENIED',
    )
    expect((await send({ version: 1, filesystem: DEFAULT.filesystem })).code).toBe('PERMISSION_DENIED')
    expect((await bench.call('UpdateConfig', { name: 'a', ...BOOL })).code).toBe('PERMISSION_DENIED')
    bench.as({ kind: 'sandbox', proof: 'derived', sandboxId: `${id}x` })
    expect((await send(net)).code).toBe('PERMISSION_DENIED')
  })

  test('a field of a newer client is refused by its path (W27)', async () => {
    await bench.sandbox('a')
    const endpoint = Buffer.concat([
      codec('openshell.sandbox.v1.NetworkEndpoint').encode({ host: 'h' }),
      Buffer.from([0xa2, 6, 1, 97]),
    ])
    const wrap = (field: number, body: Uint8Array) =>
      Buffer.concat([Buffer.from([(field << 3) | 2, body.length]), body])
    const entry = Buffer.concat([wrap(1, Buffer.from('k')), wrap(2, wrap(2, endpoint))])
    const policy = codec('openshell.v1.UpdateConfigRequest').decode(wrap(2, wrap(5, entry))).policy!
    const { createUpdateConfig } = await import('../../../src/services/update-config.ts')
    const update = createUpdateConfig({} as never)
    expect(() =>
      update(
        { name: 'a', policy, setting_key: '', merge_operations: [] } as never,
        { principal: { kind: 'anonymous' } } as never,
      ),
    ).toThrow("policy.network_policies['k'].endpoints[0]")
  })

  test('a global policy is delivered to all, blocks changes, and leaves nothing behind', async () => {
    const id = await bench.sandbox('a', DEFAULT)
    const set = await bench.call('UpdateConfig', { global: true, policy: WITH_A })
    expect(set.response).toMatchObject({ version: 1, policy_hash: HASH_A, settings_revision: 1n })
    expect((await bench.call('GetSandboxConfig', { sandbox_id: id })).response).toMatchObject({
      version: 1,
      policy_hash: HASH_A,
      policy_source: 2,
      global_policy_version: 1,
    })
    expect((await bench.call('UpdateConfig', { name: 'a', policy: DEFAULT })).code).toBe('FAILED_PRECONDITION')
    const gone = await bench.call('UpdateConfig', { global: true, setting_key: 'policy', delete_setting: true })
    expect(gone.response).toMatchObject({ deleted: true, settings_revision: 2n })
    expect((await bench.call('GetSandboxConfig', { sandbox_id: id })).response).toMatchObject({
      policy_hash: HASH_DEFAULT,
      policy_source: 1,
      global_policy_version: 0,
    })
    expect((await bench.call('UpdateConfig', { global: true, policy: WITH_A })).response!.version).toBe(2)
  })

  test('50 settings changes at once are all there, one revision each (S-09)', async () => {
    await bench.sandbox('a')
    await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        bench.call('UpdateConfig', {
          name: 'a',
          setting_key: 'ocsf_json_enabled',
          setting_value: { bool_value: i % 2 === 0 },
        }),
      ),
    )
    const { response } = await bench.call('UpdateConfig', { name: 'a', ...BOOL })
    expect(response!.settings_revision).toBe(51n)
  })

  test('merges at once are all there, versions without a gap (W17)', async () => {
    await bench.sandbox('a', DEFAULT)
    const add = (i: number) => ({
      add_rule: { rule_name: `r${i}`, rule: { endpoints: [{ host: `h${i}.io`, port: 443 }] } },
    })
    const all = await Promise.all(
      Array.from({ length: 24 }, (_, i) => bench.call('UpdateConfig', { name: 'a', merge_operations: [add(i)] })),
    )
    expect(all.map(one => one.response!.version).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 24 }, (_, i) => i + 1),
    )
    const { response } = await bench.call('GetSandboxPolicyStatus', { name: 'a' })
    expect(Object.keys(response!.revision!.policy!.network_policies)).toHaveLength(24)
  })

  test('I-05 names that every object has are names like any other: unknown as settings, kept as rules', async () => {
    const id = await bench.sandbox('a', DEFAULT)
    const odd = ['__proto__', 'constructor', 'hasOwnProperty', 'prototype', 'toString', 'valueOf']
    const config = async () => (await bench.call('GetSandboxConfig', { sandbox_id: id })).response!
    for (const key of odd) {
      const unknown = {
        code: 'INVALID_ARGUMENT',
        details: `unknown setting key '${key}'. Allowed keys: ocsf_json_enabled`,
      }
      const set = { setting_key: key, setting_value: { bool_value: true } }
      const remove = { setting_key: key, delete_setting: true }
      for (const change of [
        { ...set, name: 'a' },
        { ...set, global: true },
        { ...remove, global: true },
      ])
        expect(await bench.call('UpdateConfig', change)).toEqual(unknown)
      expect((await bench.call('UpdateConfig', { ...remove, name: 'a' })).response!.deleted).toBe(false)
      const add_rule = { rule_name: key, rule: { name: key, endpoints: [{ host: `${key}.io`, port: 443 }] } }
      expect((await bench.call('UpdateConfig', { name: 'a', merge_operations: [{ add_rule }] })).code).toBe('OK')
    }
    const { policy, settings } = await config()
    expect(Object.entries(policy!.network_policies).map(([key, rule]) => [key, rule.name])).toEqual(
      odd.map(key => [key, key]),
    )
    expect(Object.keys(settings)).toEqual(['ocsf_json_enabled'])
    for (const rule_name of odd)
      await bench.call('UpdateConfig', { name: 'a', merge_operations: [{ remove_rule: { rule_name } }] })
    expect(Object.keys((await config()).policy!.network_policies)).toEqual([])
  })

  test('I-09 versions, pages and statuses at their edges are not found, empty or refused', async () => {
    const id = await bench.sandbox('a', DEFAULT)
    await bench.call('GetSandboxConfig', { sandbox_id: id })
    const most = 2 ** 32 - 1
    for (const [limit, offset, count] of [
      [0, 0, 1],
      [most, 0, 1],
      [0, 1, 0],
      [most, most, 0],
    ] as const)
      expect((await bench.call('ListSandboxPolicies', { name: 'a', limit, offset })).response!.revisions).toHaveLength(
        count,
      )
    const report = async (version: number, status: number) =>
      (await bench.call('ReportPolicyStatus', { sandbox_id: id, version, status } as never)).code
    for (const version of [2 ** 31, most]) {
      expect((await bench.call('GetSandboxPolicyStatus', { name: 'a', version })).code).toBe('NOT_FOUND')
      expect(await report(version, 2)).toBe('NOT_FOUND')
    }
    for (const status of [-(2 ** 31), -1, 0, 1, 5, 2 ** 31 - 1])
      expect(await report(1, status)).toBe('INVALID_ARGUMENT')
  })

  test('merges say in the sandbox log what they did', async () => {
    await bench.sandbox('a', WITH_A)
    await bench.call('UpdateConfig', {
      name: 'a',
      merge_operations: [
        {
          add_allow_rules: {
            host: 'api.github.com',
            port: 443,
            rules: [{ allow: { method: 'POST', path: '/repos/*/issues' } }],
          },
        },
      ],
    })
    expect(bench.lines[1]).toStartWith(
      'CONFIG:MERGED [INFO] gateway merged incremental policy op: add-allow api.github.com:443 [POST /repos/*/issues] [version:v1 hash:',
    )
  })
})
