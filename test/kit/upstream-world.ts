import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { credentials } from '@grpc/grpc-js'
import { freePort } from '../../src/dev/free-port.ts'
import { type DevIssuer, startDevIssuer } from '../../src/dev/issuer.ts'
import { type Certificates, createCertificates } from './certificates.ts'
import { EXECUTABLE, type GatewayProcess, SECRET, startGateway, until } from './gateway.ts'

/** How a gateway is set up for its users. */
export interface Mode {
  readonly name: string
  readonly tls: boolean
  readonly oidc: boolean
  /** `dev`, which brings driver, issuer and supervisors along. */
  readonly dev?: true
}

/** A gateway, its driver, and a home directory for the user of the command line tool that users of OpenShell have. */
export class UpstreamWorld {
  readonly home = mkdtempSync(join(tmpdir(), 'upstream-'))
  readonly children: Bun.Subprocess[] = []
  /** Absent with `dev`. */
  gateway!: GatewayProcess
  url = ''
  readonly mode: Mode
  readonly #cli: string
  readonly certificates: Certificates = createCertificates()
  #issuer: DevIssuer | null = null
  #issuerUrl = ''

  constructor(cli: string, mode: Mode) {
    this.#cli = cli
    this.mode = mode
  }

  async start(): Promise<void> {
    if (this.mode.dev) return this.#startDev()
    for (const [name, use] of [
      ['server', 'serverAuth'],
      ['client', 'clientAuth'],
    ] as const) {
      if (name === 'server') this.certificates.authority('ca')
      this.certificates.leaf(name, 'ca', use)
    }
    this.#issuer = await startDevIssuer()
    this.#issuerUrl = this.#issuer.url
    const path = (name: string) => this.certificates.path(name)
    const oidc = this.mode.oidc ? ['--oidc-issuer', this.#issuerUrl, '--oidc-scopes-claim', 'scope'] : []
    const secrets = this.mode.tls ? [] : ['--issue-sandbox-secrets']
    const pem = (name: string) => readFileSync(path(name))
    this.gateway = await startGateway({
      args: ['--compute-driver-socket', join(this.home, 'c.sock'), ...oidc, ...secrets],
      ...(this.mode.tls && {
        tls: ['--tls-cert', path('server.crt'), '--tls-key', path('server.key'), '--tls-client-ca', path('ca.crt')],
        credentials: credentials.createSsl(pem('ca.crt'), pem('client.key'), pem('client.crt')),
      }),
    })
    this.url = `${this.mode.tls ? 'https' : 'http'}://${this.mode.tls ? 'localhost' : '127.0.0.1'}:${this.gateway.port}`
    const endpoint = this.mode.tls ? [] : ['--grpc-endpoint', this.url]
    const driver = ['local-driver', '--socket', join(this.home, 'c.sock'), '--state-dir', join(this.home, 'sandboxes')]
    this.spawn([...driver, ...endpoint, '--stop-sandboxes'], { OPENSHELL_SSH_HANDSHAKE_SECRET: SECRET })
    await this.gateway.logged(line => line.message === 'driver connected')
  }

  async #startDev(): Promise<void> {
    const port = String(await freePort(0, true))
    const dev = Bun.spawn([EXECUTABLE, 'dev', '--ephemeral', '--port', port], {
      env: { PATH: process.env['PATH']!, HOME: this.home, TMPDIR: this.home },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.children.push(dev)
    let said = ''
    const read = async (stream: ReadableStream<Uint8Array>) => {
      for await (const part of stream) said += Buffer.from(part).toString()
    }
    void read(dev.stdout)
    void read(dev.stderr)
    await until('dev to say where it is', () => said.includes('Ctrl-C ends everything.'), 20_000)
    this.url = `http://127.0.0.1:${port}`
    this.#issuerUrl = /^issuer +(\S+)/m.exec(said)![1]!
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
    const child = Bun.spawn([this.#cli, ...args], {
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

  /** The tool as it runs on, with its output to read. */
  run(...args: string[]): Bun.Subprocess<'ignore', 'pipe', 'ignore'> {
    const child = Bun.spawn([this.#cli, ...args], {
      cwd: this.home,
      env: { PATH: process.env['PATH']!, HOME: this.home },
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    this.children.push(child)
    return child
  }

  /** The tool on a terminal of its own. */
  terminal(...args: string[]) {
    let text = ''
    const child = Bun.spawn([this.#cli, ...args], {
      cwd: this.home,
      env: { PATH: process.env['PATH']!, HOME: this.home, TERM: 'xterm' },
      terminal: {
        cols: 90,
        rows: 30,
        data(_terminal, data) {
          text += Buffer.from(data).toString()
        },
      },
    })
    this.children.push(child)
    return {
      exited: child.exited,
      said: () => text,
      until: (what: RegExp) => until(`${what} on the terminal`, () => what.test(text)),
      type: async (keys: string) => void child.terminal!.write(keys),
      resize: (cols: number, rows: number) => child.terminal!.resize(cols, rows),
    }
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
      const client = ['--oidc-issuer', this.#issuerUrl, '--oidc-client-id', 'openshell-ci']
      await this.works('gateway', 'add', this.url, '--name', 'mine', ...client)
      await this.works('gateway', 'login')
      return
    }
    const metadata = { name: 'mine', gateway_endpoint: this.url, is_remote: false, gateway_port: 0, auth_mode: 'mtls' }
    writeFileSync(join(folder, 'metadata.json'), JSON.stringify(metadata))
    writeFileSync(join(this.home, '.config/openshell/active_gateway'), 'mine')
  }

  async adminToken(): Promise<string> {
    const answer = await fetch(`${this.#issuerUrl}/token`, {
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
    const bundle = { access_token: await this.adminToken(), issuer: this.#issuerUrl, client_id: 'openshell-cli' }
    writeFileSync(join(this.home, '.config/openshell/gateways/mine/oidc_token.json'), JSON.stringify(bundle))
  }

  async stop(): Promise<void> {
    for (const child of this.children) child.kill('SIGTERM')
    await Promise.all(this.children.map(child => child.exited))
    await this.gateway?.stop()
    await this.#issuer?.close()
    this.certificates[Symbol.dispose]()
    rmSync(this.home, { recursive: true, force: true })
  }
}
