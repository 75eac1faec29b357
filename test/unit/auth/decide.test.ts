import { describe, expect, test } from 'bun:test'
import { cautionsOf } from '../../../src/auth/cautions.ts'
import { type AccessPolicy, decideProof, decideUser } from '../../../src/auth/decide.ts'
import { METHODS, type RpcName, rowFor } from '../../../src/auth/methods.ts'
import type { User } from '../../../src/auth/principal.ts'
import { ROUTES } from '../../../src/auth/routes.ts'
import { Secret } from '../../../src/base/secret.ts'
import { createHarness, oidcConfig } from './harness.ts'

const row = (rpc: RpcName) => [...METHODS.values()].find(each => each.rpc === rpc)!
const policy = (changes: Partial<AccessPolicy> = {}): AccessPolicy => ({
  adminRole: 'openshell-admin',
  userRole: 'openshell-user',
  scopesEnabled: false,
  clientCaConfigured: false,
  allowUnauthenticatedSupervisors: false,
  ...changes,
})
const user = (roles: string[], scopes: string[] = []): User => ({
  kind: 'user',
  subject: 'u',
  issuer: 'i',
  displayName: null,
  clientId: null,
  roles,
  scopes,
  expiresAtMs: 0,
})
/** `ok` or the text of the refusal. */
const may = (rpc: RpcName, caller: User, rules: AccessPolicy = policy()) => {
  const verdict = decideUser(row(rpc), caller, rules)
  return verdict.verdict === 'allow' ? 'ok' : verdict.text
}

describe('roles (spec/auth.md §9.4)', () => {
  test('user and admin methods; admin includes user', () => {
    expect(may('ListSandboxes', user(['openshell-user']))).toBe('ok')
    expect(may('CreateProvider', user(['openshell-user']))).toBe("role 'openshell-admin' required")
    expect(may('CreateProvider', user(['openshell-admin', 'openshell-user']))).toBe('ok')
    expect(may('ListSandboxes', user(['openshell-admin']))).toBe('ok')
    expect(may('ListSandboxes', user([]))).toBe("role 'openshell-user' required")
  })

  test('A-04 both names empty: any verified user; scopes are enforced all the same', () => {
    const none = policy({ adminRole: '', userRole: '' })
    expect(may('CreateProvider', user([]), none)).toBe('ok')
    const scoped = { ...none, scopesEnabled: true }
    expect(may('ListSandboxes', user([], ['sandbox:read']), scoped)).toBe('ok')
    expect(may('ListSandboxes', user([]), scoped)).toBe("scope 'sandbox:read' required")
  })

  test('custom names, equal names', () => {
    const custom = policy({ adminRole: 'OpenShell.Admin', userRole: 'OpenShell.User' })
    expect(may('ListSandboxes', user(['OpenShell.User']), custom)).toBe('ok')
    expect(may('CreateProvider', user(['OpenShell.User']), custom)).toBe("role 'OpenShell.Admin' required")
    expect(may('CreateProvider', user(['team']), policy({ adminRole: 'team', userRole: 'team' }))).toBe('ok')
  })
})

describe('scopes (spec/auth.md §9.4)', () => {
  const scoped = policy({ scopesEnabled: true })
  const both = ['openshell-admin', 'openshell-user']

  test('off: none is needed; on: the one of the row, or all', () => {
    expect(may('ListSandboxes', user(both))).toBe('ok')
    expect(may('CreateSandbox', user(both, ['sandbox:read', 'sandbox:write']), scoped)).toBe('ok')
    expect(may('CreateSandbox', user(both, ['sandbox:read']), scoped)).toBe("scope 'sandbox:write' required")
    expect(may('GetSandboxConfig', user(both, ['config:read']), scoped)).toBe('ok')
    expect(may('GetSandboxConfig', user(both, ['sandbox:read']), scoped)).toBe("scope 'config:read' required")
    expect(may('ListSandboxes', user(both), scoped)).toBe("scope 'sandbox:read' required")
  })

  test('openshell:all opens every scope and no role; the role is asked first', () => {
    expect(may('ListSandboxes', user(['openshell-user'], ['openshell:all']), scoped)).toBe('ok')
    expect(may('CreateProvider', user(['openshell-user'], ['openshell:all']), scoped)).toBe(
      "role 'openshell-admin' required",
    )
    expect(may('CreateProvider', user(both, ['openshell:all']), scoped)).toBe('ok')
    expect(may('CreateProvider', user([], []), scoped)).toBe("role 'openshell-admin' required")
  })

  test('an unlisted path names openshell:all', () => {
    const verdict = decideUser(rowFor('/unknown'), user(both, ['sandbox:read']), scoped)
    expect(verdict).toMatchObject({ verdict: 'deny', text: "scope 'openshell:all' required" })
  })
})

describe('classification (spec/auth.md §9.2)', () => {
  test('classes and audit marks of the rows that matter most', () => {
    expect(row('Health').class).toBe('unauthenticated')
    expect(row('CreateSandbox').class).toBe('bearer')
    expect(row('GetSandboxConfig').class).toBe('dual')
    for (const rpc of [
      'ReportPolicyStatus',
      'GetSandboxProviderEnvironment',
      'PushSandboxLogs',
      'SubmitPolicyAnalysis',
      'GetInferenceBundle',
    ] as const)
      expect(row(rpc).class).toBe('sandbox-secret')
    expect([...METHODS.values()].filter(each => each.role === 'admin').every(each => each.audit)).toBe(true)
    expect(row('GetSandboxProviderEnvironment').audit).toBe(true)
    for (const rpc of [
      'CreateSandbox',
      'DeleteSandbox',
      'ExecSandbox',
      'CreateSshSession',
      'RevokeSshSession',
    ] as const)
      expect(row(rpc).audit).toBe(true)
    expect(row('ListSandboxes').audit).toBe(false)
  })

  test('deadlines: 30 s, more where the driver is waited for, none for streams', () => {
    expect(row('GetSandbox').deadlineMs).toBe(30_000)
    expect(row('CreateSandbox').deadlineMs).toBe(120_000)
    for (const each of METHODS.values()) expect(each.deadlineMs === null).toBe(each.kind !== 'unary')
  })

  test('a bearer or dual row has role and scope, another one neither', () => {
    for (const each of METHODS.values()) {
      const looksAtTokens = each.class === 'bearer' || each.class === 'dual'
      expect([each.role !== null, each.scope !== null]).toEqual([looksAtTokens, looksAtTokens])
    }
  })

  test('decideProof never lets a wrong secret pass as a right one', () => {
    for (const each of METHODS.values()) {
      const verdict = decideProof(each, { secret: 'wrong', bearer: false, certificate: false }, policy())
      expect(verdict.verdict === 'deny' || each.class === 'unauthenticated').toBe(true)
    }
  })
})

describe('routes', () => {
  test('decision 24 readiness and metrics are not on the main port; that the process lives may be asked', () => {
    expect(ROUTES.map(each => `${each.path} ${each.access}`)).toEqual([
      '/auth/connect anyone',
      '/auth/oidc-config anyone',
      '/healthz anyone',
      '/_ws_tunnel nested',
      '/connect/ssh session-token',
    ])
  })
})

describe('start', () => {
  test('J-31 a claim path that leads nowhere ends the start with exit 2', () => {
    for (const changes of [{ rolesClaim: 'a..b' }, { scopesClaim: '/a~2' }])
      expect(() => createHarness({ oidc: oidcConfig('https://idp.test', changes) })).toThrow(
        /^--oidc-(roles|scopes)-claim/,
      )
  })

  test('A-04, A-05, A-23 ways to run that give much away are said, the usual one says nothing', () => {
    const facts = (oidc: Parameters<typeof oidcConfig>[1] | null, clientCaConfigured = false) => ({
      oidc: oidc === null ? null : oidcConfig('https://idp.test', oidc),
      sandboxSecret: {
        master: new Secret('x'),
        issue: false,
        requireBinding: false,
        allowUnauthenticatedSupervisors: false,
      },
      clientCaConfigured,
    })
    expect(cautionsOf(facts({}))).toEqual([])
    expect(cautionsOf(facts(null))).toHaveLength(1)
    expect(cautionsOf(facts(null, true))).toHaveLength(1)
    expect(cautionsOf(facts({ adminRole: '', userRole: '' }))).toHaveLength(1)
    expect(cautionsOf(facts({ adminRole: '', userRole: '', scopesClaim: 'scope' }))).toHaveLength(0)
    expect(cautionsOf(facts({ adminRole: 'team', userRole: 'team' }))).toHaveLength(1)
  })
})
