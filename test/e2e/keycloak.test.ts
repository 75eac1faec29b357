/**
 * The ten OIDC promises of spec/auth.md §9.1 with a real Keycloak 24 whose realm has no audience mapper: its access
 * tokens carry `azp` and no `aud` (decision 1), and the gateway runs with its default audience flags.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { type GatewayProcess, startGateway } from '../kit/gateway.ts'
import { type Keycloak, noKeycloak as skipped, startKeycloak } from '../kit/keycloak.ts'

if (skipped !== null) console.log(`skipped: ${skipped}`)

/** Downloading Keycloak for the first time takes most of it. */
const START_MS = 300_000

describe.skipIf(skipped !== null)('a real Keycloak', () => {
  let keycloak: Keycloak
  let gateway: GatewayProcess

  beforeAll(async () => {
    keycloak = await startKeycloak()
    gateway = await startGateway({
      args: [
        ...['--compute-driver-socket', '/run/openshell-none/compute.sock'],
        ...['--oidc-issuer', keycloak.issuer, '--oidc-scopes-claim', 'scope'],
      ],
    })
    await gateway.logged(line => line.message.startsWith('OIDC JWT validation enabled'))
  }, START_MS)

  afterAll(async () => {
    await gateway?.stop()
    await keycloak?.stop()
  }, 30_000)

  const grant = async (form: Record<string, string>): Promise<string> => {
    const answer = await fetch(`${keycloak.issuer}/protocol/openid-connect/token`, {
      method: 'POST',
      body: new URLSearchParams(form),
    })
    const body = (await answer.json()) as { access_token?: string }
    if (!body.access_token) throw new Error(JSON.stringify(body))
    return body.access_token
  }
  const tokenOf = (user: 'admin' | 'user', scope: string) =>
    grant({ grant_type: 'password', client_id: 'openshell-cli', username: `${user}@test`, password: user, scope })
  const ALL = 'openid openshell:all'
  const provider = { provider: { metadata: { name: 'kc' }, type: 'generic', credentials: { KEY: 'v' } } }

  test('its tokens have no aud, which is why decision 1 exists', async () => {
    const payload = (await tokenOf('user', ALL)).split('.')[1] ?? ''
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString())
    expect(claims.aud).toBeUndefined()
    expect(claims.azp).toBe('openshell-cli')
  })

  test('1 the administrator creates a provider, and deletes it', async () => {
    const token = await tokenOf('admin', ALL)
    expect(await gateway.call('CreateProvider', provider, { token })).toMatchObject({ code: 'OK' })
    expect(await gateway.call('DeleteProvider', { name: 'kc' }, { token })).toMatchObject({
      code: 'OK',
      response: { deleted: true },
    })
  })

  test('2 the user is refused, and told the role', async () => {
    const got = await gateway.call('CreateProvider', provider, { token: await tokenOf('user', ALL) })
    expect(got).toEqual({ code: 'PERMISSION_DENIED', details: "role 'openshell-admin' required" })
  })

  test('3 the user lists sandboxes', async () => {
    const got = await gateway.call('ListSandboxes', {}, { token: await tokenOf('user', ALL) })
    expect(got.code).toBe('OK')
  })

  test('4 nobody in particular is refused', async () => {
    const got = await gateway.call('ListSandboxes')
    expect(got).toEqual({ code: 'UNAUTHENTICATED', details: 'missing authorization header' })
  })

  test('5 Health is open to all', async () => {
    expect(await gateway.call('Health')).toMatchObject({
      code: 'OK',
      response: { status: 'SERVICE_STATUS_HEALTHY' },
    })
  })

  test('6, 7 sandbox scopes list sandboxes but no providers, and the scope is named', async () => {
    const token = await tokenOf('admin', 'openid sandbox:read sandbox:write')
    expect((await gateway.call('ListSandboxes', {}, { token })).code).toBe('OK')
    expect(await gateway.call('ListProviders', {}, { token })).toEqual({
      code: 'PERMISSION_DENIED',
      details: "scope 'provider:read' required",
    })
  })

  test('8 openshell:all opens both', async () => {
    const token = await tokenOf('admin', ALL)
    expect((await gateway.call('ListSandboxes', {}, { token })).code).toBe('OK')
    expect((await gateway.call('ListProviders', {}, { token })).code).toBe('OK')
  })

  test('9 no scope of ours, no sandboxes', async () => {
    const token = await tokenOf('admin', 'openid')
    expect(await gateway.call('ListSandboxes', {}, { token })).toEqual({
      code: 'PERMISSION_DENIED',
      details: "scope 'sandbox:read' required",
    })
  })

  test('10 the CI client lists sandboxes with its client credentials', async () => {
    const token = await grant({
      grant_type: 'client_credentials',
      client_id: 'openshell-ci',
      client_secret: 'ci-test-secret',
    })
    expect((await gateway.call('ListSandboxes', {}, { token })).code).toBe('OK')
  })
})
