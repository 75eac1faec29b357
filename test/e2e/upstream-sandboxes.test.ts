/**
 * The command line tool that users of OpenShell have (0.0.38), driven as its user would, against the executable with
 * the local driver: plaintext and mutual TLS, with an issuer and without (row 5).
 */
import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { until } from '../kit/gateway.ts'
import { fetchUpstreamCli } from '../kit/peers.ts'
import { type Mode, UpstreamWorld } from '../kit/upstream-world.ts'

setDefaultTimeout(60_000)

const cliPath = fetchUpstreamCli('0.0.38')
if (typeof cliPath !== 'string') console.log(`skipped: ${cliPath.skipped}`)

const MODES: readonly Mode[] = [
  { name: 'plaintext with an issuer', tls: false, oidc: true },
  { name: 'mutual TLS with an issuer', tls: true, oidc: true },
  { name: 'mutual TLS alone', tls: true, oidc: false },
]

describe.skipIf(typeof cliPath !== 'string').each(MODES)('openshell 0.0.38, $name', mode => {
  let world: UpstreamWorld

  beforeAll(async () => {
    world = new UpstreamWorld(cliPath as string, mode)
    await world.start()
    await world.register()
  })
  afterAll(() => world?.stop())
  afterEach(() => {
    expect(world.gateway.log.filter(line => line.message === 'bug')).toEqual([])
  })

  test('status: connected', async () => {
    expect(await world.works('status')).toContain('Connected')
  })

  test('sandbox create runs a command in it, then list, get and delete', async () => {
    const creating = world.works('sandbox', 'create', '--name', 'one', '--no-tty', '--', 'sh', '-c', 'echo from $0')
    if (mode.tls) await world.supervise('one')
    expect(await creating).toContain('from sh')
    expect(await world.works('sandbox', 'list')).toMatch(/one .* Ready/)
    expect(await world.works('sandbox', 'get', 'one')).toContain('Phase: Ready')
    expect(await world.cli('sandbox', 'exec', '--name', 'one', '--', 'sh', '-c', 'exit 7')).toMatchObject({ code: 7 })
    expect(await world.works('sandbox', 'delete', 'one')).toContain('Deleted sandbox one')
    await until('the sandbox to be gone', async () => !(await world.works('sandbox', 'list')).includes('one'))
    const gone = await world.cli('sandbox', 'get', 'one')
    expect(gone.code).toBe(1)
    expect(gone.said).toContain('sandbox not found')
  })

  test('providers: the user is refused with the role named, the administrator creates, lists, gets, updates, deletes', async () => {
    if (mode.oidc) {
      const refused = await world.cli('provider', 'create', '--name', 'p', '--type', 'generic', '--credential', 'A=b')
      expect(refused.code).toBe(1)
      expect(refused.said).toContain("role 'openshell-admin' required")
      await world.becomeAdmin()
    }
    const create = ['provider', 'create', '--name', 'p', '--type', 'generic']
    await world.works(...create, '--credential', 'KEY=canary-value', '--config', 'region=north')
    expect(await world.works('provider', 'list')).toContain('generic')
    const got = await world.works('provider', 'get', 'p')
    expect(got).toContain('KEY')
    expect(got).toContain('region')
    expect(got).not.toContain('canary-value')
    await world.works('provider', 'update', 'p', '--credential', 'SECOND=x')
    expect(await world.works('provider', 'get', 'p')).toContain('SECOND')
    const twice = await world.cli(...create, '--credential', 'KEY=v')
    expect(twice.code).toBe(1)
    expect(twice.said).toContain('already exists')
    await world.works('provider', 'delete', 'p')
    expect(await world.works('provider', 'list')).toContain('No providers found')
  })
})
