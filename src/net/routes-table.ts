/** One HTTP path of the main port. Paths are matched exactly; what is not here is 404 (spec/gateway.md §9). */
export interface RouteRow {
  readonly path: string
  /** Who answers: a page, the SSH tunnel hook or the WebSocket hook. */
  readonly serves: 'connect-page' | 'oidc-config' | 'ssh-tunnel' | 'ws-tunnel'
  readonly methods: readonly string[]
  /** `Allow` of the 405 to other methods; null = the 405 carries none, as the reference answers for the tunnel. */
  readonly allow: string | null
}

const READ = { methods: ['GET', 'HEAD'], allow: 'GET,HEAD' }

/**
 * Health is not here: it is on its side port only (decision 24). `/connect/ssh` stays reachable when
 * `--ssh-connect-path` names another path (W-13).
 */
export const ROUTES: readonly RouteRow[] = [
  { path: '/auth/connect', serves: 'connect-page', ...READ },
  { path: '/auth/oidc-config', serves: 'oidc-config', ...READ },
  { path: '/_ws_tunnel', serves: 'ws-tunnel', ...READ },
  { path: '/connect/ssh', serves: 'ssh-tunnel', methods: ['CONNECT'], allow: null },
]

/** The table with the configured SSH path beside the usual one. */
export function routesWith(sshConnectPath: string): readonly RouteRow[] {
  const tunnel = ROUTES.find(row => row.serves === 'ssh-tunnel')
  if (tunnel === undefined || tunnel.path === sshConnectPath || !sshConnectPath.startsWith('/')) return ROUTES
  return [...ROUTES, { ...tunnel, path: sshConnectPath }]
}
