import { describe, expect, test } from 'bun:test'
import { inspect } from 'node:util'
import { configFrom } from '../../../src/cli/load-config.ts'
import type { Config } from '../../../src/config/config.ts'
import { type Environment, readConfig } from '../../../src/config/read.ts'

const SECRET = 'a-secret-of-more-than-16-bytes'
const BASE: Readonly<Record<string, string | true>> = {
  'disable-tls': true,
  'db-url': 'sqlite:/tmp/x.db',
  'ssh-handshake-secret': SECRET,
  'compute-driver-socket': '/run/c.sock',
}

/** BASE with changes; null drops a flag. */
function argv(changes: Readonly<Record<string, string | true | null>>): string[] {
  const merged = { ...BASE, ...changes }
  return Object.entries(merged).flatMap(([name, value]) =>
    value === null ? [] : [value === true ? `--${name}` : `--${name}=${value}`],
  )
}

function judge(changes: Readonly<Record<string, string | true | null>>, env: Environment = {}) {
  const read = readConfig(argv(changes), env)
  if (read.kind !== 'values') throw new Error(`not read: ${JSON.stringify(read)}`)
  return configFrom(read.values)
}

function config(changes: Readonly<Record<string, string | true | null>> = {}, env: Environment = {}): Config {
  const judged = judge(changes, env)
  if (!judged.ok) throw new Error(judged.text)
  return judged.config
}

const warnings = (changes: Readonly<Record<string, string | true | null>>, env: Environment = {}) => {
  const judged = judge(changes, env)
  return judged.ok ? judged.warnings : [judged.text]
}

const HELP = "\nFor more information, try '--help'.\n"
const OIDC = { 'oidc-issuer': 'https://idp.test/realms/openshell' }

describe('combinations that cannot work', () => {
  const tls = { 'disable-tls': null }
  const PORTS = 'must be different (both set to'
  /** Exit 1: the reference's sentence after `Error: `. */
  const WORLD: readonly (readonly [title: string, changes: Record<string, string | true | null>, text: string])[] = [
    [
      'TLS without a certificate',
      { ...tls, 'tls-key': '/k', 'tls-client-ca': '/ca' },
      '--tls-cert is required when TLS is enabled (use --disable-tls to skip)',
    ],
    [
      'TLS without a key',
      { ...tls, 'tls-cert': '/c', 'tls-client-ca': '/ca' },
      '--tls-key is required when TLS is enabled (use --disable-tls to skip)',
    ],
    [
      'TLS without a client CA',
      { ...tls, 'tls-cert': '/c', 'tls-key': '/k' },
      '--tls-client-ca is required when TLS is enabled (use --disable-tls to skip)',
    ],
    [
      'TLS without a client CA, gateway auth off',
      { ...tls, 'tls-cert': '/c', 'tls-key': '/k', 'disable-gateway-auth': true },
      '--tls-client-ca is required when TLS is enabled (use --disable-tls to skip)',
    ],
    ['port = health port', { port: '9', 'health-port': '9' }, `--port and --health-port ${PORTS} 9)`],
    ['default port = health port', { 'health-port': '8080' }, `--port and --health-port ${PORTS} 8080)`],
    ['port = metrics port', { port: '9', 'metrics-port': '9' }, `--port and --metrics-port ${PORTS} 9)`],
    [
      'health port = metrics port',
      { 'health-port': '9', 'metrics-port': '9' },
      `--health-port and --metrics-port ${PORTS} 9)`,
    ],
    ['an empty database URL', { 'db-url': '' }, 'configuration error: database_url is required'],
    ['a blank database URL', { 'db-url': '  ' }, 'configuration error: database_url is required'],
    [
      'no secret',
      { 'ssh-handshake-secret': null },
      'configuration error: ssh_handshake_secret is required. Set --ssh-handshake-secret or OPENSHELL_SSH_HANDSHAKE_SECRET',
    ],
    [
      'an empty secret',
      { 'ssh-handshake-secret': '' },
      'configuration error: ssh_handshake_secret is required. Set --ssh-handshake-secret or OPENSHELL_SSH_HANDSHAKE_SECRET',
    ],
    [
      'a database URL of another kind',
      { 'db-url': 'mysql://h/d' },
      'configuration error: unsupported database URL scheme: mysql://h/d\n  tip: --db-url takes sqlite:FILE, sqlite::memory: or postgres://HOST/DATABASE',
    ],
    [
      'a scheme in capitals',
      { 'db-url': 'SQLITE::memory:' },
      'configuration error: unsupported database URL scheme: SQLITE::memory:\n  tip: --db-url takes sqlite:FILE, sqlite::memory: or postgres://HOST/DATABASE',
    ],
    [
      'vm without an endpoint',
      { drivers: 'vm', 'compute-driver-socket': null },
      'configuration error: grpc_endpoint is required when using the vm compute driver',
    ],
    [
      'vm with a blank endpoint',
      { drivers: 'vm', 'compute-driver-socket': null, 'grpc-endpoint': ' ' },
      'configuration error: grpc_endpoint is required when using the vm compute driver',
    ],
    [
      'an issuer that is no URL',
      { 'oidc-issuer': 'keycloak' },
      'configuration error: OIDC initialization failed: OIDC discovery request failed: --oidc-issuer is not an http or https URL',
    ],
  ]
  test.each(WORLD)('exit 1: %s', (_title, changes, text) => {
    expect(judge(changes)).toEqual({ ok: false, exitCode: 1, text: `Error: ${text}\n` })
  })

  const socket = { 'compute-driver-socket': null }
  /** Exit 2: a fragment of the sentence. */
  const USAGE: readonly (readonly [title: string, changes: Record<string, string | true | null>, text: string])[] = [
    [
      'A-03 half a role pair, admin empty',
      { ...OIDC, 'oidc-admin-role': '' },
      'configuration error: OIDC RBAC misconfiguration: admin_role="", user_role="openshell-user". Either set both roles (RBAC mode) or leave both empty (authentication-only mode).',
    ],
    [
      'A-03 half a role pair, user empty',
      { ...OIDC, 'oidc-user-role': '' },
      'admin_role="openshell-admin", user_role="".',
    ],
    [
      'D-20 external without a socket',
      { ...socket, drivers: 'external' },
      'configuration error: --compute-driver-socket is required when using the external compute driver',
    ],
    [
      'two drivers',
      { ...socket, drivers: ' Kubernetes , PODMAN ' },
      'configuration error: multiple compute drivers are not supported yet; configured drivers: kubernetes,podman',
    ],
    ['the same driver twice', { ...socket, drivers: 'podman,podman' }, 'configured drivers: podman,podman'],
    [
      'a socket beside a reserved driver',
      { drivers: 'podman' },
      '--compute-driver-socket cannot be used with --drivers podman',
    ],
    [
      'a socket beside kubernetes, said aloud',
      { drivers: 'kubernetes' },
      '--compute-driver-socket cannot be used with --drivers kubernetes',
    ],
    [
      'D-20 two sockets at one path',
      { 'credentials-driver-socket': '/run/c.sock' },
      '--compute-driver-socket and --credentials-driver-socket must be different',
    ],
    [
      'D-16 a relative socket path',
      { 'compute-driver-socket': 'c.sock' },
      "--compute-driver-socket: 'c.sock' is not an absolute path",
    ],
    ['D-16 a socket path that is too long', { 'credentials-driver-socket': `/${'a'.repeat(107)}` }, '108 bytes long'],
    [
      'a pull policy of another driver',
      { ...socket, drivers: 'podman', 'sandbox-image-pull-policy': 'Always' },
      '--sandbox-image-pull-policy must be one of always, missing, never, newer with the podman driver',
    ],
    ['P-04 an empty issuer on the command line', { 'oidc-issuer': '' }, '--oidc-issuer must not be empty'],
    [
      'an issuer with a password',
      { 'oidc-issuer': 'https://u:p4ss@idp.test' },
      '--oidc-issuer must not carry a user, a password, a query or a fragment',
    ],
    ['an issuer by http elsewhere', { 'oidc-issuer': 'http://idp.test' }, '--oidc-issuer must use https'],
    [
      'J-31 an empty part of a claim path',
      { ...OIDC, 'oidc-roles-claim': 'a..b' },
      "--oidc-roles-claim: 'a..b' has an empty segment",
    ],
    [
      'J-31 a claim path of 50 parts',
      { ...OIDC, 'oidc-scopes-claim': Array(50).fill('a').join('.') },
      '--oidc-scopes-claim',
    ],
    [
      'an algorithm without a public key',
      { 'oidc-algorithms': 'RS256,HS256' },
      '--oidc-algorithms: HS256 is not accepted',
    ],
    ['no algorithm', { 'oidc-algorithms': 'none' }, '--oidc-algorithms: none is not accepted'],
    ['A-21 a leeway of minutes', { 'oidc-leeway-secs': '121' }, '--oidc-leeway-secs must not be more than 120'],
    [
      'an unknown stream lifetime',
      { 'oidc-stream-lifetime': 'forever' },
      "--oidc-stream-lifetime must be token, token+SECONDS or unbounded, not 'forever'",
    ],
    ['R-11 a host that clients refuse', { 'ssh-gateway-host': 'gw/x' }, '--ssh-gateway-host must be'],
    ['R-11 a path that clients refuse', { 'ssh-connect-path': '/a b' }, '--ssh-connect-path must begin with /'],
    ['R-11 a relative path', { 'ssh-connect-path': 'connect' }, '--ssh-connect-path must begin with /'],
    [
      'a bind address that is a name',
      { 'bind-address': 'localhost' },
      "--bind-address must be an IP address, not 'localhost'",
    ],
    [
      'a proxy that is no range',
      { 'trusted-proxies': '10.0.0.0/8,10.0.0.0/33' },
      '--trusted-proxies: 10.0.0.0/33 is no IP address or CIDR range',
    ],
    [
      'users that are no numbers',
      { 'driver-uids': '1000,root,-1,4294967295' },
      '--driver-uids: root, -1, 4294967295 is no number of a user',
    ],
    ['no connections at all', { 'max-connections': '0' }, '--max-connections must be at least 1'],
  ]
  test.each(USAGE)('exit 2: %s', (_title, changes, text) => {
    const judged = judge(changes)
    expect(judged.ok ? null : judged.exitCode).toBe(2)
    expect(judged.ok ? '' : judged.text).toContain(text)
    expect(judged.ok ? '' : judged.text).toMatch(/^error: /)
    expect(judged.ok ? '' : judged.text).toEndWith(HELP)
  })

  test('are all said at once, and exit 1 goes before exit 2', () => {
    const judged = judge({ 'db-url': 'x', port: '9', 'health-port': '9', drivers: 'podman' })
    expect(judged).toEqual({
      ok: false,
      exitCode: 1,
      text:
        'Error: --port and --health-port must be different (both set to 9)\n' +
        'Error: configuration error: --compute-driver-socket cannot be used with --drivers podman; use --drivers external\n' +
        'Error: configuration error: unsupported database URL scheme: x\n  tip: --db-url takes sqlite:FILE, sqlite::memory: or postgres://HOST/DATABASE\n',
    })
  })

  test('come with the warnings that may explain them', () => {
    const judged = judge({ 'db-url': 'x' }, { OPENSHELL_DB_ULR: 'y' })
    expect(judged.ok ? '' : judged.text).toContain(
      'warning: unknown variable OPENSHELL_DB_ULR is ignored; did you mean OPENSHELL_DB_URL?',
    )
  })

  test('give a secret twice from the same place; from two places the command line goes first', () => {
    const both = judge({}, { OPENSHELL_SSH_HANDSHAKE_SECRET_FILE: '/nonexistent' })
    expect(both.ok).toBe(true)
    const twice = judge(
      { 'ssh-handshake-secret': null },
      { OPENSHELL_SSH_HANDSHAKE_SECRET: SECRET, OPENSHELL_SSH_HANDSHAKE_SECRET_FILE: '/proc/self/comm' },
    )
    expect(twice.ok ? '' : twice.text).toContain('give --ssh-handshake-secret or --ssh-handshake-secret-file, not both')
  })
})

describe('a configuration', () => {
  test('is what the flags say, frozen all the way down', () => {
    const made = config({
      ...OIDC,
      ...{ port: '0', 'health-port': '81', 'trusted-proxies': '10.0.0.0/8', 'driver-uids': '0,65532' },
    })
    expect([made.bindAddress, made.port, made.healthPort, made.healthBindAddress]).toEqual([
      '0.0.0.0',
      0,
      81,
      '0.0.0.0',
    ])
    expect(made.oidc?.leewaySecs).toBe(60)
    expect(made.trustedProxies).toEqual(['10.0.0.0/8'])
    expect(made.driverUids).toEqual([0, 65_532])
    for (const part of [
      made,
      made.oidc,
      made.oidc?.algorithms,
      made.ssh,
      made.compute,
      made.compute.settings,
      made.trustedProxies,
    ])
      expect(Object.isFrozen(part)).toBe(true)
  })

  test('has the defaults of the reference and of the decisions', () => {
    const made = config()
    expect(made).toMatchObject({
      port: 8080,
      healthPort: 0,
      metricsPort: 0,
      tls: null,
      oidc: null,
      driverConnectTimeoutSecs: 0,
      shutdownGraceSecs: 10,
      inferenceAllowPrivateEndpoints: false,
      maxConnections: 4096,
      maxConnectionsPerAddress: 256,
      userCallsPerSecond: 0,
      ssh: {
        gatewayHost: '127.0.0.1',
        gatewayPort: 0,
        gatewayScheme: null,
        connectPath: '/connect/ssh',
        sessionTtlSecs: 86_400,
        tokenAtRest: 'hashed',
      },
      sandboxSecret: { issue: false, requireBinding: false, allowUnauthenticatedSupervisors: false },
    })
    expect(made.sandboxSecret.master.reveal()).toBe(SECRET)
  })

  const DRIVERS: readonly (readonly [title: string, changes: Record<string, string | null>, driver: string])[] = [
    ['a socket alone selects external', {}, 'external'],
    ['external with a socket', { drivers: 'EXTERNAL' }, 'external'],
    ['an unreserved name with a socket is external', { drivers: 'acme' }, 'external'],
    ['a name without a socket is a driver to start', { drivers: 'acme', 'compute-driver-socket': null }, 'acme'],
    ['nothing at all is kubernetes', { 'compute-driver-socket': null }, 'kubernetes'],
  ]
  test.each(DRIVERS)('decision 5: %s', (_title, changes, driver) => expect(config(changes).compute.driver).toBe(driver))

  test('hands a driver the settings that have a value, and no secret', () => {
    const { settings } = config({ 'grpc-endpoint': 'http://gw:1', 'vm-vcpus': '4' }).compute
    expect(settings['grpc-endpoint']).toBe('http://gw:1')
    expect(settings['vm-vcpus']).toBe('4')
    expect(Object.keys(settings)).not.toContain('host-gateway-ip')
    expect(JSON.stringify(settings)).not.toContain(SECRET)
  })

  const CLIENTS: readonly (readonly [flag: string | null, audience: string, clients: readonly string[] | '*'])[] = [
    [null, 'openshell-cli', ['openshell-cli', 'openshell-ci']],
    [null, 'gw', ['openshell-cli', 'openshell-ci', 'gw']],
    ['ui', 'gw', ['ui', 'gw']],
    ['none', 'gw', []],
    ['*', 'gw', '*'],
  ]
  test.each(CLIENTS)('decision 1: --oidc-clients %p with audience %p', (flag, audience, clients) => {
    expect(config({ ...OIDC, 'oidc-clients': flag, 'oidc-audience': audience }).oidc?.clients).toEqual(clients)
  })

  test('J-31 takes the empty path, dots and JSON pointers, and looks at no path without OIDC', () => {
    for (const path of ['', 'a.b', '/https:~1~1x.test~1roles'])
      expect(config({ ...OIDC, 'oidc-roles-claim': path }).oidc?.rolesClaim).toBe(path)
    expect(config({ 'oidc-roles-claim': 'a..b', 'oidc-admin-role': '' }).oidc).toBeNull()
  })

  test('A-14 watches outlive their token by ten minutes and work is not cut, unless a flag says otherwise', () => {
    const grace = (flags: Record<string, string>) => Object.values(config({ ...OIDC, ...flags }).oidc?.streams ?? {})
    expect(grace({})).toEqual([600, null])
    expect(grace({ 'oidc-stream-lifetime': 'token' })).toEqual([0, 0])
    expect(grace({ 'oidc-stream-lifetime': 'token+60' })).toEqual([60, 60])
    expect(grace({ 'oidc-stream-lifetime': 'unbounded' })).toEqual([null, null])
  })

  test('both roles empty on the command line is authentication without roles; empty variables are not', () => {
    const none = config({ ...OIDC, 'oidc-admin-role': '', 'oidc-user-role': '' }).oidc
    expect([none?.adminRole, none?.userRole]).toEqual(['', ''])
    const kept = config(OIDC, { OPENSHELL_OIDC_ADMIN_ROLE: '', OPENSHELL_OIDC_USER_ROLE: '' }).oidc
    expect([kept?.adminRole, kept?.userRole]).toEqual(['openshell-admin', 'openshell-user'])
  })

  test('takes a loopback issuer by http, and any with the flag', () => {
    for (const host of ['localhost:1', '127.0.0.1', '127.9.9.9', '[::1]:8'])
      expect(config({ 'oidc-issuer': `http://${host}/r` }).oidc?.issuer).toBe(`http://${host}/r`)
    expect(config({ 'oidc-issuer': 'http://idp.test', 'oidc-allow-http': true }).oidc?.allowHttp).toBe(true)
    expect(judge({ 'oidc-issuer': 'http://127.0.0.1.evil.test' }).ok).toBe(false)
  })

  test('binds IPv6, with or without brackets, and answers with the bind address for an empty SSH host', () => {
    expect(config({ 'bind-address': '[::1]' }).bindAddress).toBe('::1')
    expect(config({ 'ssh-gateway-host': '' }).ssh.gatewayHost).toBe('0.0.0.0')
  })

  const LEVELS: readonly (readonly [rustLog: string, flag: string, level: Config['logLevel'], warns: number])[] = [
    ['', 'info', 'info', 0],
    ['', 'WARN', 'warn', 0],
    ['', '4', 'debug', 0],
    ['', 'off', 'off', 0],
    ['', 'bogus', 'info', 1],
    ['', '', 'info', 1],
    ['', 'info,h2=zzz', 'info', 1],
    ['', 'error,openshell_server=trace', 'trace', 0],
    ['info', 'error', 'info', 0],
    ['warn,h2=debug', 'info', 'warn', 0],
    ['a=b=c', 'error', 'error', 1],
    ['info,h2=zzz', 'error', 'error', 1],
  ]
  test.each(LEVELS)('W-27 log level: RUST_LOG=%p with %p is %p', (rustLog, flag, level, warns) => {
    const env = { RUST_LOG: rustLog }
    expect(config({ 'log-level': flag }, env).logLevel).toBe(level)
    expect(warnings({ 'log-level': flag }, env).filter(line => /RUST_LOG|--log-level/.test(line))).toHaveLength(warns)
  })
})

describe('warnings', () => {
  const env = { OPENSHELL_SSH_HANDSHAKE_SECRET: SECRET }
  const quiet = { 'ssh-handshake-secret': null }
  test('A-07 name a secret of less than 16 bytes', () => {
    const said = (secret: string) => warnings(quiet, { OPENSHELL_SSH_HANDSHAKE_SECRET: secret })
    expect(said('1234567890123456')).toEqual([])
    expect(said('123456789012345')).toEqual(['the sandbox secret is shorter than 16 bytes and can be guessed'])
  })

  test('are none for a sound configuration', () => expect(warnings(quiet, env)).toEqual([]))

  const CAUTIONS: readonly (readonly [title: string, changes: Record<string, string | true | null>, text: string])[] = [
    ['P-05 a secret in argv', { 'ssh-handshake-secret': SECRET }, 'visible to every user of this host'],
    ['P-05 a password in argv', { 'db-url': 'postgres://u:hush@h/d' }, 'the password in --db-url is visible'],
    ['W-31 a database in memory', { 'db-url': 'sqlite::memory:?cache=shared' }, 'kept in memory'],
    ['a switch without effect', { 'disable-gateway-auth': true }, 'has no effect with --disable-tls'],
    ['TLS files without effect', { 'tls-cert': '/c' }, 'no effect with --disable-tls'],
    ['any client of the issuer', { ...OIDC, 'oidc-clients': '*' }, 'from every client of the issuer'],
  ]
  test.each(CAUTIONS)('%s', (_title, changes, text) => {
    const said = warnings({ ...quiet, ...changes }, env)
    expect(said).toHaveLength(1)
    expect(said[0]).toContain(text)
  })
})

describe('P-09 secrets', () => {
  const CANARY = 'canary-55c1'
  test('are in no message of a refused configuration', () => {
    const urls = [
      `mysql://u:${CANARY}@h/d`,
      `postgres://u:${CANARY}@h:x/d`,
      `foo:${CANARY}@h`,
      `mysql://h/d?password=${CANARY}`,
    ]
    for (const url of urls) {
      const judged = judge({ 'db-url': url, 'ssh-handshake-secret': CANARY, drivers: 'podman' })
      expect(judged.ok ? 'accepted' : judged.text).toContain('Error: ')
      expect(judged.ok ? '' : judged.text).not.toContain(CANARY)
    }
  })

  test('are printed neither by inspection nor as JSON nor in warnings', () => {
    const judged = judge({ 'db-url': `postgres://u:${CANARY}@h/d`, 'ssh-handshake-secret': CANARY })
    expect(inspect(judged, { depth: 10, showHidden: true })).not.toContain(CANARY)
    expect(JSON.stringify(judged)).not.toContain(CANARY)
    expect(judged.ok && judged.config.sandboxSecret.master.reveal()).toBe(CANARY)
  })
})
