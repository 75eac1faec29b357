import { afterAll, describe, expect, test } from 'bun:test'
import { createMetrics, httpPathLabel, NO_METRICS } from '../../../src/observe/metrics.ts'

const metrics = await createMetrics({ isEnabled: true, rpcNames: ['Health', 'GetSandbox'] })
afterAll(() => metrics.close())

const value = async (series: string): Promise<number | null> => {
  const line = (await metrics.render()).split('\n').find(text => text.startsWith(`${series} `))
  return line === undefined ? null : Number(line.slice(series.length + 1))
}

describe('metrics (spec/gateway.md §12)', () => {
  test('names and labels of the reference, with final codes', async () => {
    metrics.observeGrpc('GetSandbox', 5, 0.2)
    metrics.observeGrpc('GetSandbox', 5, 0.3)
    metrics.observeHttp('/auth/zzz?x=1', 404, 0.001)
    expect(await value('openshell_server_grpc_requests_total{method="GetSandbox",code="5"}')).toBe(2)
    expect(await value('openshell_server_grpc_request_duration_seconds_count{method="GetSandbox",code="5"}')).toBe(2)
    expect(await value('openshell_server_grpc_request_duration_seconds_sum{method="GetSandbox",code="5"}')).toBeCloseTo(
      0.5,
    )
    expect(await value('openshell_server_http_requests_total{path="/auth",status="404"}')).toBe(1)
    expect(await metrics.render()).toContain('# HELP openshell_server_grpc_requests_total')
  })

  test('O-04: made-up names, codes and reasons do not make series', async () => {
    for (let n = 0; n < 3000; n++) {
      metrics.observeGrpc(`Made${n}"up`, n + 100, 0)
      metrics.observeHttp(`/x${n}`, n * 1000, 0)
      metrics.countAuthFailure(`reason ${n}`)
      metrics.countRefusedConnection(`word-${n}`)
    }
    const series = (await metrics.render()).split('\n').filter(line => line !== '' && !line.startsWith('#'))
    expect(series.length).toBeLessThan(300)
    expect(await value('openshell_server_grpc_requests_total{method="unknown",code="2"}')).toBe(3000)
    expect(await value('openshell_gateway_auth_failures_total{reason="other"}')).toBe(3000)
  })

  test.each([
    ['/connect/ssh', '/connect/ssh'],
    ['/connect/ssh/x', '/connect/ssh'],
    ['/_ws_tunnel2', '/_ws_tunnel'],
    ['/auth/zzz', '/auth'],
    ['/auth', 'unknown'],
    ['/nope?x=1', 'unknown'],
    ['', 'unknown'],
  ] as const)('path label of %p is %s', (target, label) => {
    expect(httpPathLabel(target)).toBe(label)
  })

  test('M13: a source that throws is left out and the rest is rendered', async () => {
    metrics.watch({
      sessions: () => 3,
      tunnels: () => ({ ssh: 2, ws: 1 }),
      droppedLogLines: () => 7,
      keyAgeSeconds: () => null,
      connections: () => {
        throw new Error('no descriptors')
      },
    })
    expect(await value('openshell_gateway_supervisor_sessions')).toBe(3)
    expect(await value('openshell_gateway_ssh_tunnels')).toBe(2)
    expect(await value('openshell_gateway_log_lines_dropped_total')).toBe(7)
    expect(await value('openshell_gateway_jwks_age_seconds')).toBeNull()
    expect(await value('openshell_gateway_connections')).toBeNull()
    expect(await value('process_resident_memory_bytes')).toBeGreaterThan(0)
    expect(await value('openshell_gateway_bugs_total')).toBe(0)
  })

  test('nothing is recorded without a metrics port', async () => {
    expect(await createMetrics({ isEnabled: false, rpcNames: [] })).toBe(NO_METRICS)
    NO_METRICS.observeGrpc('Health', 0, 1)
    expect(await NO_METRICS.render()).toBe('')
  })
})
