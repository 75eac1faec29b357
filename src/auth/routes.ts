/** What answers on a route of the main port. */
export type RouteService = 'connect-page' | 'oidc-config' | 'ssh-tunnel' | 'ws-tunnel' | 'alive'

/**
 * Who may use a route, beyond what the transport asks for (spec/auth.md §1: routes are never subject to OIDC):
 * - `anyone`;
 * - `session-token`: the holder of an SSH session token, checked by the route (spec/gateway.md §10);
 * - `nested`: anyone, since each request inside the tunnel is asked for its own credential.
 */
export type RouteAccess = 'anyone' | 'session-token' | 'nested'

/** Everything that is decided about an HTTP request of the main port before anything answers it. */
export interface RouteRow {
  /** Exact and case-sensitive, without query string, never decoded. */
  readonly path: string
  readonly serves: RouteService
  readonly access: RouteAccess
  readonly methods: readonly string[]
  /** `Allow` of the 405 to another method; null = it carries none, as the reference answers for the tunnel. */
  readonly allow: string | null
}

const READ = { access: 'anyone', methods: ['GET', 'HEAD'], allow: 'GET,HEAD' } as const

/**
 * TABLE who may use which HTTP route of the main port; what is not here is 404 (spec/auth.md §7, spec/gateway.md §9).
 * Readiness and metrics are on their side ports only (decision 24); that the process lives may be asked here too,
 * since existing clients ask here when Health fails.
 */
export const ROUTES: readonly RouteRow[] = [
  { ...READ, path: '/auth/connect', serves: 'connect-page' },
  { ...READ, path: '/auth/oidc-config', serves: 'oidc-config' },
  { ...READ, path: '/healthz', serves: 'alive' },
  { ...READ, path: '/_ws_tunnel', serves: 'ws-tunnel', access: 'nested' },
  { path: '/connect/ssh', serves: 'ssh-tunnel', access: 'session-token', methods: ['CONNECT'], allow: null },
]

/** The table with the configured SSH path beside the usual one (W-13). */
export function routesWith(sshConnectPath: string): readonly RouteRow[] {
  const tunnel = ROUTES.find(row => row.serves === 'ssh-tunnel')
  if (tunnel === undefined || tunnel.path === sshConnectPath || !sshConnectPath.startsWith('/')) return ROUTES
  return [...ROUTES, { ...tunnel, path: sshConnectPath }]
}
