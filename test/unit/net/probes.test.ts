import { describe, expect, test } from 'bun:test'
import { connect } from 'node:http2'
import { LIMITS } from '../../../src/limits.ts'
import { answerSide, createSidePort, healthRoutes, metricsRoutes, type SideRoutes } from '../../../src/net/probes.ts'
import type { Readiness } from '../../../src/observe/readiness.ts'
import { askRaw, frame, http2Start, openRaw } from '../../kit/raw-socket.ts'
import { SILENT } from '../../kit/shared-port.ts'

const state = (ready: boolean): Readiness => ({
  ready,
  checks: { database: { status: ready ? 'healthy' : 'unhealthy' } },
})
const health = healthRoutes('1.2.3', async () => state(true))

describe('side ports (decision 24, O-05)', () => {
  test.each([
    ['GET', '/health', 200, undefined],
    ['GET', '/healthz', 200, undefined],
    ['HEAD', '/healthz', 200, undefined],
    ['GET', '/readyz?verbose', 200, undefined],
    ['GET', '/metrics', 404, undefined],
    ['GET', '/healthz/', 404, undefined],
    ['GET', '/Healthz', 404, undefined],
    ['GET', '/toString', 404, undefined],
    ['POST', '/nope', 404, undefined],
    ['POST', '/healthz', 405, 'GET,HEAD'],
    ['OPTIONS', '/readyz', 405, 'GET,HEAD'],
  ] as const)('%s %s is %d', async (method, path, status, allow) => {
    const answer = await answerSide(health, { method, path })
    expect(answer.status).toBe(status)
    expect(answer.headers['allow']).toBe(allow as string)
    if (path !== '/readyz?verbose') expect(answer.body).toBe('')
  })

  test('C-13: /readyz is 503 with each part while something is missing, and keeps its two old keys', async () => {
    const notReady = healthRoutes('1.2.3', async () => state(false))
    const answer = await answerSide(notReady, { method: 'GET', path: '/readyz' })
    expect(answer).toMatchObject({ status: 503, headers: { 'content-type': 'application/json' } })
    expect(JSON.parse(answer.body)).toEqual({
      status: 'unhealthy',
      version: '1.2.3',
      checks: { database: { status: 'unhealthy' } },
    })
  })

  test('a route that throws is a bare 500', async () => {
    const routes = metricsRoutes(() => Promise.reject(new Error('secret')))
    expect(await answerSide(routes, { method: 'GET', path: '/metrics' })).toMatchObject({ status: 500, body: '' })
  })

  test('a side port speaks HTTP/1.0, 1.1 and HTTP/2 with prior knowledge', async () => {
    await using port = await openSide(health)
    expect((await askRaw(port.number, 'GET /healthz HTTP/1.0\r\n\r\n')).text).toStartWith('HTTP/1.0 200 OK')
    const ready = await fetch(`http://127.0.0.1:${port.number}/readyz`)
    expect([ready.status, await ready.json()]).toEqual([
      200,
      { status: 'healthy', version: '1.2.3', checks: { database: { status: 'healthy' } } },
    ])
    const grpc = { method: 'POST', headers: { 'content-type': 'application/grpc' }, body: '' }
    expect((await fetch(`http://127.0.0.1:${port.number}/openshell.v1.OpenShell/Health`, grpc)).status).toBe(404)
    const session = connect(`http://127.0.0.1:${port.number}`)
    const stream = session.request({ ':path': '/healthz' })
    const status = await new Promise(resolve => stream.once('response', headers => resolve(headers[':status'])))
    expect(status).toBe(200)
    session.destroy()
    const scraped = await openSide(metricsRoutes(async () => 'a 1\n'))
    const metrics = await fetch(`http://127.0.0.1:${scraped.number}/metrics`)
    expect([metrics.headers.get('content-type'), await metrics.text()]).toEqual(['text/plain; charset=utf-8', 'a 1\n'])
    await scraped[Symbol.asyncDispose]()
  })

  test('a probe is answered however many connections others keep open, over either HTTP', async () => {
    await using port = await openSide(health)
    const http2 = Buffer.concat([http2Start(), frame(1, 5, 1, Buffer.from([0x82, 0x86, 0x84, 0x41, 0x01, 0x78]))])
    for (const words of [http2, Buffer.from('GET /healthz HTTP/1.1\r\n\r\n')]) {
      const kept = await Promise.all(Array.from({ length: LIMITS.sideConnections + 8 }, () => openRaw(port.number)))
      for (const raw of kept) raw.send(words)
      await Promise.all(kept.map(raw => raw.until(received => received.length > 40)))
      for (let n = 0; n < 3; n++)
        expect((await askRaw(port.number, 'GET /healthz HTTP/1.1\r\n\r\n')).text).toStartWith('HTTP/1.1 200 OK')
      for (const raw of kept) raw.destroy()
    }
  })

  test('C-10: a port in use ends the start with a sentence that names it', async () => {
    await using port = await openSide(health)
    const second = createSidePort({
      host: '127.0.0.1',
      port: port.number,
      what: 'health port',
      routes: health,
      log: SILENT,
    })
    const sentence = `transport error: failed to bind health port 127.0.0.1:${port.number}: Address already in use (os error 98)`
    expect(second.listen()).rejects.toMatchObject({ message: sentence, exitCode: 1 })
  })
})

async function openSide(routes: SideRoutes) {
  const port = createSidePort({ host: '127.0.0.1', port: 0, what: 'health port', routes, log: SILENT })
  const { port: number } = await port.listen()
  return {
    number,
    async [Symbol.asyncDispose]() {
      port.close()
    },
  }
}
