import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { join } from 'node:path'
import { METHODS, type MethodRow, type RpcName, rowFor } from '../../../src/auth/methods.ts'
import { type FakeIssuer, type SigningKey, signingKey, startIssuer } from '../../kit/issuer.ts'
import { createHarness, type Harness, MASTER, oidcConfig, type Presents } from './harness.ts'
import { CALLERS, MATRIX, SCOPE_CALLERS } from './methods.expected.ts'

const ADMIN = { realm_access: { roles: ['openshell-admin', 'openshell-user'] } }

let key: SigningKey
let issuer: FakeIssuer
let plain: Harness
let scoped: Harness

beforeAll(async () => {
  key = await signingKey('k1')
  issuer = await startIssuer(key)
  plain = createHarness({ oidc: oidcConfig(issuer.url) })
  scoped = createHarness({ oidc: oidcConfig(issuer.url, { scopesClaim: 'scope' }) })
  await Promise.all([plain.authenticator.start(), scoped.authenticator.start()])
})

afterAll(async () => {
  plain.authenticator.close()
  scoped.authenticator.close()
  await issuer.close()
})

const OUTCOMES: Readonly<Record<string, string>> = {
  '.': 'ok',
  M: 'UNAUTHENTICATED missing authorization header',
  R: 'UNAUTHENTICATED sandbox secret required for this method',
  W: 'UNAUTHENTICATED invalid sandbox secret',
  S: 'PERMISSION_DENIED supervisor RPCs require a sandbox principal',
  u: "PERMISSION_DENIED role 'openshell-user' required",
  a: "PERMISSION_DENIED role 'openshell-admin' required",
}

const LINES = MATRIX.trim()
  .split('\n')
  .map(line => {
    const [rpc, plainly, withScopes, scope = ''] = line.split('|').map(cell => cell.trim())
    const outcome = (letter: string) =>
      letter === 's' ? `PERMISSION_DENIED scope '${scope}' required` : OUTCOMES[letter]!
    return {
      rpc: rpc as RpcName,
      plainly: plainly!.split(' ').map(outcome),
      withScopes: withScopes!.split(' ').map(outcome),
    }
  })

describe('A-02 every RPC × 16 callers', () => {
  test('the expectation names each RPC of the contract once', () => {
    const rpcs = [...METHODS.values()].flatMap(row => (row.rpc === null ? [] : [row.rpc as string]))
    expect(LINES.map(line => line.rpc as string).sort()).toEqual(rpcs.sort())
    expect(LINES.length).toBe(37)
  })

  test.each([
    [
      'an RPC that is new',
      { BrandNew: { requestType: 'HealthRequest', responseType: 'HealthResponse' } },
      'no single access row for /openshell.v1.OpenShell/BrandNew',
    ],
    [
      'an RPC that streams now',
      { GetSandbox: { requestType: 'GetSandboxRequest', responseType: 'SandboxResponse', responseStream: true } },
      'access row of /openshell.v1.OpenShell/GetSandbox has the wrong kind',
    ],
  ])(
    'A-18 with %s in the contract the table of access does not load until it has a row for it',
    (_, changed, sentence) => {
      const load = `
      import contract from './src/wire/contract.generated.json'
      Object.assign(contract.nested.openshell.nested.v1.nested.OpenShell.methods, ${JSON.stringify(changed)})
      await import('./src/auth/methods.ts')`
      const { stderr, exitCode } = Bun.spawnSync([process.execPath, '-e', load], {
        cwd: join(import.meta.dir, '../../..'),
      })
      expect(stderr.toString()).toContain(sentence)
      expect(exitCode).toBe(1)
    },
  )

  test.each(LINES)('$rpc', async ({ rpc, plainly, withScopes }) => {
    const user = await issuer.token()
    const callers: Record<(typeof CALLERS)[number], Presents> = {
      nothing: {},
      // Each from an address of its own, so that no limit on wrong secrets is met.
      'wrong secret': { secret: 'not-the-secret', address: `wrong for ${rpc}` },
      secret: { secret: MASTER },
      user: { token: user },
      admin: { token: await issuer.token({ claims: ADMIN }) },
      'secret and user': { token: user, secret: MASTER },
      'no role': { token: await issuer.token({ claims: { realm_access: { roles: [] } } }) },
    }
    const got = await Promise.all(CALLERS.map(name => plain.outcome(rpc, callers[name])))
    expect(got).toEqual(plainly)
    const tokens = await Promise.all(
      SCOPE_CALLERS.map(scope => issuer.token({ claims: { ...ADMIN, scope: `openid ${scope}` } })),
    )
    expect(await Promise.all(tokens.map(token => scoped.outcome(rpc, { token })))).toEqual(withScopes)
  })

  test('OIDC off: every RPC is open, whatever is presented, and nobody is anybody (A-05)', async () => {
    const off = createHarness({ oidc: null })
    for (const { rpc } of LINES)
      for (const presents of [{}, { secret: MASTER }, { secret: 'x' }, { token: 'x' }] satisfies Presents[])
        expect(await off.call(rpc, presents)).toEqual({ kind: 'anonymous' })
    expect(off.authenticator.readiness()).toEqual({ status: 'off', keysAgeMs: null })
  })
})

describe('who a caller becomes', () => {
  test('the secret wins over a token beside it on a dual method (spec/auth.md §4)', async () => {
    const token = await issuer.token({ claims: ADMIN })
    expect(await plain.call('UpdateConfig', { token, secret: MASTER })).toMatchObject({
      kind: 'sandbox',
      proof: 'master',
    })
    expect(await plain.call('UpdateConfig', { token, secret: 'wrong' })).toMatchObject({
      kind: 'user',
      subject: 'user-1',
    })
  })

  test('a secret on a bearer method is neither looked at nor accepted (A-09)', async () => {
    expect(await plain.outcome('ListSandboxes', { secret: MASTER })).toBe(
      'UNAUTHENTICATED missing authorization header',
    )
    expect(await plain.call('ListSandboxes', { token: await issuer.token(), secret: 'wrong' })).toMatchObject({
      kind: 'user',
    })
  })

  test('an unauthenticated method lets a broken token and a wrong secret pass', async () => {
    expect(await plain.call('Health', { token: 'a.b.c', secret: 'x' })).toEqual({ kind: 'anonymous' })
  })
})

describe('paths that are no RPC (spec/auth.md §3.3, §3.4)', () => {
  const stray = (path: string, presents: Presents = {}) => plain.outcome(rowFor(path) as MethodRow, presents)

  test.each([
    '/openshell.inference.v1.Inference/Health',
    '/grpc.health.v1.Health/Check',
    '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
    '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo',
  ])('%s asks for nothing', async path => {
    expect(await stray(path)).toBe('ok')
    expect(rowFor(path).rpc).toBeNull()
  })

  test('the old SandboxService path asks for the secret', async () => {
    const path = '/openshell.sandbox.v1.SandboxService/GetSandboxConfig'
    expect(await stray(path, { token: await issuer.token() })).toBe(
      'UNAUTHENTICATED sandbox secret required for this method',
    )
    expect(await stray(path, { secret: MASTER })).toBe('ok')
  })

  test.each([
    '/openshell.v1.OpenShell/NoSuch',
    '/x',
    '/openshell.v1.OpenShell/health',
    '//openshell.v1.OpenShell/Health',
    '/grpc.healthx/Y',
    '/openshell.v1.OpenShell/Healt%68',
    '',
  ])('%p asks for a user with every scope (A-19)', async path => {
    expect(await stray(path)).toBe('UNAUTHENTICATED missing authorization header')
    expect(await stray(path, { token: await issuer.token() })).toBe('ok')
    const one = { token: await issuer.token({ claims: { scope: 'sandbox:read' } }) }
    expect(await scoped.outcome(rowFor(path), one)).toBe("PERMISSION_DENIED scope 'openshell:all' required")
  })
})
