import type { Secret } from '../base/secret.ts'

/** What the gateway runs with: read once at start, frozen, never the environment again. Names follow the flags of flags.ts. */
export interface Config {
  readonly bindAddress: string
  /** 0 = chosen by the kernel. */
  readonly port: number
  /** 0 = off, for both side ports. */
  readonly healthPort: number
  readonly metricsPort: number
  readonly logLevel: string
  /** Null = plaintext. */
  readonly tls: TlsConfig | null
  readonly oidc: OidcConfig | null
  readonly dbUrl: Secret
  readonly compute: ComputeConfig
  readonly credentialsDriverSocket: string | null
  /** 0 = wait for drivers for ever (decision 15). */
  readonly driverConnectTimeoutSecs: number
  readonly ssh: SshConfig
  readonly sandboxSecret: SandboxSecretConfig
  readonly shutdownGraceSecs: number
  readonly inferenceAllowPrivateEndpoints: boolean
  readonly storeKeyFile: string | null
  readonly disableEdgeLogin: boolean
  /** Peers whose x-forwarded-host names the gateway on the connect page. */
  readonly trustedProxies: readonly string[]
  readonly maxConnections: number
  readonly maxConnectionsPerAddress: number
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
  /** Seconds after a token's expiry at which its watch streams end; null = never (spec/auth.md §6.7). */
  readonly streamGraceSecs: number | null
}

export interface ComputeConfig {
  /** `external`, or the name of a driver executable to start (decision 6). */
  readonly driver: string
  readonly socket: string | null
  readonly driverDir: string | null
  /** Passed on to a spawned driver as its flags of the same names. */
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
