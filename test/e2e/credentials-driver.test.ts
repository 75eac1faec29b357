/**
 * Row 2: tokens of a real Keycloak, fetched by a credentials driver in another language on a real socket, on their way
 * into sandboxes and into the inference bundle of the executable; and all that can go wrong on that way.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../../src/dev/free-port.ts'
import { LIMITS } from '../../src/limits.ts'
import { type DriverProcess, startDriver } from '../kit/driver-process.ts'
import { EXECUTABLE, type GatewayProcess, startGateway, until } from '../kit/gateway.ts'
import { buildGoDriver, type GoDriver, type GoMode, startGoDriver } from '../kit/go-credentials-driver.ts'
import { type Keycloak, noKeycloak, startKeycloak } from '../kit/keycloak.ts'

setDefaultTimeout(60_000)

const START_MS = 300_000
/** A token may be handed out until 30 s before its end and is fetched anew from 60 s before: 6 s after it was made. */
const TOKEN_SECS = 66
const SANDBOXES = 200
/** The client of the realm that gets tokens by client credentials. */
const CLIENT = { id: 'openshell-ci', secret: 'ci-test-secret' }

const directory = mkdtempSync(join(tmpdir(), 'credentials-'))
const executable = join(directory, 'driver')
const skipped = noKeycloak ?? buildGoDriver(executable)
if (skipped !== null) console.log(`skipped: ${skipped}`)

const reference = (name: string) => `openshell:resolve:credential:${name}`

describe.skipIf(skipped !== null)('a credentials driver in Go with a real Keycloak', () => {
  let keycloak: Keycloak
  let compute: DriverProcess
  let driver: GoDriver
  let gateway: GatewayProcess
  let metricsPort: number
  /** Every token that was seen anywhere. */
  const tokens = new Set<string>()
  const ids: string[] = []

  const endpoint = () => `${keycloak.issuer}/protocol/openid-connect/token`
  /** What the issuer itself says about a token (RFC 7662). */
  const isActive = async (token: string): Promise<boolean> => {
    const form = { token, client_id: CLIENT.id, client_secret: CLIENT.secret }
    const answer = await fetch(`${endpoint()}/introspect`, { method: 'POST', body: new URLSearchParams(form) })
    return ((await answer.json()) as { active: boolean }).active
  }
  const startGo = async () => {
    driver = await startGoDriver(executable, join(directory, 'credentials.sock'), { endpoint: endpoint(), ...CLIENT })
  }
  const asked = (name: string) => driver.asked.filter(one => one === name).length
  const environment = async (sandboxId: string): Promise<Record<string, string>> => {
    const answer = await gateway.call('GetSandboxProviderEnvironment', { sandbox_id: sandboxId }, { timeoutMs: 20_000 })
    expect(answer.code).toBe('OK')
    const values = (answer.response as { environment?: Record<string, string> }).environment ?? {}
    for (const value of Object.values(values)) if (value.startsWith('ey')) tokens.add(value)
    return values
  }
  const bundle = async () => {
    const answer = await gateway.call('GetInferenceBundle', {}, { timeoutMs: 20_000 })
    expect(answer.code).toBe('OK')
    return (answer.response as { routes?: { name: string; api_key: string }[] }).routes ?? []
  }
  let made = 0
  /** A sandbox with one provider whose only value is held under a name of its own. */
  const sandboxWith = async (mode: GoMode): Promise<{ id: string; name: string }> => {
    const name = `held-${++made}`
    await driver.set(name, mode)
    const credentials = { HELD: reference(name), PLAIN: 'stays' }
    const provider = { metadata: { name: `p-${name}` }, type: 'generic', credentials }
    expect((await gateway.call('CreateProvider', { provider })).code).toBe('OK')
    const answer = await gateway.call('CreateSandbox', { name, spec: { providers: [`p-${name}`] } })
    return { name, id: (answer.response as { sandbox: { metadata: { id: string } } }).sandbox.metadata.id }
  }

  beforeAll(async () => {
    keycloak = await startKeycloak({ tokenSecs: TOKEN_SECS })
    await startGo()
    compute = await startDriver('compute-driver.ts', join(directory, 'compute.sock'))
    metricsPort = await freePort(0, true)
    gateway = await startGateway({
      dir: directory,
      args: [
        ...['--compute-driver-socket', join(directory, 'compute.sock')],
        ...['--credentials-driver-socket', join(directory, 'credentials.sock')],
        ...['--metrics-port', String(metricsPort), '--log-level', 'debug'],
      ],
    })
    await until('both drivers', () => gateway.log.filter(line => line.message === 'driver connected').length === 2)
    const github = { GITHUB_TOKEN: reference('github'), PLAIN: 'stays' }
    const provider = (name: string, type: string, credentials: object) =>
      gateway.call('CreateProvider', { provider: { metadata: { name }, type, credentials } })
    expect((await provider('vcs', 'github', github)).code).toBe('OK')
    expect((await provider('llm', 'openai', { OPENAI_API_KEY: reference('github') })).code).toBe('OK')
    for (let n = 0; n < SANDBOXES; n++) {
      const answer = await gateway.call('CreateSandbox', { name: `s${n}`, spec: { providers: ['vcs'] } })
      ids.push((answer.response as { sandbox: { metadata: { id: string } } }).sandbox.metadata.id)
    }
  }, START_MS)

  afterAll(async () => {
    await gateway?.stop()
    await driver?.kill()
    await compute?.kill()
    await keycloak?.stop()
    rmSync(directory, { recursive: true, force: true })
  }, 60_000)

  test('200 sandboxes at once and the inference bundle: one token, that Keycloak knows, for one call', async () => {
    const all = await Promise.all(ids.map(environment))
    const token = all[0]!['GITHUB_TOKEN']!
    for (const values of all) expect(values).toEqual({ GITHUB_TOKEN: token, PLAIN: 'stays' })
    expect(await isActive(token)).toBe(true)
    const route = { provider_name: 'llm', model_id: 'gpt', no_verify: true }
    expect((await gateway.call('SetClusterInference', route)).code).toBe('OK')
    expect(await bundle()).toMatchObject([{ name: 'inference.local', api_key: token }])
    expect(asked('github')).toBe(1)
  })

  test('a token that nears its end is fetched anew in the background, by one call, and always lives', async () => {
    const first = (await environment(ids[0]!))['GITHUB_TOKEN']!
    const before = asked('github')
    const next = await until(
      'another token',
      async () => {
        const all = await Promise.all(ids.slice(0, 20).map(environment))
        const seen = new Set(all.map(values => values['GITHUB_TOKEN']!))
        for (const token of seen) expect(await isActive(token)).toBe(true)
        return [...seen].find(token => token !== first)
      },
      20_000,
    )
    expect(next).not.toBe(first)
    expect(asked('github')).toBe(before + 1)
    expect((await bundle())[0]!.api_key).toBe(next)
  })

  test('a token about to expire, and one without an expiry, serve for five seconds and no longer', async () => {
    for (const life of [3000, 0]) {
      const { id, name } = await sandboxWith(`expires ${life}`)
      const began = performance.now()
      const first = (await environment(id))['HELD']!
      await Promise.all(Array.from({ length: 20 }, () => environment(id)))
      if (performance.now() - began < LIMITS.credentialFloorMs) expect(asked(name)).toBe(1)
      await until('another token', async () => (await environment(id))['HELD'] !== first)
      expect(performance.now() - began).toBeGreaterThan(LIMITS.credentialFloorMs - 1)
      expect(asked(name)).toBe(2)
    }
  })

  test('a driver that takes ten seconds: the rest is delivered by the deadline, and the call is ended', async () => {
    const { id, name } = await sandboxWith('slow 10000')
    const began = performance.now()
    const all = await Promise.all(Array.from({ length: 20 }, () => environment(id)))
    expect(performance.now() - began).toBeLessThan(LIMITS.credentialSettleMs + 1000)
    for (const values of all) expect(values).toEqual({ PLAIN: 'stays' })
    expect(asked(name)).toBe(1)
    await until('the driver to see the end', () => driver.givenUpMs.length > 0)
    expect(Math.max(...driver.givenUpMs)).toBeLessThan(LIMITS.driverResolveMs + 500)
    // Another name does not wait behind it.
    await driver.set(name, 'slow 10000')
    const slow = environment(id)
    const quick = performance.now()
    expect((await environment(ids[1]!))['GITHUB_TOKEN']).toStartWith('ey')
    expect(performance.now() - quick).toBeLessThan(1000)
    await slow
    await driver.set(name, 'ok')
    await until('the value, now that the driver is quick', async () => (await environment(id))['HELD'])
  })

  test.each<[string, GoMode]>([
    ['an empty token', 'text empty'],
    ['a token with a line break', 'text line'],
    ['a token beyond ASCII', 'text umlaut'],
    ['bytes that are no message', 'bytes'],
    ['INTERNAL with a token in its text', 'fail 13'],
    ['UNAUTHENTICATED with a token in its text', 'fail 16'],
    ['NOT_FOUND with a token in its text', 'fail 5'],
  ])('nonsense, %s: only that value is missing, and comes when the driver is well', async (_title, mode) => {
    const { id, name } = await sandboxWith(mode)
    expect(await environment(id)).toEqual({ PLAIN: 'stays' })
    await gateway.logged(
      line => line.message === 'credential left out of a sandbox environment' && line['credential'] === name,
    )
    const route = { provider_name: `p-llm-${name}`, model_id: 'm', route_name: 'sandbox-system', no_verify: true }
    const held = { OPENAI_API_KEY: reference(name) }
    await gateway.call('CreateProvider', {
      provider: { metadata: { name: `p-llm-${name}` }, type: 'openai', credentials: held },
    })
    expect((await gateway.call('SetClusterInference', route)).code).toBe('OK')
    expect((await bundle()).map(one => one.name)).toEqual(['inference.local'])
    const verified = await gateway.call('SetClusterInference', { ...route, no_verify: false })
    expect(['FAILED_PRECONDITION', 'UNAVAILABLE']).toContain(verified.code)
    expect(verified.details).toContain(`credential '${name}'`)
    await driver.set(name, 'ok')
    await until('the value', async () => (await environment(id))['HELD'])
    await until('the route', async () => (await bundle()).length === 2)
  })

  test('a dead driver: what is held is delivered, the rest is a clear refusal at once; it returns, so do the values', async () => {
    const { id, name } = await sandboxWith('ok')
    const held = (await environment(ids[0]!))['GITHUB_TOKEN']!
    await driver.kill()
    await gateway.logged(line => line.message === 'driver connection ended')
    const began = performance.now()
    const [known, unknown] = await Promise.all([environment(ids[0]!), environment(id)])
    expect(performance.now() - began).toBeLessThan(1000)
    expect(known['GITHUB_TOKEN']).toBe(held)
    expect(unknown).toEqual({ PLAIN: 'stays' })
    const verify = { provider_name: 'llm-dead', model_id: 'm', route_name: 'sandbox-system' }
    const created = await gateway.call('CreateProvider', {
      provider: { metadata: { name: 'llm-dead' }, type: 'openai', credentials: { OPENAI_API_KEY: reference(name) } },
    })
    expect(created.code).toBe('OK')
    expect(await gateway.call('SetClusterInference', verify)).toMatchObject({
      code: 'UNAVAILABLE',
      details: `credential '${name}' is unavailable`,
    })
    const checked = Bun.spawnSync([EXECUTABLE, 'credentials', 'resolve', 'github', '--check', ...socketFlag()])
    expect(checked.exitCode).toBe(1)
    await startGo()
    await driver.set(name, 'ok')
    const value = await until('the value', async () => (await environment(id))['HELD'], 15_000)
    expect(await isActive(value)).toBe(true)
  })

  const socketFlag = () => ['--credentials-driver-socket', join(directory, 'credentials.sock')]

  test('an operator sees whether it works, and no token', () => {
    const run = (...args: string[]) => Bun.spawnSync([EXECUTABLE, 'credentials', ...args, ...socketFlag()])
    const listed = run('list')
    expect([listed.exitCode, listed.stdout.toString()]).toEqual([0, expect.stringContaining('github')])
    const checked = run('resolve', 'github', '--check')
    expect(checked.exitCode).toBe(0)
    expect(checked.stdout.toString()).toMatch(/^github\tok\tBearer\texpires /)
    expect(`${checked.stdout}${checked.stderr}`).not.toContain('eyJ')
    expect(JSON.parse(run('list', '-o', 'json').stdout.toString())).toContainEqual(
      expect.objectContaining({ name: 'github' }),
    )
    const asJson = run('resolve', 'github', '--check', '-o', 'json')
    expect(JSON.parse(asJson.stdout.toString())).toMatchObject({ name: 'github', status: 'ok', token_type: 'Bearer' })
    expect(asJson.stdout.toString()).not.toContain('eyJ')
    expect(run('resolve', 'unknown', '--check').exitCode).toBe(1)
  })

  test('no token is in the log, in the metrics or in the database; each disclosure is named', async () => {
    expect(tokens.size).toBeGreaterThan(8)
    const metrics = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text()
    expect(metrics).toContain('openshell')
    const files = readdirSync(directory).filter(name => name.startsWith('gateway.db'))
    expect(files.length).toBeGreaterThan(0)
    const places = [gateway.output(), metrics, ...files.map(name => readFileSync(join(directory, name), 'latin1'))]
    for (const token of tokens)
      for (const part of [token, token.split('.')[2]!, Buffer.from(token).toString('base64')])
        for (const place of places) expect(place.includes(part)).toBe(false)
    const disclosed = gateway.log.filter(line => line.message === 'credential disclosed')
    expect(disclosed.some(line => line['credential'] === 'github' && line['sandbox'] === ids[0])).toBe(true)
    expect(gateway.log.filter(line => line.message === 'bug')).toEqual([])
  })
})
