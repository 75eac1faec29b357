/**
 * The command line tool that users of OpenShell have (0.0.38), driven as its user would, against the executable with
 * the local driver: plaintext and mutual TLS, with an issuer and without (row 5).
 */
import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { credentials } from '@grpc/grpc-js'
import { type DevIssuer, startDevIssuer } from '../../src/dev/issuer.ts'
import { type Certificates, createCertificates } from '../kit/certificates.ts'
import { EXECUTABLE, type GatewayProcess, SECRET, startGateway, until } from '../kit/gateway.ts'
import { fetchUpstreamCli } from '../kit/peers.ts'

setDefaultTimeout(60_000)

const cliPath = fetchUpstreamCli('0.0.38')
if (typeof cliPath !== 'string') console.log(`skipped: ${cliPath.skipped}`)

interface Mode {
  readonly name: string
  readonly tls: boolean
  readonly oidc: boolean
}

const MODES: readonly Mode[] = [
  { name: 'plaintext with an issuer', tls: false, oidc: true },
  { name: 'mutual TLS with an issuer', tls: true, oidc: true },
  { name: 'mutual TLS alone', tls: true, oidc: false },
]

/** A gateway, its driver, and a home directory for its user. */
class World {
  readonly home = mkdtempSync(join(tmpdir(), 'upstream-'))
  readonly children: Bun.Subprocess[] = []
  gateway!: GatewayProcess
  readonly mode: Mode
  readonly certificates: Certificates
  readonly issuer: DevIssuer

  constructor(mode: Mode, certificates: Certificates, issuer: DevIssuer) {
    this.mode = mode
    this.certificates = certificates
    this.issuer = issuer
  }

  get url(): string {
    return `${this.mode.tls ? 'https' : 'http'}://${this.mode.tls ? 'localhost' : '127.0.0.1'}:${this.gateway.port}`
  }

  async start(): Promise<void> {
    const path = (name: string) => this.certificates.path(name)
    const oidc = this.mode.oidc ? ['--oidc-issuer', this.issuer.url, '--oidc-scopes-claim', 'scope'] : []
    const secrets = this.mode.tls ? [] : ['--issue-sandbox-secrets']
    const pem = (name: string) => readFileSync(path(name))
    this.gateway = await startGateway({
      args: ['--compute-driver-socket', join(this.home, 'c.sock'), ...oidc, ...secrets],
      ...(this.mode.tls && {
        tls: ['--tls-cert', path('server.crt'), '--tls-key', path('server.key'), '--tls-client-ca', path('ca.crt')],
        credentials: credentials.createSsl(pem('ca.crt'), pem('client.key'), pem('client.crt')),
      }),
    })
    const endpoint = this.mode.tls ? [] : ['--grpc-endpoint', this.url]
    const driver = ['local-driver', '--socket', join(this.home, 'c.sock'), '--state-dir', join(this.home, 'sandboxes')]
    this.spawn([...driver, ...endpoint, '--stop-sandboxes'], { OPENSHELL_SSH_HANDSHAKE_SECRET: SECRET })
    await this.gateway.logged(line => line.message === 'driver connected')
  }

  spawn(args: string[], env: Record<string, string>): void {
    const child = Bun.spawn([EXECUTABLE, ...args], {
      env: { PATH: process.env['PATH']!, HOME: this.home, ...env },
      stdio: ['ignore', 'ignore', 'ignore'],
    })
    this.children.push(child)
  }

  /** What a pod of the sandbox would run: a supervisor that shows its client certificate and nothing else. */
  async supervise(name: string): Promise<void> {
    const token = this.mode.oidc ? await this.adminToken() : undefined
    const id = await until('the sandbox to be known', async () => {
      const answer = await this.gateway.call('GetSandbox', { name }, token ? { token } : {})
      return (answer.response as { sandbox?: { metadata?: { id: string } } } | undefined)?.sandbox?.metadata?.id
    })
    const path = (file: string) => this.certificates.path(file)
    const dir = join(this.home, 'pod')
    mkdirSync(dir, { recursive: true })
    this.spawn(['supervisor', '--endpoint', this.url, '--sandbox-id', id, '--dir', dir], {
      OPENSHELL_TLS_CA: path('ca.crt'),
      OPENSHELL_TLS_CERT: path('client.crt'),
      OPENSHELL_TLS_KEY: path('client.key'),
    })
  }

  /** The tool, with what it says freed from colours and line breaks of its reports. */
  async cli(...args: string[]): Promise<{ code: number; said: string }> {
    const child = Bun.spawn([cliPath as string, ...args], {
      cwd: this.home,
      env: {
        ...{ PATH: process.env['PATH']!, HOME: this.home, OPENSHELL_PROVISION_TIMEOUT: '20' },
        OPENSHELL_OIDC_CLIENT_SECRET: 'ci-test-secret',
      },
      stdin: 'ignore',
      stdout: 'pipe',
      stderr: 'pipe',
    })
    const [stdout, stderr, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ])
    const said = `${stdout}${stderr}`.replace(/\u001b\[[0-9;]*[A-Za-z]/g, '').replace(/\n +│ /g, ' ')
    return { code, said }
  }

  async works(...args: string[]): Promise<string> {
    const { code, said } = await this.cli(...args)
    if (code !== 0)
      throw new Error(`openshell ${args.join(' ')} ended with ${code}:
${said}`)
    return said
  }

  /** Registers the gateway: with the tool's own command, or as its `gateway start` would have written it. */
  async register(): Promise<void> {
    const folder = join(this.home, '.config/openshell/gateways/mine')
    mkdirSync(join(folder, 'mtls'), { recursive: true })
    if (this.mode.tls)
      for (const [from, to] of [
        ['ca.crt', 'ca.crt'],
        ['client.crt', 'tls.crt'],
        ['client.key', 'tls.key'],
      ] as const)
        copyFileSync(this.certificates.path(from), join(folder, 'mtls', to))
    if (this.mode.oidc) {
      const client = ['--oidc-issuer', this.issuer.url, '--oidc-client-id', 'openshell-ci']
      expect(await this.works('gateway', 'add', this.url, '--name', 'mine', ...client)).toContain(
        "Gateway 'mine' added",
      )
      expect(await this.works('gateway', 'login')).toContain('as service-account-openshell-ci')
      return
    }
    const metadata = { name: 'mine', gateway_endpoint: this.url, is_remote: false, gateway_port: 0, auth_mode: 'mtls' }
    writeFileSync(join(folder, 'metadata.json'), JSON.stringify(metadata))
    writeFileSync(join(this.home, '.config/openshell/active_gateway'), 'mine')
  }

  async adminToken(): Promise<string> {
    const answer = await fetch(`${this.issuer.url}/token`, {
      method: 'POST',
      body: new URLSearchParams({
        ...{ grant_type: 'password', client_id: 'openshell-cli', username: 'admin@test', password: 'admin' },
        scope: 'openid openshell:all',
      }),
    })
    return ((await answer.json()) as { access_token: string }).access_token
  }

  /** Puts the administrator's token where a browser login would put it. */
  async becomeAdmin(): Promise<void> {
    const bundle = { access_token: await this.adminToken(), issuer: this.issuer.url, client_id: 'openshell-cli' }
    writeFileSync(join(this.home, '.config/openshell/gateways/mine/oidc_token.json'), JSON.stringify(bundle))
  }

  async stop(): Promise<void> {
    for (const child of this.children) child.kill('SIGTERM')
    await Promise.all(this.children.map(child => child.exited))
    await this.gateway.stop()
    rmSync(this.home, { recursive: true, force: true })
  }
}

describe.skipIf(typeof cliPath !== 'string').each(MODES)('openshell 0.0.38, $name', mode => {
  let certificates: Certificates
  let issuer: DevIssuer
  let world: World

  beforeAll(async () => {
    certificates = createCertificates()
    certificates.authority('ca')
    certificates.leaf('server', 'ca', 'serverAuth')
    certificates.leaf('client', 'ca', 'clientAuth')
    issuer = await startDevIssuer()
    world = new World(mode, certificates, issuer)
    await world.start()
    await world.register()
  })
  afterAll(async () => {
    await world?.stop()
    await issuer?.close()
    certificates?.[Symbol.dispose]()
  })
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
