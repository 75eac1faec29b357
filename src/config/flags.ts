import { ALGORITHM_NAMES } from '../auth/algorithms.ts'

/** How the text of a flag is read (spec/gateway.md §2.1). */
export type FlagKind = 'u8' | 'u16' | 'u32' | 'u64' | 'text' | 'path' | 'switch' | 'list' | 'choice'

/** One flag of a command: everything the parser, the help, the man page, the completions and the README need to know. */
export interface Flag {
  /** Long name without the dashes. */
  readonly name: string
  /** Environment variable that stands in for the flag; null = command line only. */
  readonly env: string | null
  readonly kind: FlagKind
  /** The value without flag and variable; null = unset. Switches are off. */
  readonly default: string | null
  /** Its value is never printed, wherever it came from (W-1). */
  readonly secret?: true
  readonly required?: true
  /** Given more than once, the values add up; only lists (spec/gateway.md §2.1). */
  readonly repeatable?: true
  readonly choices?: readonly string[]
  /** A second spelling that help does not show. */
  readonly hiddenAlias?: string
  /** One letter that stands for the name: `-o json`. Flags of the gateway itself have none (spec/gateway.md §2.1). */
  readonly short?: string
  readonly group: string
  readonly help: string
}

/** Headings of help, README and man page, in their order. */
export const FLAG_GROUPS = [
  'Listeners',
  'TLS',
  'Storage',
  'Drivers',
  'Sandboxes',
  'SSH',
  'Sandbox secret',
  'OIDC',
  'Inference',
  'Logging',
  'VM driver',
] as const

/**
 * TABLE Every flag of the gateway itself, its variable and its default (spec/gateway.md §2.2). Names and defaults of
 * the reference never change meaning; rows marked "ours" are the additions of §2.4 [B] and of the decisions.
 */
export const FLAGS = [
  // Listeners
  {
    name: 'port',
    env: 'OPENSHELL_SERVER_PORT',
    kind: 'u16',
    default: '8080',
    group: 'Listeners',
    help: 'Port of the main listener; 0 lets the kernel choose',
  },
  {
    name: 'health-port',
    env: 'OPENSHELL_HEALTH_PORT',
    kind: 'u16',
    default: '0',
    group: 'Listeners',
    help: 'Port of /healthz and /readyz; 0 = off',
  },
  {
    name: 'metrics-port',
    env: 'OPENSHELL_METRICS_PORT',
    kind: 'u16',
    default: '0',
    group: 'Listeners',
    help: 'Port of the Prometheus metrics; 0 = off',
  },
  // ours
  {
    name: 'bind-address',
    env: 'OPENSHELL_BIND_ADDRESS',
    kind: 'text',
    default: '0.0.0.0',
    group: 'Listeners',
    help: 'IP address the main listener binds',
  },
  // ours (W-25)
  {
    name: 'health-bind-address',
    env: 'OPENSHELL_HEALTH_BIND_ADDRESS',
    kind: 'text',
    default: null,
    group: 'Listeners',
    help: 'IP address of the health port; unset = the main one',
  },
  // ours (W-25)
  {
    name: 'metrics-bind-address',
    env: 'OPENSHELL_METRICS_BIND_ADDRESS',
    kind: 'text',
    default: null,
    group: 'Listeners',
    help: 'IP address of the metrics port; unset = the main one',
  },
  // ours
  {
    name: 'max-connections',
    env: 'OPENSHELL_MAX_CONNECTIONS',
    kind: 'u32',
    default: '4096',
    group: 'Listeners',
    help: 'Most connections at a time; the descriptor limit may lower it',
  },
  // ours
  {
    name: 'max-connections-per-address',
    env: 'OPENSHELL_MAX_CONNECTIONS_PER_ADDRESS',
    kind: 'u32',
    default: '256',
    group: 'Listeners',
    help: 'Most connections of one client address; 0 = no such limit, for gateways behind a proxy',
  },
  // ours (F-18)
  {
    name: 'user-calls-per-second',
    env: 'OPENSHELL_USER_CALLS_PER_SECOND',
    kind: 'u32',
    default: '0',
    group: 'Listeners',
    help: 'Calls that the bearer of a token may make in the long run, twice as many in one second; 0 = no such limit',
  },
  // ours
  {
    name: 'trusted-proxies',
    env: 'OPENSHELL_TRUSTED_PROXIES',
    kind: 'list',
    default: null,
    group: 'Listeners',
    help: 'Addresses or CIDR ranges, separated by commas, whose x-forwarded-host names the gateway',
  },
  // ours
  {
    name: 'disable-edge-login',
    env: 'OPENSHELL_DISABLE_EDGE_LOGIN',
    kind: 'switch',
    default: null,
    group: 'Listeners',
    help: 'Answer 404 on the browser login page /auth/connect',
  },
  // ours (decision 23)
  {
    name: 'shutdown-grace-secs',
    env: 'OPENSHELL_SHUTDOWN_GRACE_SECS',
    kind: 'u32',
    default: '10',
    group: 'Listeners',
    help: 'Seconds that calls in flight may take after SIGTERM before they are cut',
  },

  // TLS
  {
    name: 'tls-cert',
    env: 'OPENSHELL_TLS_CERT',
    kind: 'path',
    default: null,
    group: 'TLS',
    help: 'PEM certificate chain, leaf first; required unless TLS is disabled',
  },
  {
    name: 'tls-key',
    env: 'OPENSHELL_TLS_KEY',
    kind: 'path',
    default: null,
    group: 'TLS',
    help: 'PEM private key of the certificate; required unless TLS is disabled',
  },
  {
    name: 'tls-client-ca',
    env: 'OPENSHELL_TLS_CLIENT_CA',
    kind: 'path',
    default: null,
    group: 'TLS',
    help: 'PEM bundle of the CAs that sign client certificates; required unless TLS is disabled',
  },
  {
    name: 'disable-tls',
    env: 'OPENSHELL_DISABLE_TLS',
    kind: 'switch',
    default: null,
    group: 'TLS',
    help: 'Serve the main port in plaintext, for a proxy in front that does TLS',
  },
  {
    name: 'disable-gateway-auth',
    env: 'OPENSHELL_DISABLE_GATEWAY_AUTH',
    kind: 'switch',
    default: null,
    group: 'TLS',
    help: 'Let clients in without a certificate; one that is shown must still verify',
  },

  // Storage
  {
    name: 'db-url',
    env: 'OPENSHELL_DB_URL',
    kind: 'text',
    default: null,
    required: true,
    secret: true,
    group: 'Storage',
    help: 'Where state is kept: sqlite:FILE, sqlite::memory: or postgres://…',
  },
  // ours (W5)
  {
    name: 'store-key-file',
    env: 'OPENSHELL_STORE_KEY_FILE',
    kind: 'path',
    default: null,
    group: 'Storage',
    help: 'Key file that encrypts secrets at rest; unset = stored as the Rust gateway stores them',
  },

  // Drivers
  {
    name: 'drivers',
    env: 'OPENSHELL_DRIVERS',
    kind: 'list',
    default: 'kubernetes',
    repeatable: true,
    hiddenAlias: 'driver',
    group: 'Drivers',
    help: 'The compute driver: external, or NAME of an executable openshell-driver-NAME to start',
  },
  {
    name: 'compute-driver-socket',
    env: 'OPENSHELL_COMPUTE_DRIVER_SOCKET',
    kind: 'path',
    default: null,
    group: 'Drivers',
    help: 'Unix socket of a compute driver that runs already; selects the external driver',
  },
  {
    name: 'credentials-driver-socket',
    env: 'OPENSHELL_CREDENTIALS_DRIVER_SOCKET',
    kind: 'path',
    default: null,
    group: 'Drivers',
    help: 'Unix socket of a credentials driver',
  },
  // ours (decision 15)
  {
    name: 'driver-connect-timeout-secs',
    env: 'OPENSHELL_DRIVER_CONNECT_TIMEOUT_SECS',
    kind: 'u32',
    default: '0',
    group: 'Drivers',
    help: 'End the gateway when a driver has not answered after this many seconds; 0 = wait for ever',
  },
  // ours (reliability D-15)
  {
    name: 'driver-uids',
    env: 'OPENSHELL_DRIVER_UIDS',
    kind: 'list',
    default: null,
    group: 'Drivers',
    help: 'Numbers, separated by commas, of the users that may stand behind a driver socket; any when not given',
  },
  {
    name: 'driver-dir',
    env: 'OPENSHELL_DRIVER_DIR',
    kind: 'path',
    default: null,
    group: 'Drivers',
    help: 'Directory searched for driver executables instead of the usual ones',
  },

  // Sandboxes
  {
    name: 'sandbox-namespace',
    env: 'OPENSHELL_SANDBOX_NAMESPACE',
    kind: 'text',
    default: 'default',
    group: 'Sandboxes',
    help: 'Kubernetes namespace of the sandboxes',
  },
  {
    name: 'sandbox-image',
    env: 'OPENSHELL_SANDBOX_IMAGE',
    kind: 'text',
    default: 'ghcr.io/nvidia/openshell-community/sandboxes/base:latest',
    group: 'Sandboxes',
    help: 'Image of a sandbox that names none, handed to drivers that the gateway starts',
  },
  {
    name: 'sandbox-image-pull-policy',
    env: 'OPENSHELL_SANDBOX_IMAGE_PULL_POLICY',
    kind: 'text',
    default: null,
    group: 'Sandboxes',
    help: 'When images are pulled, in the words of the driver (Always, IfNotPresent, Never; podman: always, missing, never, newer)',
  },
  {
    name: 'grpc-endpoint',
    env: 'OPENSHELL_GRPC_ENDPOINT',
    kind: 'text',
    default: null,
    group: 'Sandboxes',
    help: 'URL at which sandboxes reach this gateway; the vm driver needs it',
  },
  {
    name: 'sandbox-ssh-port',
    env: 'OPENSHELL_SANDBOX_SSH_PORT',
    kind: 'u16',
    default: '2222',
    group: 'Sandboxes',
    help: 'SSH port inside sandboxes',
  },
  {
    name: 'client-tls-secret-name',
    env: 'OPENSHELL_CLIENT_TLS_SECRET_NAME',
    kind: 'text',
    default: null,
    group: 'Sandboxes',
    help: 'Kubernetes secret with the client certificate that is mounted into sandboxes',
  },
  {
    name: 'host-gateway-ip',
    env: 'OPENSHELL_HOST_GATEWAY_IP',
    kind: 'text',
    default: null,
    group: 'Sandboxes',
    help: 'Address that host.docker.internal and host.openshell.internal get inside sandboxes',
  },

  // SSH
  {
    name: 'ssh-gateway-host',
    env: 'OPENSHELL_SSH_GATEWAY_HOST',
    kind: 'text',
    default: '127.0.0.1',
    group: 'SSH',
    help: 'Host that CreateSshSession tells clients; empty on the command line = the bind address',
  },
  // The default is the main port, not 8080 (W-14).
  {
    name: 'ssh-gateway-port',
    env: 'OPENSHELL_SSH_GATEWAY_PORT',
    kind: 'u16',
    default: '0',
    group: 'SSH',
    help: 'Port that CreateSshSession tells clients; 0 = the main port',
  },
  // ours (W-14)
  {
    name: 'ssh-gateway-scheme',
    env: 'OPENSHELL_SSH_GATEWAY_SCHEME',
    kind: 'choice',
    choices: ['http', 'https'],
    default: null,
    group: 'SSH',
    help: 'Scheme that CreateSshSession tells clients; unset = https when this gateway does TLS',
  },
  {
    name: 'ssh-connect-path',
    env: 'OPENSHELL_SSH_CONNECT_PATH',
    kind: 'text',
    default: '/connect/ssh',
    group: 'SSH',
    help: 'Path of the SSH tunnel; /connect/ssh is served beside it',
  },
  // ours
  {
    name: 'ssh-session-ttl-secs',
    env: 'OPENSHELL_SSH_SESSION_TTL_SECS',
    kind: 'u32',
    default: '86400',
    group: 'SSH',
    help: 'Seconds an SSH session token is good for; 0 = for ever',
  },
  // ours (decision 18)
  {
    name: 'ssh-token-at-rest',
    env: 'OPENSHELL_SSH_TOKEN_AT_REST',
    kind: 'choice',
    choices: ['hashed', 'plain'],
    default: 'hashed',
    group: 'SSH',
    help: 'How the database keeps an SSH session token; plain = as the Rust gateway does, so that both know the sessions of one database',
  },
  {
    name: 'ssh-handshake-skew-secs',
    env: 'OPENSHELL_SSH_HANDSHAKE_SKEW_SECS',
    kind: 'u64',
    default: '300',
    group: 'SSH',
    help: 'Clock difference that sandboxes tolerate in a handshake; handed to drivers',
  },

  // Sandbox secret
  {
    name: 'ssh-handshake-secret',
    env: 'OPENSHELL_SSH_HANDSHAKE_SECRET',
    kind: 'text',
    default: null,
    secret: true,
    group: 'Sandbox secret',
    help: 'Secret that sandboxes show in x-sandbox-secret; better given by variable or file than on the command line',
  },
  // ours (W-1)
  {
    name: 'ssh-handshake-secret-file',
    env: 'OPENSHELL_SSH_HANDSHAKE_SECRET_FILE',
    kind: 'path',
    default: null,
    group: 'Sandbox secret',
    help: 'File that holds that secret',
  },
  // ours (decision 3)
  {
    name: 'issue-sandbox-secrets',
    env: 'OPENSHELL_ISSUE_SANDBOX_SECRETS',
    kind: 'switch',
    default: null,
    group: 'Sandbox secret',
    help: 'Hand each sandbox a secret of its own through the driver; not for drivers that set the variable themselves',
  },
  // ours (decision 3)
  {
    name: 'require-sandbox-binding',
    env: 'OPENSHELL_REQUIRE_SANDBOX_BINDING',
    kind: 'switch',
    default: null,
    group: 'Sandbox secret',
    help: "Refuse the secret shared by all sandboxes; accept each sandbox's own only",
  },
  // ours (decision 2)
  {
    name: 'allow-unauthenticated-supervisors',
    env: 'OPENSHELL_ALLOW_UNAUTHENTICATED_SUPERVISORS',
    kind: 'switch',
    default: null,
    group: 'Sandbox secret',
    help: 'Let a supervisor connect without secret or client certificate while OIDC is on',
  },

  // OIDC
  {
    name: 'oidc-issuer',
    env: 'OPENSHELL_OIDC_ISSUER',
    kind: 'text',
    default: null,
    group: 'OIDC',
    help: 'Issuer URL; setting it makes every call need a token',
  },
  {
    name: 'oidc-audience',
    env: 'OPENSHELL_OIDC_AUDIENCE',
    kind: 'text',
    default: 'openshell-cli',
    group: 'OIDC',
    help: 'Audience that tokens must carry',
  },
  // ours (decision 1)
  {
    name: 'oidc-clients',
    env: 'OPENSHELL_OIDC_CLIENTS',
    kind: 'list',
    default: 'openshell-cli,openshell-ci',
    group: 'OIDC',
    help: 'Clients (azp or client_id) whose tokens may lack an audience, separated by commas; none = no client, * = any',
  },
  {
    name: 'oidc-jwks-ttl',
    env: 'OPENSHELL_OIDC_JWKS_TTL',
    kind: 'u64',
    default: '3600',
    group: 'OIDC',
    help: 'Seconds until signing keys are fetched again',
  },
  {
    name: 'oidc-roles-claim',
    env: 'OPENSHELL_OIDC_ROLES_CLAIM',
    kind: 'text',
    default: 'realm_access.roles',
    group: 'OIDC',
    help: 'Claim that lists the roles: names joined by dots, or a JSON pointer',
  },
  {
    name: 'oidc-admin-role',
    env: 'OPENSHELL_OIDC_ADMIN_ROLE',
    kind: 'text',
    default: 'openshell-admin',
    group: 'OIDC',
    help: 'Role of administrators; empty on the command line together with the user role = any valid token will do',
  },
  {
    name: 'oidc-user-role',
    env: 'OPENSHELL_OIDC_USER_ROLE',
    kind: 'text',
    default: 'openshell-user',
    group: 'OIDC',
    help: 'Role of users',
  },
  {
    name: 'oidc-scopes-claim',
    env: 'OPENSHELL_OIDC_SCOPES_CLAIM',
    kind: 'text',
    default: null,
    group: 'OIDC',
    help: 'Claim that lists the scopes; unset = scopes are not looked at',
  },
  // ours
  {
    name: 'oidc-algorithms',
    env: 'OPENSHELL_OIDC_ALGORITHMS',
    kind: 'list',
    default: 'RS256',
    group: 'OIDC',
    help: `Signature algorithms accepted, separated by commas: ${ALGORITHM_NAMES.join(', ')}`,
  },
  // ours
  {
    name: 'oidc-leeway-secs',
    env: 'OPENSHELL_OIDC_LEEWAY_SECS',
    kind: 'u32',
    default: '60',
    group: 'OIDC',
    help: 'Clock difference tolerated in exp and nbf, at most 120',
  },
  // ours
  {
    name: 'oidc-allow-http',
    env: 'OPENSHELL_OIDC_ALLOW_HTTP',
    kind: 'switch',
    default: null,
    group: 'OIDC',
    help: 'Accept an issuer that is reached by plain http from another host',
  },
  // ours (K-12)
  {
    name: 'oidc-ca-file',
    env: 'OPENSHELL_OIDC_CA_FILE',
    kind: 'path',
    default: null,
    group: 'OIDC',
    help: 'PEM bundle of further CAs trusted for the issuer',
  },
  // ours (spec/auth.md §6.7)
  {
    name: 'oidc-stream-lifetime',
    env: 'OPENSHELL_OIDC_STREAM_LIFETIME',
    kind: 'text',
    default: null,
    group: 'OIDC',
    help: 'When watches, commands and SSH sessions of a user end: token = with the token, token+SECONDS = that much later, unbounded = never; unset = watches after token+600, the others never',
  },

  // Inference
  // ours (decision 29)
  {
    name: 'inference-allow-private-endpoints',
    env: 'OPENSHELL_INFERENCE_ALLOW_PRIVATE_ENDPOINTS',
    kind: 'switch',
    default: null,
    group: 'Inference',
    help: 'Let inference routes be verified at loopback and private addresses',
  },

  // Logging
  {
    name: 'log-level',
    env: 'OPENSHELL_LOG_LEVEL',
    kind: 'text',
    default: 'info',
    group: 'Logging',
    help: 'error, warn, info, debug, trace or off; RUST_LOG wins when it is set',
  },
  // ours (C-03)
  {
    name: 'log-level-file',
    env: 'OPENSHELL_LOG_LEVEL_FILE',
    kind: 'path',
    default: null,
    group: 'Logging',
    help: 'File whose content goes before the level above; read at start and at every reload, and need not exist',
  },
  // ours (spec/gateway.md §13 [B])
  {
    name: 'log-format',
    env: 'OPENSHELL_LOG_FORMAT',
    kind: 'choice',
    choices: ['text', 'json'],
    default: 'text',
    group: 'Logging',
    help: 'One line of text or one JSON object per event',
  },
  // ours (O-03)
  {
    name: 'audit-required',
    env: 'OPENSHELL_AUDIT_REQUIRED',
    kind: 'switch',
    default: null,
    group: 'Logging',
    help: 'Refuse calls that leave an audit line while the log cannot be written',
  },

  // VM driver
  {
    name: 'vm-driver-state-dir',
    env: 'OPENSHELL_VM_DRIVER_STATE_DIR',
    kind: 'path',
    default: 'target/openshell-vm-driver',
    group: 'VM driver',
    help: 'Directory of its state and its socket',
  },
  {
    name: 'vm-krun-log-level',
    env: 'OPENSHELL_VM_KRUN_LOG_LEVEL',
    kind: 'u32',
    default: '1',
    group: 'VM driver',
    help: 'Log level of libkrun',
  },
  {
    name: 'vm-vcpus',
    env: 'OPENSHELL_VM_DRIVER_VCPUS',
    kind: 'u8',
    default: '2',
    group: 'VM driver',
    help: 'CPUs of a sandbox',
  },
  {
    name: 'vm-mem-mib',
    env: 'OPENSHELL_VM_DRIVER_MEM_MIB',
    kind: 'u32',
    default: '2048',
    group: 'VM driver',
    help: 'Memory of a sandbox in MiB',
  },
  {
    name: 'vm-tls-ca',
    env: 'OPENSHELL_VM_TLS_CA',
    kind: 'path',
    default: null,
    group: 'VM driver',
    help: 'CA that guests trust for this gateway',
  },
  {
    name: 'vm-tls-cert',
    env: 'OPENSHELL_VM_TLS_CERT',
    kind: 'path',
    default: null,
    group: 'VM driver',
    help: 'Client certificate of guests',
  },
  {
    name: 'vm-tls-key',
    env: 'OPENSHELL_VM_TLS_KEY',
    kind: 'path',
    default: null,
    group: 'VM driver',
    help: 'Private key of that certificate',
  },
] as const satisfies readonly (Flag & { readonly group: (typeof FLAG_GROUPS)[number] })[]

/** A name of the table: a typo in code does not compile. */
export type FlagName = (typeof FLAGS)[number]['name']

/** `<DB_URL>` for `db-url`: how messages and help write the value of a flag. */
export const valueName = (flag: Pick<Flag, 'name'>): string => `<${flag.name.toUpperCase().replaceAll('-', '_')}>`

/** `--db-url <DB_URL>`, or `--disable-tls` for a switch: how messages name a flag. */
export const flagLabel = (flag: Pick<Flag, 'name' | 'kind' | 'short'>): string => {
  const names = flag.short === undefined ? `--${flag.name}` : `-${flag.short}, --${flag.name}`
  return flag.kind === 'switch' ? names : `${names} ${valueName(flag)}`
}

/**
 * TABLE Variables with our prefix that the gateway does not read itself: the client, sandboxes, drivers and installers
 * do (spec/gateway.md §2.3, spec/client.md §2.4). They cause no "unknown variable" warning.
 */
export const FOREIGN_VARIABLES: readonly string[] = [
  'OPENSHELL_CLIENT_CA',
  'OPENSHELL_CLIENT_CERT',
  'OPENSHELL_CLIENT_KEY',
  'OPENSHELL_COMMUNITY_REGISTRY',
  'OPENSHELL_ENDPOINT',
  'OPENSHELL_GATEWAY',
  'OPENSHELL_GATEWAY_ENDPOINT',
  'OPENSHELL_GATEWAY_INSECURE',
  'OPENSHELL_NETWORK_NAME',
  'OPENSHELL_NO_BROWSER',
  'OPENSHELL_OIDC_CLIENT_SECRET',
  'OPENSHELL_OIDC_CLIENT_SECRET_FILE',
  'OPENSHELL_PASSWORD',
  'OPENSHELL_PODMAN_SOCKET',
  'OPENSHELL_PROVISION_TIMEOUT',
  'OPENSHELL_SANDBOX',
  'OPENSHELL_SANDBOX_COMMAND',
  'OPENSHELL_SANDBOX_ID',
  'OPENSHELL_SANDBOX_POLICY',
  'OPENSHELL_SSH_LOG_LEVEL',
  'OPENSHELL_SSH_SOCKET_PATH',
  'OPENSHELL_STOP_TIMEOUT',
  'OPENSHELL_SUPERVISOR_IMAGE',
  'OPENSHELL_SYSTEM_GATEWAY_DIR',
  'OPENSHELL_THEME',
  'OPENSHELL_TLS_CA',
  'OPENSHELL_TOKEN',
  'OPENSHELL_TOKEN_FILE',
]
