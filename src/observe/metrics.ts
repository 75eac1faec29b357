import { readdirSync } from 'node:fs'
import { LIMITS } from '../limits.ts'

/** Which path label a target gets; the only values the label has (spec/gateway.md §12). */
export type HttpPathLabel = '/connect/ssh' | '/_ws_tunnel' | '/auth' | 'unknown'

/** Everything the gateway counts. Calls cost a microsecond, never throw and never allocate a series for text a client made up (O-04). */
export interface Metrics {
  /** One finished RPC with its final status, streams included. Unknown RPC names count as `unknown`. */
  observeGrpc(rpcName: string, code: number, seconds: number): void
  /** One answered HTTP request; `target` may have a query. */
  observeHttp(target: string, status: number, seconds: number): void
  /** Reasons are a closed set in code. */
  countAuthFailure(reason: string): void
  /** A connection ended by a cap, the frame meter or a failed handshake. */
  countRefusedConnection(reason: string): void
  countKeyRefreshFailure(): void
  /** Anything thrown that should not have been; 0 in every test run (O-07). */
  countBug(): void
  setDriverUp(driver: 'compute' | 'credentials', isUp: boolean): void
  /** Values read when somebody looks; a source that throws is left out. */
  watch(sources: Partial<MetricSources>): void
  /** The Prometheus text format, version 0.0.4. */
  render(): Promise<string>
  close(): void
}

/** Where the gauges get their values from. */
export interface MetricSources {
  readonly sessions: () => number
  readonly pendingRelays: () => number
  readonly tunnels: () => { readonly ssh: number; readonly ws: number }
  readonly connections: () => number
  readonly droppedLogLines: () => number
  /** Seconds since the issuer's keys were fetched; null = never. */
  readonly keyAgeSeconds: () => number | null
  /** End of the TLS certificate's validity, milliseconds since the epoch; null = plaintext. */
  readonly certificateEndMs: () => number | null
}

export interface MetricsOptions {
  /** False = nothing is recorded and nothing loaded (no metrics port). */
  readonly isEnabled: boolean
  /** Short names of every RPC of the contract: the values the `method` label may have. */
  readonly rpcNames: Iterable<string>
}

/** Metrics that nobody reads. */
export const NO_METRICS: Metrics = {
  observeGrpc() {},
  observeHttp() {},
  countAuthFailure() {},
  countRefusedConnection() {},
  countKeyRefreshFailure() {},
  countBug() {},
  setDriverUp() {},
  watch() {},
  render: () => Promise.resolve(''),
  close() {},
}

/** Dashboards of the reference keep their series; what is ours alone has a prefix of its own. */
const fullName = (name: string): string =>
  `openshell_${/^(grpc|http)_request/.test(name) ? 'server' : 'gateway'}_${name}`

/** Loads the metrics library only when a port serves it: it would be the largest part of the start otherwise. */
export async function createMetrics(options: MetricsOptions): Promise<Metrics> {
  if (!options.isEnabled) return NO_METRICS
  const { Counter, Gauge, Histogram, Registry } = await import('prom-client')
  const registers = [new Registry()]
  const registry = registers[0] as InstanceType<typeof Registry>
  const counter = <L extends string = never>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter<L>({ name: fullName(name), help, labelNames, registers })
  const histogram = <L extends string>(name: string, help: string, labelNames: readonly L[], buckets: number[]) =>
    new Histogram<L>({ name: fullName(name), help, labelNames, buckets, registers })
  const gauge = (name: string, help: string, read: () => number | null) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        const value = quietly(read)
        if (value === null) this.remove()
        else this.set(value)
      },
    })

  /** A counter that somebody else keeps. */
  const total = (name: string, help: string, read: () => number) =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset()
        this.inc(read())
      },
    })

  const grpcTotal = counter('grpc_requests_total', 'Finished RPCs by final status code.', ['method', 'code'])
  const grpcSeconds = histogram(
    'grpc_request_duration_seconds',
    'Duration of RPCs, streams included.',
    ['method', 'code'],
    GRPC_BUCKETS,
  )
  const httpTotal = counter('http_requests_total', 'Answered HTTP requests of the main port.', ['path', 'status'])
  const httpSeconds = histogram(
    'http_request_duration_seconds',
    'Time to the answer of HTTP requests.',
    ['path', 'status'],
    HTTP_BUCKETS,
  )
  const authFailures = counter('auth_failures_total', 'Refused credentials by reason.', ['reason'])
  const refused = counter('connections_refused_total', 'Connections ended by a limit, by reason.', ['reason'])
  const keyFailures = counter('jwks_refresh_failures_total', 'Failed fetches of the signing keys.')
  const bugs = counter('bugs_total', 'Errors that no code expected; must stay 0.')
  const driverUp = new Gauge({
    name: fullName('driver_up'),
    help: '1 while the driver answers.',
    labelNames: ['driver'],
    registers,
  })

  const rpcNames = new Set(options.rpcNames)
  const authReasons = closedSet()
  const refusalReasons = closedSet()
  let sources: Partial<MetricSources> = {}
  addSourceGauges(gauge, () => sources)
  const lag = sampleEventLoop()
  const lagHelp = 'Longest delay of the event loop since the last look.'
  gauge(fullName('event_loop_lag_seconds'), lagHelp, lag.takeSeconds)
  total('process_cpu_seconds_total', 'User and system time used.', () => {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1e6
  })
  total(
    fullName('log_lines_dropped_total'),
    'Log lines that were lost: not read in time, or not writable.',
    () => sources.droppedLogLines?.() ?? 0,
  )
  addProcessGauges(gauge)

  return {
    observeGrpc(rpcName, code, seconds) {
      const labels = { method: rpcNames.has(rpcName) ? rpcName : 'unknown', code: codeLabel(code) }
      grpcTotal.inc(labels)
      grpcSeconds.observe(labels, seconds)
    },
    observeHttp(target, status, seconds) {
      const labels = { path: httpPathLabel(target), status: statusLabel(status) }
      httpTotal.inc(labels)
      httpSeconds.observe(labels, seconds)
    },
    countAuthFailure: reason => authFailures.inc({ reason: authReasons(reason) }),
    countRefusedConnection: reason => refused.inc({ reason: refusalReasons(reason) }),
    countKeyRefreshFailure: () => keyFailures.inc(),
    countBug: () => bugs.inc(),
    setDriverUp: (driver, isUp) => driverUp.set({ driver }, isUp ? 1 : 0),
    watch(added) {
      sources = { ...sources, ...added }
    },
    render: () => registry.metrics(),
    close: lag.stop,
  }
}

/** Unary calls take milliseconds, streams hours. */
const GRPC_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120, 600, 3600]
const HTTP_BUCKETS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10]

/** By prefix of the target, as the reference does (spec/gateway.md §12). */
export function httpPathLabel(target: string): HttpPathLabel {
  if (target.startsWith('/connect/ssh')) return '/connect/ssh'
  if (target.startsWith('/_ws_tunnel')) return '/_ws_tunnel'
  return target.startsWith('/auth/') ? '/auth' : 'unknown'
}

const codeLabel = (code: number): string => (Number.isInteger(code) && code >= 0 && code <= 16 ? String(code) : '2')

const statusLabel = (status: number): string =>
  Number.isInteger(status) && status >= 100 && status <= 599 ? String(status) : '0'

/** Lets through what looks like a word of ours, and few of them; the rest is `other`. */
function closedSet(): (word: string) => string {
  const known = new Set<string>()
  return word => {
    if (known.has(word)) return word
    if (known.size >= LIMITS.metricReasons || !/^[A-Za-z][A-Za-z0-9_-]{0,47}$/.test(word)) return 'other'
    known.add(word)
    return word
  }
}

type AddGauge = (name: string, help: string, read: () => number | null) => unknown

function addSourceGauges(gauge: AddGauge, sources: () => Partial<MetricSources>): void {
  const add = (name: string, help: string, read: (from: Partial<MetricSources>) => number | null | undefined) =>
    gauge(fullName(name), help, () => read(sources()) ?? null)
  add('supervisor_sessions', 'Connected supervisors.', from => from.sessions?.())
  add('pending_relays', 'Relays waiting for their supervisor.', from => from.pendingRelays?.())
  add('ssh_tunnels', 'Open SSH tunnels.', from => from.tunnels?.().ssh)
  add('ws_tunnels', 'Open WebSocket tunnels.', from => from.tunnels?.().ws)
  add('connections', 'Open connections of the main port.', from => from.connections?.())
  add('jwks_age_seconds', 'Time since the signing keys were fetched.', from => from.keyAgeSeconds?.())
  add('tls_certificate_not_after_seconds', 'End of the certificate, seconds since the epoch.', from => {
    const endMs = from.certificateEndMs?.()
    return endMs === null || endMs === undefined ? null : endMs / 1000
  })
}

/** The names every Prometheus dashboard knows. Some sources throw when descriptors run out (M13): those are left out then. */
function addProcessGauges(gauge: AddGauge): void {
  const startSeconds = Math.floor(Date.now() / 1000 - process.uptime())
  gauge('process_start_time_seconds', 'Start of the process, seconds since the epoch.', () => startSeconds)
  gauge('process_resident_memory_bytes', 'Resident memory.', () => process.memoryUsage.rss())
  gauge('process_open_fds', 'Open descriptors.', () => readdirSync('/proc/self/fd').length)
}

/** How late a timer fires tells how long the event loop was blocked. */
function sampleEventLoop(): { takeSeconds(): number; stop(): void } {
  let expectedMs = performance.now() + LIMITS.eventLoopSampleMs
  let worstMs = 0
  const timer = setInterval(() => {
    const now = performance.now()
    worstMs = Math.max(worstMs, now - expectedMs)
    expectedMs = now + LIMITS.eventLoopSampleMs
  }, LIMITS.eventLoopSampleMs)
  timer.unref()
  return {
    takeSeconds() {
      const seconds = worstMs / 1000
      worstMs = 0
      return seconds
    },
    stop: () => clearInterval(timer),
  }
}

function quietly(read: () => number | null): number | null {
  try {
    const value = read()
    return value !== null && Number.isFinite(value) ? value : null
  } catch {
    return null
  }
}
