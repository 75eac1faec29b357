import { systemClock as clock } from '../base/clock.ts'
import type { Config } from '../config/config.ts'
import { readLevelFile } from '../config/log-level-file.ts'
import type { HttpAnswer } from '../net/http-answer.ts'
import { printAddress } from '../net/listener.ts'
import { createSidePort, healthRoutes, metricsRoutes } from '../net/probes.ts'
import type { Routes } from '../net/routes.ts'
import type { RootLogger } from '../observe/log.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { PlainRequest } from '../rpc/server.ts'
import type { Owned } from './owned.ts'

/** Shows from now on what the level file says, or the configured level where it says nothing (C-03). */
export function applyLogLevel(config: Config, log: RootLogger): void {
  if (config.logLevelFile === null) return
  const { level, problem } = readLevelFile(config.logLevelFile)
  if (problem !== null) return log.warn(`log level file ${problem}`, { file: config.logLevelFile })
  log.setLevel(level ?? config.logLevel)
}

/** The first lines of a start, as operators match them; an open API is said loudly. */
export function announce(
  config: Config,
  options: { readonly version: string; readonly warnings: readonly string[] },
  log: RootLogger,
): void {
  if (config.tls === null) log.info('TLS disabled — listening on plaintext HTTP')
  else if (config.tls.clientCertificateOptional)
    log.info('Gateway auth disabled — accepting connections without client certificates')
  log.info('Starting OpenShell server', {
    bind: printAddress(config.bindAddress, config.port),
    version: options.version,
  })
  for (const warning of options.warnings) log.warn('configuration', { warning })
}

/** Binds the health and metrics ports that are on. */
export async function openSidePorts(
  config: Config,
  version: string,
  readiness: Parameters<typeof healthRoutes>[1],
  metrics: Metrics,
  owned: Owned,
  log: RootLogger,
): Promise<void> {
  const open = async (
    what: 'health port' | 'metrics port',
    host: string,
    port: number,
    routes: ReturnType<typeof healthRoutes>,
  ) => {
    const name = what === 'health port' ? 'Health' : 'Metrics'
    if (port === 0) return log.info(`${name} server disabled`)
    const side = owned.add(what, createSidePort({ host, port, what, routes, log }), it => it.close())
    const bound = await side.listen()
    log.info(`${name} server listening`, { address: printAddress(host, bound.port) })
  }
  await open('health port', config.healthBindAddress, config.healthPort, healthRoutes(version, readiness))
  await open('metrics port', config.metricsBindAddress, config.metricsPort, metricsRoutes(metrics.render))
}

/** Called once for each answered HTTP request. */
export type ObserveHttp = (target: string, status: number, seconds: number) => void

/** One metric and one line for each answered request of the main port. */
export const observeHttp =
  (metrics: Metrics, log: RootLogger): ObserveHttp =>
  (target, status, seconds) => {
    metrics.observeHttp(target, status, seconds)
    const path = target.split('?', 1)[0]!
    log.log(QUIET_PATHS.has(path) ? 'debug' : 'info', 'response', {
      path,
      status,
      latency_ms: Math.round(seconds * 1000),
    })
  }

const QUIET_PATHS = new Set(['/health', '/healthz', '/readyz'])

/** The answer to a plain request over HTTP/2, accounted for. */
export function answerObserved(request: PlainRequest, routes: Routes, observe: ObserveHttp): HttpAnswer {
  const begunMs = clock.monotonicMs()
  const answer = routes.answerRoute({ ...request, version: '2.0', peerAddress: request.peer.address })
  observe(request.path, answer.status, (clock.monotonicMs() - begunMs) / 1000)
  return answer
}
