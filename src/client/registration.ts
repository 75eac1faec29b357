/** How a gateway wants its clients to prove themselves. */
export const AUTH_MODES = ['oidc', 'mtls', 'plaintext', 'cloudflare_jwt'] as const
export type AuthMode = (typeof AUTH_MODES)[number]

/** TABLE The keys of `metadata.json` in the order they are written (spec/client.md §4.4), and what they hold. */
const KEYS = {
  name: 'string',
  gateway_endpoint: 'string',
  is_remote: 'boolean',
  gateway_port: 'port',
  remote_host: 'string?',
  resolved_host: 'string?',
  auth_mode: 'string?',
  edge_team_domain: 'string?',
  edge_auth_url: 'string?',
  oidc_issuer: 'string?',
  oidc_client_id: 'string?',
  oidc_audience: 'string?',
  oidc_scopes: 'string?',
  vm_driver_state_dir: 'string?',
} as const

/** Second spellings that older files use. */
const ALIASES: Readonly<Record<string, keyof typeof KEYS>> = {
  cf_team_domain: 'edge_team_domain',
  cf_auth_url: 'edge_auth_url',
}

/** A gateway as the registry knows it. */
export interface Registration {
  readonly name: string
  readonly gateway_endpoint: string
  readonly is_remote: boolean
  readonly gateway_port: number
  readonly remote_host?: string
  readonly resolved_host?: string
  readonly auth_mode?: string
  readonly edge_team_domain?: string
  readonly edge_auth_url?: string
  readonly oidc_issuer?: string
  readonly oidc_client_id?: string
  readonly oidc_audience?: string
  readonly oidc_scopes?: string
  readonly vm_driver_state_dir?: string
  /** Keys of other programs, kept as they are (spec/client.md §18 row 24). */
  readonly others?: Readonly<Record<string, unknown>>
}

export const DEFAULT_CLIENT_ID = 'openshell-cli'

const fits = (kind: string, value: unknown): boolean => {
  if (kind === 'boolean') return typeof value === 'boolean'
  if (kind === 'port') return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65_535
  return typeof value === 'string'
}

/** Reads `metadata.json`; a text instead says what is wrong with it. */
export function parseRegistration(text: string): Registration | string {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    return 'it is not JSON'
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return 'it is not a JSON object'
  const known: Record<string, unknown> = {}
  const others: Record<string, unknown> = {}
  for (const [given, value] of Object.entries(json)) {
    const key = Object.hasOwn(ALIASES, given) ? ALIASES[given]! : given
    if (!Object.hasOwn(KEYS, key)) Object.defineProperty(others, given, { value, enumerable: true })
    else if (value !== null && known[key] === undefined) known[key] = value
  }
  for (const [key, kind] of Object.entries(KEYS)) {
    if (known[key] === undefined && !kind.endsWith('?')) return `its key '${key}' is missing`
    if (known[key] !== undefined && !fits(kind, known[key])) return `its key '${key}' has a wrong type`
  }
  return { ...(known as unknown as Registration), ...(Object.keys(others).length > 0 ? { others } : {}) }
}

/** The text of `metadata.json`: two spaces, no newline at the end, absent keys left out. */
export function formatRegistration(registration: Registration): string {
  const out: Record<string, unknown> = {}
  for (const key of Object.keys(KEYS) as (keyof typeof KEYS)[])
    if (registration[key] !== undefined) out[key] = registration[key]
  for (const [key, value] of Object.entries(registration.others ?? {}))
    Object.defineProperty(out, key, { value, enumerable: true })
  return JSON.stringify(out, null, 2)
}

/** The mode of a registration; files of older clients do not name it (spec/client.md §15.2). */
export function authModeOf(registration: Registration): AuthMode {
  const mode = AUTH_MODES.find(known => known === registration.auth_mode)
  return mode ?? (registration.gateway_endpoint.startsWith('http://') ? 'plaintext' : 'mtls')
}
