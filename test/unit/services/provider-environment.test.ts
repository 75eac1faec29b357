import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { ANONYMOUS, type Principal } from '../../../src/auth/principal.ts'
import { Secret } from '../../../src/base/secret.ts'
import { type CredentialsDriver, DriverError } from '../../../src/drivers/contract.ts'
import { createCredentials } from '../../../src/live/credentials.ts'
import type { ProbeRequest } from '../../../src/live/inference-probe.ts'
import { createCommit } from '../../../src/services/commit.ts'
import { createInferenceService } from '../../../src/services/inference.ts'
import { createProviderCodec } from '../../../src/services/provider-codec.ts'
import { createProviderEnvironmentService } from '../../../src/services/provider-environment.ts'
import { openStore } from '../../../src/store/open.ts'
import { CLEAR_TEXT, createSealer, parseStoreKeys } from '../../../src/store/sealing.ts'
import type { Store } from '../../../src/store/store.ts'
import { codec } from '../../../src/wire/codec.ts'
import { createCapturedLog } from '../../kit/captured-log.ts'
import { createFakeClock } from '../../kit/clock.ts'
import { createCaller } from '../../kit/policy-bench.ts'

const PROVIDER = codec('openshell.datamodel.v1.Provider')
const REF = 'openshell:resolve:credential:'

const clock = createFakeClock()
let store: Store
let log: ReturnType<typeof createCapturedLog>
let calls: string[]
let principal: Principal
let probed: ProbeRequest[]
let verdict: number
let call: ReturnType<typeof createCaller>
let records = createProviderCodec(CLEAR_TEXT)

async function setUp(sealed = false) {
  log = createCapturedLog()
  store = await openStore('sqlite::memory:', { clock, log })
  ;[calls, probed, verdict, principal] = [[], [], 200, ANONYMOUS]
  const driver: CredentialsDriver = {
    state: { status: 'ready' },
    async resolve(name) {
      calls.push(name)
      if (name === 'dead') throw new DriverError('UNAVAILABLE', 'issuer says hunter2', true)
      return { token: new Secret(`token-of-${name}`), expiresAtMs: clock.nowMs() + 300_000, tokenType: 'Bearer' }
    },
    list: async () => [],
    start: async () => undefined,
    close: async () => undefined,
  }
  records = createProviderCodec(sealed ? createSealer(parseStoreKeys('a'.repeat(64))) : CLEAR_TEXT)
  const credentials = createCredentials({ driver, clock, log })
  const probe = async (request: ProbeRequest) => {
    probed.push(request)
    return { kind: 'answer', status: verdict, body: 'said' } as const
  }
  const shared = { store, providers: records, credentials, log, clock }
  const inference = { commit: createCommit(store), probe, allowMock: false, revisionKey: 'k' }
  call = createCaller(
    { ...createProviderEnvironmentService(shared), ...createInferenceService({ ...shared, ...inference }) },
    () => principal,
  )
}

beforeEach(() => setUp())
afterEach(() => store.close())

const provider = (name: string, type: string, credentials: [string, string][], config: [string, string][] = []) => {
  const id = crypto.randomUUID()
  const payload = records.encode(
    PROVIDER.decode(
      PROVIDER.encode({ metadata: { id, name }, type, credentials: new Map(credentials), config: new Map(config) }),
    ),
  )
  return store.transaction(tx => tx.insert({ type: 'provider', id, name, payload }))
}
const sandbox = async (...providers: string[]): Promise<string> => {
  const id = crypto.randomUUID()
  const payload = codec('openshell.v1.Sandbox').encode({ metadata: { id, name: id }, spec: { providers } })
  await store.transaction(tx => tx.insert({ type: 'sandbox', id, name: id, payload }))
  return id
}
const environment = async (id: string) =>
  (await call('GetSandboxProviderEnvironment', { sandbox_id: id })).response?.environment

describe('the environment of a sandbox (spec/providers.md §8.2)', () => {
  test('the first provider of a key wins; keys that are no variables are left out and named', async () => {
    await provider('one', 'x', [
      ['SHARED', '1'],
      ['bad-key', 'x'],
      ['1X', 'y'],
    ])
    await provider(
      'two',
      'x',
      [
        ['SHARED', '2'],
        ['TWO', ''],
      ],
      [['CFG', 'never']],
    )
    expect(await environment(await sandbox('one', 'two', 'one'))).toEqual({ SHARED: '1', TWO: '' })
    expect(await environment(await sandbox('two', 'one'))).toEqual({ SHARED: '2', TWO: '' })
    expect(JSON.stringify(log.lines)).toContain('bad-key')
  })

  test('a provider that is gone costs its own keys only (W9)', async () => {
    await provider('one', 'x', [['ONE', '1']])
    expect(await environment(await sandbox('gone', 'one'))).toEqual({ ONE: '1' })
  })

  test('references are resolved, one call for a name; a failing one is left out, never replaced', async () => {
    await provider('one', 'x', [
      ['A', `${REF}github`],
      ['B', `${REF}github`],
      ['C', `${REF}dead`],
      ['D', `${REF}`],
      ['E', 'openshell:resolve:env:A'],
    ])
    await provider('two', 'x', [['C', 'of another provider']])
    const id = await sandbox('one', 'two')
    expect(await environment(id)).toEqual({
      A: 'token-of-github',
      B: 'token-of-github',
      D: REF,
      E: 'openshell:resolve:env:A',
    })
    await Promise.all(Array.from({ length: 200 }, () => environment(id)))
    expect(calls.toSorted()).toEqual(['dead', 'github'])
    const said = JSON.stringify(log.lines)
    expect(said).toContain('"credential":"github"')
    expect(said).not.toContain('token-of')
    expect(said).not.toContain('hunter2')
  })

  test('a secret of another sandbox gets nothing, an unknown sandbox is not found (W10)', async () => {
    await provider('one', 'x', [['ONE', '1']])
    const id = await sandbox('one')
    expect((await call('GetSandboxProviderEnvironment', { sandbox_id: 'nope' })).code).toBe('NOT_FOUND')
    principal = { kind: 'sandbox', proof: 'derived', sandboxId: 'other' }
    expect((await call('GetSandboxProviderEnvironment', { sandbox_id: id })).code).toBe('PERMISSION_DENIED')
  })

  test('sealed values arrive in clear, and no table holds them (S-18)', async () => {
    await store.close()
    await setUp(true)
    await provider('one', 'x', [['ONE', 'canary-value']])
    expect(await environment(await sandbox('one'))).toEqual({ ONE: 'canary-value' })
    expect(Buffer.from((await store.getByName('provider', 'one'))!.payload).toString('latin1')).not.toContain('canary')
  })
})

describe('inference (spec/providers.md §9 to §12)', () => {
  const set = (more = {}) => call('SetClusterInference', { provider_name: 'oa', model_id: ' gpt ', ...more })
  const bundle = async () => (await call('GetInferenceBundle', {})).response!

  test('a verified route is stored and delivered with the key, versions count', async () => {
    await provider('oa', 'OpenAI', [
      ['OPENAI_API_KEY', 'sk'],
      ['OTHER', 'x'],
    ])
    expect((await set()).response).toMatchObject({
      version: 1n,
      validation_performed: true,
      validated_endpoints: [{ url: 'https://api.openai.com/v1/chat/completions', protocol: 'openai_chat_completions' }],
    })
    expect(probed[0]!.headers).toEqual([['authorization', 'Bearer sk']])
    expect(probed[0]!.body).toBe(
      '{"max_completion_tokens":32,"messages":[{"content":"ping","role":"user"}],"model":"gpt"}',
    )
    expect((await set({ no_verify: true })).response!.version).toBe(2n)
    expect((await bundle()).routes).toMatchObject([
      { name: 'inference.local', api_key: 'sk', model_id: 'gpt', provider_type: 'openai' },
    ])
  })

  test('a refused key stores nothing and says what to do; another shape is tried once', async () => {
    await provider('oa', 'openai', [['K', 'sk']])
    verdict = 401
    const refused = await set()
    expect(refused.code).toBe('FAILED_PRECONDITION')
    expect('details' in refused && refused.details).toContain('verify the provider API key')
    expect(probed).toHaveLength(1)
    verdict = 400
    await set()
    expect(probed).toHaveLength(3)
    expect((await call('GetClusterInference', {})).code).toBe('NOT_FOUND')
  })

  test.each(['__proto__', 'constructor', 'toString'])(
    'I-05 %s is neither a type that serves models nor a route',
    async odd => {
      await provider('oa', odd, [['OPENAI_API_KEY', 'sk']])
      expect(await set()).toEqual({
        code: 'INVALID_ARGUMENT',
        details: `provider 'oa' has unsupported type '${odd.toLowerCase()}' for cluster inference (supported: openai, anthropic, nvidia)`,
      })
      for (const rpc of ['SetClusterInference', 'GetClusterInference'] as const)
        expect((await call(rpc, { provider_name: 'oa', model_id: 'm', route_name: odd } as never)).code).toBe(
          'INVALID_ARGUMENT',
        )
    },
  )

  test.each([
    [0n, 'OK'],
    [3600n, 'OK'],
    [3601n, 'INVALID_ARGUMENT'],
    [2n ** 53n + 1n, 'INVALID_ARGUMENT'],
    [2n ** 64n - 1n, 'INVALID_ARGUMENT'],
  ])('I-09 a timeout of %d seconds: %s', async (timeout_secs, code) => {
    await provider('oa', 'openai', [['OPENAI_API_KEY', 'sk']])
    expect((await set({ timeout_secs, no_verify: true })).code).toBe(code)
  })

  test('a key held by the driver is in the bundle and in the verification; a broken route leaves the other (W15)', async () => {
    await provider('oa', 'openai', [['OPENAI_API_KEY', `${REF}llm`]])
    await provider('an', 'anthropic', [['ANTHROPIC_API_KEY', `${REF}dead`]])
    await set()
    await call('SetClusterInference', {
      provider_name: 'an',
      model_id: 'm',
      no_verify: true,
      route_name: 'sandbox-system',
    })
    expect(probed[0]!.headers[0]).toEqual(['authorization', 'Bearer token-of-llm'])
    expect((await bundle()).routes.map(route => [route.name, route.api_key])).toEqual([
      ['inference.local', 'token-of-llm'],
    ])
    expect(JSON.stringify(log.lines)).not.toContain('token-of')
  })

  test('with several credentials only the known key is used (W16)', async () => {
    await provider('oa', 'openai', [
      ['GITHUB_TOKEN', 'ghp'],
      ['OTHER', 'x'],
    ])
    expect((await set({ no_verify: true })).code).toBe('INVALID_ARGUMENT')
  })

  test('the revision stays while nothing changes and moves with every part; nothing is 16 digits too (W17)', async () => {
    const none = (await bundle()).revision
    await provider('oa', 'openai', [['OPENAI_API_KEY', 'sk']])
    const seen = [none]
    for (const more of [
      {},
      { model_id: 'other' },
      { timeout_secs: 7 },
      { timeout_secs: 7, route_name: 'sandbox-system' },
    ]) {
      await set({ no_verify: true, ...more })
      seen.push((await bundle()).revision)
      expect((await bundle()).revision).toBe(seen.at(-1)!)
    }
    expect(new Set(seen).size).toBe(seen.length)
    for (const revision of seen) expect(revision).toMatch(/^[0-9a-f]{16}$/)
  })

  test.each([
    [{ model_id: 'm'.repeat(513) }, 'model_id exceeds maximum length (513 > 512)'],
    [{ timeout_secs: 3601 }, 'timeout_secs exceeds maximum (3601 > 3600)'],
    [{ route_name: 'x' }, "unknown route_name 'x'; expected 'inference.local' or 'sandbox-system'"],
  ])('%p is refused (W14)', async (more, details) => {
    await provider('oa', 'openai', [['K', 'sk']])
    expect(await set(more)).toEqual({ code: 'INVALID_ARGUMENT', details })
  })

  test('mock endpoints need permission (decision 29)', async () => {
    await provider('oa', 'openai', [['K', 'sk']], [['OPENAI_BASE_URL', 'mock://x']])
    const refused = await set()
    expect('details' in refused && refused.details).toContain('--inference-allow-private-endpoints')
    expect(probed).toHaveLength(0)
  })
})
