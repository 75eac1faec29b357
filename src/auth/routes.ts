/** The port a route is served on (decision 24: probes and metrics never on the main one). */
export type RouteListener = 'main' | 'health' | 'metrics'

/**
 * Who may use a route, beyond what the transport asks for (spec/auth.md §1: routes are never subject to OIDC):
 * - `anyone`;
 * - `session-token`: the holder of an SSH session token, checked by the route (spec/gateway.md §10);
 * - `nested`: anyone, since each request inside the tunnel is asked for its own credential.
 */
export type RouteAccess = 'anyone' | 'session-token' | 'nested'

/** Everything that is decided about an HTTP request before a handler sees it. */
export interface RouteRow {
  /** Exact and case-sensitive, without query string, never decoded. */
  readonly path: string
  readonly listener: RouteListener
  readonly access: RouteAccess
  readonly methods: readonly string[]
  /** `Allow` header of the 405 for another method; null = none is sent. */
  readonly allow: string | null
  /** HTTP versions the route exists on; over another one it is a 405. */
  readonly versions: readonly ('1.1' | '2')[]
  /** Label in logs and metrics. */
  readonly label: string
}

const READ = { access: 'anyone', methods: ['GET', 'HEAD'], allow: 'GET,HEAD', versions: ['1.1', '2'] } as const

/** TABLE who may use which HTTP route (spec/auth.md §7, spec/gateway.md §9 to §12). */
export const ROUTES: readonly RouteRow[] = [
  { ...READ, path: '/auth/connect', listener: 'main', label: '/auth' },
  { ...READ, path: '/auth/oidc-config', listener: 'main', label: '/auth' },
  {
    path: '/connect/ssh',
    listener: 'main',
    access: 'session-token',
    methods: ['CONNECT'],
    allow: null,
    versions: ['1.1'],
    label: '/connect/ssh',
  },
  {
    path: '/_ws_tunnel',
    listener: 'main',
    access: 'nested',
    methods: ['GET'],
    allow: 'GET,HEAD',
    versions: ['1.1'],
    label: '/_ws_tunnel',
  },
  { ...READ, path: '/healthz', listener: 'health', label: '/healthz' },
  { ...READ, path: '/readyz', listener: 'health', label: '/readyz' },
  { ...READ, path: '/health', listener: 'health', label: '/health' },
  { ...READ, path: '/metrics', listener: 'metrics', label: '/metrics' },
]

const BY_PATH: ReadonlyMap<string, RouteRow> = new Map(ROUTES.map(row => [`${row.listener} ${row.path}`, row]))

/** The route behind a path on a listener, or undefined: 404. */
export const routeFor = (listener: RouteListener, path: string): RouteRow | undefined =>
  BY_PATH.get(`${listener} ${path}`)
