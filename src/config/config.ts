import { ALGORITHM_NAMES, ALGORITHMS } from '../auth/algorithms.ts'
import { Secret } from '../base/secret.ts'
import { LIMITS } from '../limits.ts'
import {
  isAddressRange,
  isLoopbackHost,
  isReplyHost,
  isReplyPath,
  parseIp,
  parseIssuer,
  parseStreamLifetime,
  type StreamLifetimes,
} from './fields.ts'
import type { FlagName } from './flags.ts'
import { resolveLogLevel, type ShownLevel } from './log-level.ts'
import { printable, type Violation } from './problems.ts'
import type { RawValues } from './read.ts'

/** What the gateway runs with: read once at start, frozen, never the environment again. Names follow the flags of flags.ts. */
export interface Config {
  readonly bindAddress: string
  /** 0 = chosen by the kernel. */
  readonly port: number
  /** 0 = off, for both side ports. */
  readonly healthPort: number
  readonly metricsPort: number
  readonly healthBindAddress: string
  readonly metricsBindAddress: string
  readonly logLevel: ShownLevel
  /** A level in this file goes before `logLevel`, at start and from each reload on; null = no file. */
  readonly logLevelFile: string | null
  readonly logFormat: 'text' | 'json'
  /** Nothing happens that must be audited while audit lines are lost (O-03). */
  readonly auditRequired: boolean
  /** Null = plaintext. */
  readonly tls: TlsConfig | null
  readonly oidc: OidcConfig | null
  readonly dbUrl: Secret
  readonly compute: ComputeConfig
  readonly credentialsDriverSocket: string | null
  /** 0 = wait for drivers for ever (decision 15). */
  readonly driverConnectTimeoutSecs: number
  /** Users that may stand behind a driver's socket; none = any (D-15). */
  readonly driverUids: readonly number[]
  readonly ssh: SshConfig
  readonly sandboxSecret: SandboxSecretConfig
  readonly shutdownGraceSecs: number
  readonly inferenceAllowPrivateEndpoints: boolean
  readonly storeKeyFile: string | null
  readonly disableEdgeLogin: boolean
  /** Peers whose x-forwarded-host names the gateway on the connect page: addresses and CIDR ranges. */
  readonly trustedProxies: readonly string[]
  readonly maxConnections: number
  /** 0 = no limit. */
  readonly maxConnectionsPerAddress: number
  /** 0 = no limit. */
  readonly userCallsPerSecond: number
}

export interface TlsConfig {
  readonly certFile: string
  readonly keyFile: string
  readonly clientCaFile: string
  /** `--disable-gateway-auth`: a client certificate is optional, but one that is shown must verify. */
  readonly clientCertificateOptional: boolean
}

export interface OidcConfig {
  readonly issuer: string
  readonly audience: string
  /** `azp`/`client_id` values that excuse a missing `aud`; `'*'` = any, empty = `aud` required (decision 1). */
  readonly clients: readonly string[] | '*'
  readonly jwksTtlSecs: number
  readonly rolesClaim: string
  readonly adminRole: string
  readonly userRole: string
  /** Empty = scopes off. */
  readonly scopesClaim: string
  readonly algorithms: readonly string[]
  readonly leewaySecs: number
  readonly allowHttp: boolean
  /** Extra CA bundle for the issuer; null = system and SSL_CERT_FILE. */
  readonly caFile: string | null
  readonly streams: StreamLifetimes
}

export interface ComputeConfig {
  /** `external`, or the name of a driver executable to start (decision 6). */
  readonly driver: string
  readonly socket: string | null
  readonly driverDir: string | null
  /** Passed on to a spawned driver as its flags of the same names: those of `DRIVER_SETTINGS` that have a value. */
  readonly settings: Readonly<Record<string, string>>
}

export interface SshConfig {
  readonly gatewayHost: string
  /** 0 = the main port. */
  readonly gatewayPort: number
  /** Null = follows TLS. */
  readonly gatewayScheme: 'http' | 'https' | null
  readonly connectPath: string
  /** 0 = never. */
  readonly sessionTtlSecs: number
  /** What the database keeps of an SSH session token (decision 18). */
  readonly tokenAtRest: 'hashed' | 'plain'
  readonly handshakeSkewSecs: number
}

export interface SandboxSecretConfig {
  readonly master: Secret
  /** Hand a per-sandbox secret to the driver in the sandbox's environment (decision 3). */
  readonly issue: boolean
  /** Refuse the master value. */
  readonly requireBinding: boolean
  readonly allowUnauthenticatedSupervisors: boolean
}

/** Flags that concern a spawned driver only (spec/gateway.md §14, §17); none of them is a secret. */
export const DRIVER_SETTINGS = [
  'sandbox-namespace',
  'sandbox-image',
  'sandbox-image-pull-policy',
  'grpc-endpoint',
  'sandbox-ssh-port',
  'ssh-handshake-skew-secs',
  'client-tls-secret-name',
  'host-gateway-ip',
  'vm-driver-state-dir',
  'vm-krun-log-level',
  'vm-vcpus',
  'vm-mem-mib',
  'vm-tls-ca',
  'vm-tls-cert',
  'vm-tls-key',
] as const satisfies readonly FlagName[]

/** What the rules need to know from outside this folder. */
export interface ConfigRules {
  /** Why no store can be opened at this URL, without user or password in it; null = one can. */
  refuseStoreUrl(url: string): string | null
  /** Why this text can never be the path of a driver's socket; null = it can. */
  refuseSocketPath(path: string): string | null
  /** Why this path can never lead to a claim of a token; null = it can. */
  refuseClaimPath(path: string): string | null
  /** Content of `--ssh-handshake-secret-file`; null when it is not given or `--ssh-handshake-secret` goes before it. */
  readonly handshakeSecretFile: string | null
}

export type ConfigOutcome =
  | { readonly ok: true; readonly config: Config; readonly warnings: readonly string[] }
  | { readonly ok: false; readonly violations: readonly Violation[]; readonly warnings: readonly string[] }

type Raw = RawValues<FlagName>

interface Facts {
  readonly raw: Raw
  readonly rules: ConfigRules
  readonly driver: string
  readonly secret: string
  /** Null = OIDC off. */
  readonly issuer: string | null
}

/** One rule about several flags: `bad` decides, `message` says it. */
interface Check {
  readonly exit: 1 | 2
  bad(facts: Facts): boolean
  message(facts: Facts): string
}

const IN_CONFIGURATION = 'configuration error: '

/** Drivers that the gateway starts itself; a socket beside one of these names is a contradiction (decision 5). */
const RESERVED_DRIVERS = new Set(['kubernetes', 'docker', 'podman', 'vm'])

/** Words of each driver for "when to pull"; a typing error would silently mean something else (W-30). */
const PULL_POLICIES: Readonly<Record<string, readonly string[]>> = {
  kubernetes: ['Always', 'IfNotPresent', 'Never'],
  podman: ['always', 'missing', 'never', 'newer'],
}

const isAlgorithm = (name: string): boolean => Object.hasOwn(ALGORITHMS, name)

const tlsFile = (flag: 'tls-cert' | 'tls-key' | 'tls-client-ca'): Check => ({
  exit: 1,
  bad: ({ raw }) => !raw.on('disable-tls') && raw.optional(flag) === null,
  message: () => `--${flag} is required when TLS is enabled (use --disable-tls to skip)`,
})

const samePort = (a: 'port' | 'health-port', b: 'health-port' | 'metrics-port'): Check => ({
  exit: 1,
  bad: ({ raw }) => raw.number(b) !== 0 && raw.number(a) === raw.number(b),
  message: ({ raw }) => `--${a} and --${b} must be different (both set to ${raw.number(b)})`,
})

const bindAddress = (flag: 'bind-address' | 'health-bind-address' | 'metrics-bind-address'): Check => ({
  exit: 2,
  bad: ({ raw }) => raw.optional(flag) !== null && parseIp(raw.text(flag)) === null,
  message: ({ raw }) => `--${flag} must be an IP address, not '${printable(raw.text(flag))}'`,
})

const socketPath = (flag: 'compute-driver-socket' | 'credentials-driver-socket'): Check => {
  const reason = ({ raw, rules }: Facts) => {
    const path = raw.optional(flag)
    return path === null ? null : rules.refuseSocketPath(path)
  }
  return {
    exit: 2,
    bad: facts => reason(facts) !== null,
    message: facts => `--${flag}: '${printable(facts.raw.text(flag))}' ${reason(facts)}`,
  }
}

/** The highest 32-bit number stands for no user. */
const isUid = (text: string): boolean => /^\d{1,10}$/.test(text) && Number(text) < 2 ** 32 - 1

const claimPath = (flag: 'oidc-roles-claim' | 'oidc-scopes-claim'): Check => ({
  exit: 2,
  bad: ({ raw, rules, issuer }) => issuer !== null && rules.refuseClaimPath(raw.text(flag)) !== null,
  message: ({ raw, rules }) => `--${flag}: '${printable(raw.text(flag))}' ${rules.refuseClaimPath(raw.text(flag))}`,
})

/**
 * TABLE Combinations that cannot work, in the order in which they are printed (spec/gateway.md §3, decision 25). Exit 1
 * where the reference ends with 1 and no decision says otherwise.
 */
const CHECKS: readonly Check[] = [
  tlsFile('tls-cert'),
  tlsFile('tls-key'),
  tlsFile('tls-client-ca'),
  samePort('port', 'health-port'),
  samePort('port', 'metrics-port'),
  samePort('health-port', 'metrics-port'),
  bindAddress('bind-address'),
  bindAddress('health-bind-address'),
  bindAddress('metrics-bind-address'),
  {
    exit: 1,
    bad: ({ raw }) => raw.text('db-url').trim() === '',
    message: () => `${IN_CONFIGURATION}database_url is required`,
  },
  {
    exit: 1,
    bad: ({ secret }) => secret === '',
    message: () =>
      `${IN_CONFIGURATION}ssh_handshake_secret is required. Set --ssh-handshake-secret or OPENSHELL_SSH_HANDSHAKE_SECRET`,
  },
  {
    exit: 2,
    bad: ({ raw }) =>
      raw.optional('ssh-handshake-secret') !== null &&
      raw.optional('ssh-handshake-secret-file') !== null &&
      raw.source('ssh-handshake-secret') === raw.source('ssh-handshake-secret-file'),
    message: () => 'give --ssh-handshake-secret or --ssh-handshake-secret-file, not both',
  },
  {
    exit: 2,
    bad: ({ raw }) => raw.list('drivers').length > 1,
    message: ({ raw }) =>
      `${IN_CONFIGURATION}multiple compute drivers are not supported yet; configured drivers: ${raw.list('drivers').join(',')}`,
  },
  {
    exit: 2,
    bad: ({ raw, driver }) => driver === 'external' && raw.optional('compute-driver-socket') === null,
    message: () => `${IN_CONFIGURATION}--compute-driver-socket is required when using the external compute driver`,
  },
  {
    exit: 2,
    bad: ({ raw, driver }) => raw.optional('compute-driver-socket') !== null && RESERVED_DRIVERS.has(driver),
    message: ({ driver }) =>
      `${IN_CONFIGURATION}--compute-driver-socket cannot be used with --drivers ${driver}; use --drivers external`,
  },
  socketPath('compute-driver-socket'),
  socketPath('credentials-driver-socket'),
  {
    exit: 2,
    bad: ({ raw }) => raw.list('driver-uids').some(item => !isUid(item)),
    message: ({ raw }) => {
      const bad = raw.list('driver-uids').filter(item => !isUid(item))
      return `--driver-uids: ${printable(bad.join(', '))} is no number of a user`
    },
  },
  {
    exit: 2,
    bad: ({ raw }) =>
      raw.optional('compute-driver-socket') !== null &&
      raw.optional('compute-driver-socket') === raw.optional('credentials-driver-socket'),
    message: () => '--compute-driver-socket and --credentials-driver-socket must be different',
  },
  {
    exit: 1,
    bad: ({ raw, driver }) => driver === 'vm' && raw.text('grpc-endpoint').trim() === '',
    message: () => `${IN_CONFIGURATION}grpc_endpoint is required when using the vm compute driver`,
  },
  {
    exit: 2,
    bad: ({ raw, driver }) => {
      const policy = raw.text('sandbox-image-pull-policy')
      return policy !== '' && PULL_POLICIES[driver] !== undefined && !PULL_POLICIES[driver].includes(policy)
    },
    message: ({ driver }) =>
      `--sandbox-image-pull-policy must be one of ${PULL_POLICIES[driver]?.join(', ')} with the ${driver} driver`,
  },
  {
    exit: 1,
    bad: ({ raw, rules }) => raw.text('db-url').trim() !== '' && rules.refuseStoreUrl(raw.text('db-url')) !== null,
    message: ({ raw, rules }) =>
      `${rules.refuseStoreUrl(raw.text('db-url'))}\n  tip: --db-url takes sqlite:FILE, sqlite::memory: or postgres://HOST/DATABASE`,
  },
  {
    exit: 2,
    bad: ({ issuer }) => issuer === '',
    message: () => '--oidc-issuer must not be empty; leave it out to run without OIDC',
  },
  {
    exit: 1,
    bad: ({ issuer }) => issuer !== null && issuer !== '' && parseIssuer(issuer) === null,
    message: () =>
      `${IN_CONFIGURATION}OIDC initialization failed: OIDC discovery request failed: --oidc-issuer is not an http or https URL`,
  },
  {
    exit: 2,
    bad: ({ issuer }) => {
      const url = parseIssuer(issuer ?? '')
      return url !== null && (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
    },
    message: () => '--oidc-issuer must not carry a user, a password, a query or a fragment',
  },
  {
    exit: 2,
    bad: ({ raw, issuer }) => {
      const url = parseIssuer(issuer ?? '')
      return url?.protocol === 'http:' && !isLoopbackHost(url.hostname) && !raw.on('oidc-allow-http')
    },
    message: () => '--oidc-issuer must use https, or http on this host; --oidc-allow-http lifts this',
  },
  {
    exit: 2,
    bad: ({ raw, issuer }) =>
      issuer !== null && (raw.text('oidc-admin-role') === '') !== (raw.text('oidc-user-role') === ''),
    message: ({ raw }) =>
      `${IN_CONFIGURATION}OIDC RBAC misconfiguration: admin_role="${printable(raw.text('oidc-admin-role'))}", user_role="${printable(raw.text('oidc-user-role'))}". ` +
      'Either set both roles (RBAC mode) or leave both empty (authentication-only mode).',
  },
  claimPath('oidc-roles-claim'),
  claimPath('oidc-scopes-claim'),
  {
    exit: 2,
    bad: ({ raw }) => raw.list('oidc-algorithms').some(name => !isAlgorithm(name)),
    message: ({ raw }) => {
      const unknown = raw.list('oidc-algorithms').filter(name => !isAlgorithm(name))
      return `--oidc-algorithms: ${printable(unknown.join(', '))} is not accepted; possible are ${ALGORITHM_NAMES.join(', ')}`
    },
  },
  {
    exit: 2,
    bad: ({ raw }) => raw.number('oidc-leeway-secs') > LIMITS.oidcLeewayMostSecs,
    message: () => `--oidc-leeway-secs must not be more than ${LIMITS.oidcLeewayMostSecs}`,
  },
  {
    exit: 2,
    bad: ({ raw }) => parseStreamLifetime(raw.optional('oidc-stream-lifetime')) === undefined,
    message: ({ raw }) =>
      `--oidc-stream-lifetime must be token, token+SECONDS or unbounded, not '${printable(raw.text('oidc-stream-lifetime'))}'`,
  },
  {
    exit: 2,
    bad: ({ raw }) => raw.text('ssh-gateway-host') !== '' && !isReplyHost(raw.text('ssh-gateway-host')),
    message: () => '--ssh-gateway-host must be a host name or an IP address of at most 253 characters',
  },
  {
    exit: 2,
    bad: ({ raw }) => !isReplyPath(raw.text('ssh-connect-path')),
    message: () => '--ssh-connect-path must begin with / and be a URL path of at most 2048 characters',
  },
  {
    exit: 2,
    bad: ({ raw }) => raw.list('trusted-proxies').some(item => !isAddressRange(item)),
    message: ({ raw }) => {
      const bad = raw.list('trusted-proxies').filter(item => !isAddressRange(item))
      return `--trusted-proxies: ${printable(bad.join(', '))} is no IP address or CIDR range`
    },
  },
  {
    exit: 2,
    bad: ({ raw }) => raw.number('max-connections') === 0,
    message: () => '--max-connections must be at least 1',
  },
]

/** TABLE Things that work and deserve a line in the log at start. */
const CAUTIONS: readonly Omit<Check, 'exit'>[] = [
  {
    bad: ({ secret }) => Buffer.byteLength(secret) < LIMITS.handshakeSecretBytes,
    message: () => `the sandbox secret is shorter than ${LIMITS.handshakeSecretBytes} bytes and can be guessed`,
  },
  {
    bad: ({ raw }) => raw.source('ssh-handshake-secret') === 'flag',
    message: () =>
      '--ssh-handshake-secret on the command line is visible to every user of this host; use the variable or --ssh-handshake-secret-file',
  },
  {
    bad: ({ raw }) =>
      raw.source('db-url') === 'flag' && /^postgres(ql)?:\/\/[^/@]*:[^/@]*@/.test(raw.text('db-url').trim()),
    message: () => 'the password in --db-url is visible to every user of this host; use OPENSHELL_DB_URL',
  },
  {
    bad: ({ raw }) => /^sqlite:(.*:memory:|.*[?&]mode=memory)/.test(raw.text('db-url').trim()),
    message: () => 'the database is kept in memory: everything is lost when the gateway ends',
  },
  {
    bad: ({ raw }) => raw.on('disable-tls') && raw.on('disable-gateway-auth'),
    message: () => '--disable-gateway-auth has no effect with --disable-tls',
  },
  {
    bad: ({ raw }) =>
      raw.on('disable-tls') && (['tls-cert', 'tls-key', 'tls-client-ca'] as const).some(flag => raw.optional(flag)),
    message: () => 'TLS files have no effect with --disable-tls',
  },
  {
    bad: ({ raw, issuer }) => issuer !== null && raw.list('oidc-clients').includes('*'),
    message: () => 'tokens without an audience are accepted from every client of the issuer (--oidc-clients *)',
  },
]

/** Decision 5: a socket without a driver's name, or beside a name nobody reserved, means the external driver. */
function driverOf(raw: Raw): string {
  const named = raw.list('drivers')[0] ?? 'external'
  if (raw.optional('compute-driver-socket') === null) return named
  const chosen = raw.source('drivers') !== 'default'
  return chosen && RESERVED_DRIVERS.has(named) ? named : 'external'
}

function factsOf(raw: Raw, rules: ConfigRules): Facts {
  const secret = rules.handshakeSecretFile ?? raw.text('ssh-handshake-secret')
  return { raw, rules, driver: driverOf(raw), secret, issuer: raw.optional('oidc-issuer') }
}

function clientsOf(raw: Raw): readonly string[] | '*' {
  const listed = raw.list('oidc-clients')
  if (listed.includes('*')) return '*'
  if (listed.length === 1 && listed[0] === 'none') return []
  return [...new Set([...listed, raw.text('oidc-audience')].filter(name => name !== ''))]
}

function oidcOf({ raw, issuer }: Facts): OidcConfig | null {
  if (issuer === null) return null
  return {
    issuer,
    audience: raw.text('oidc-audience'),
    clients: clientsOf(raw),
    jwksTtlSecs: raw.number('oidc-jwks-ttl'),
    rolesClaim: raw.text('oidc-roles-claim'),
    adminRole: raw.text('oidc-admin-role'),
    userRole: raw.text('oidc-user-role'),
    scopesClaim: raw.text('oidc-scopes-claim'),
    algorithms: [...new Set(raw.list('oidc-algorithms'))],
    leewaySecs: raw.number('oidc-leeway-secs'),
    allowHttp: raw.on('oidc-allow-http'),
    caFile: raw.optional('oidc-ca-file'),
    streams: parseStreamLifetime(raw.optional('oidc-stream-lifetime'))!,
  }
}

function tlsOf(raw: Raw): TlsConfig | null {
  if (raw.on('disable-tls')) return null
  return {
    certFile: raw.text('tls-cert'),
    keyFile: raw.text('tls-key'),
    clientCaFile: raw.text('tls-client-ca'),
    clientCertificateOptional: raw.on('disable-gateway-auth'),
  }
}

function computeOf({ raw, driver }: Facts): ComputeConfig {
  const settings: Record<string, string> = {}
  for (const name of DRIVER_SETTINGS) {
    const value = raw.text(name)
    if (value !== '') settings[name] = value
  }
  return { driver, socket: raw.optional('compute-driver-socket'), driverDir: raw.optional('driver-dir'), settings }
}

function sshOf(raw: Raw, bind: string): SshConfig {
  return {
    gatewayHost: raw.text('ssh-gateway-host') || bind,
    gatewayPort: raw.number('ssh-gateway-port'),
    gatewayScheme: schemeOf(raw.optional('ssh-gateway-scheme')),
    connectPath: raw.text('ssh-connect-path'),
    sessionTtlSecs: raw.number('ssh-session-ttl-secs'),
    tokenAtRest: raw.text('ssh-token-at-rest') === 'plain' ? 'plain' : 'hashed',
    handshakeSkewSecs: raw.number('ssh-handshake-skew-secs'),
  }
}

const schemeOf = (text: string | null) => (text === 'http' || text === 'https' ? text : null)

function configOf(facts: Facts, logLevel: ShownLevel): Config {
  const { raw, secret } = facts
  const bind = parseIp(raw.text('bind-address')) ?? ''
  return {
    bindAddress: bind,
    port: raw.number('port'),
    healthPort: raw.number('health-port'),
    metricsPort: raw.number('metrics-port'),
    healthBindAddress: parseIp(raw.text('health-bind-address')) ?? bind,
    metricsBindAddress: parseIp(raw.text('metrics-bind-address')) ?? bind,
    logLevel,
    logLevelFile: raw.optional('log-level-file'),
    logFormat: raw.text('log-format') === 'json' ? 'json' : 'text',
    auditRequired: raw.on('audit-required'),
    tls: tlsOf(raw),
    oidc: oidcOf(facts),
    dbUrl: new Secret(raw.text('db-url').trim()),
    compute: computeOf(facts),
    credentialsDriverSocket: raw.optional('credentials-driver-socket'),
    driverConnectTimeoutSecs: raw.number('driver-connect-timeout-secs'),
    driverUids: raw.list('driver-uids').map(Number),
    ssh: sshOf(raw, bind),
    sandboxSecret: {
      master: new Secret(secret),
      issue: raw.on('issue-sandbox-secrets'),
      requireBinding: raw.on('require-sandbox-binding'),
      allowUnauthenticatedSupervisors: raw.on('allow-unauthenticated-supervisors'),
    },
    shutdownGraceSecs: raw.number('shutdown-grace-secs'),
    inferenceAllowPrivateEndpoints: raw.on('inference-allow-private-endpoints'),
    storeKeyFile: raw.optional('store-key-file'),
    disableEdgeLogin: raw.on('disable-edge-login'),
    trustedProxies: raw.list('trusted-proxies'),
    maxConnections: raw.number('max-connections'),
    maxConnectionsPerAddress: raw.number('max-connections-per-address'),
    userCallsPerSecond: raw.number('user-calls-per-second'),
  }
}

/** Freezes plain objects and lists all the way down; a `Secret` keeps its own privacy. */
function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || value instanceof Secret) return value
  for (const inner of Object.values(value)) freeze(inner)
  return Object.freeze(value)
}

/**
 * Turns checked values into the frozen configuration, or returns every rule that is broken, in the order of the table.
 * Pure; no text it returns holds a secret.
 */
export function parseConfig(raw: Raw, rules: ConfigRules): ConfigOutcome {
  const facts = factsOf(raw, rules)
  const { level, warnings: levelWarnings } = resolveLogLevel(raw.rustLog, raw.text('log-level'))
  const violations = CHECKS.filter(check => check.bad(facts)).map(check => ({
    exit: check.exit,
    text: check.message(facts),
  }))
  if (violations.length > 0) return { ok: false, violations, warnings: raw.warnings }
  const cautions = CAUTIONS.filter(caution => caution.bad(facts)).map(caution => caution.message(facts))
  return {
    ok: true,
    config: freeze(configOf(facts, level)),
    warnings: [...raw.warnings, ...levelWarnings, ...cautions],
  }
}
