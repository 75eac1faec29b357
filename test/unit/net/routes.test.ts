import { describe, expect, test } from 'bun:test'
import { ROUTES, routesWith } from '../../../src/auth/routes.ts'
import { createAuthPages } from '../../../src/net/auth-pages.ts'
import type { RequestHead } from '../../../src/net/http-answer.ts'
import { rawAnswer } from '../../../src/net/http-answer.ts'
import { createRoutes, pathOf, refuseWebSocket } from '../../../src/net/routes.ts'

const pages = createAuthPages({
  ...{ oidc: { issuer: 'i', audience: 'a' }, edgeLogin: true, trustedProxies: [], version: '1' },
  bindAddress: () => 'b',
})
const routes = createRoutes(routesWith('/tunnel'), pages)
const head = (
  method: string,
  path: string,
  headers: RequestHead['headers'] = {},
  version: RequestHead['version'] = '1.1',
): RequestHead => ({
  ...{ method, path, headers, version },
  peerAddress: '127.0.0.1',
})

/** Statuses whose answers have a page; that of /healthz is empty. */
const hasPage = new Set([200, 400])

/** Written by hand from spec/gateway.md §9: method, target, status, `Allow`. */
const EXPECTED: Array<[string, string, number, string | undefined]> = [
  ['GET', '/', 404, undefined],
  ['GET', '/healthz', 200, undefined],
  ['GET', '/readyz', 404, undefined],
  ['GET', '/metrics', 404, undefined],
  ['GET', '/auth', 404, undefined],
  ['GET', '/auth/connect/', 404, undefined],
  ['GET', '//auth/connect', 404, undefined],
  ['GET', '/Auth/connect', 404, undefined],
  ['GET', '/auth/%63onnect', 404, undefined],
  ['GET', '/auth/../auth/oidc-config', 404, undefined],
  ['GET', '/openshell.v1.OpenShell/Health', 404, undefined],
  ['GET', '/auth/oidc-config', 200, undefined],
  ['GET', '/auth/oidc-config?x=1', 200, undefined],
  ['GET', 'http://gw.test/auth/oidc-config', 200, undefined],
  ['HEAD', '/auth/oidc-config', 200, undefined],
  ['POST', '/auth/oidc-config', 405, 'GET,HEAD'],
  ['FOO', '/auth/connect', 405, 'GET,HEAD'],
  ['PATCH', '/_ws_tunnel', 405, 'GET,HEAD'],
  ['GET', '/_ws_tunnel', 400, undefined],
  ['GET', '/_ws_tunnel/', 404, undefined],
  ['GET', '/connect/ssh', 405, undefined],
  ['HEAD', '/connect/ssh', 405, undefined],
  ['GET', '/tunnel', 405, undefined],
  ['GET', '/connect/ssh/', 404, undefined],
  ['GET', '/constructor', 404, undefined],
  ['OPTIONS', '*', 404, undefined],
]

describe('routes', () => {
  test.each(EXPECTED)('%s %s is %d', (method, path, status, allow) => {
    const answer = routes.answerRoute(head(method, path))
    expect(answer.status).toBe(status)
    expect(answer.headers['allow']).toBe(allow as string)
    if (status === 404 || status === 405) expect(answer).toMatchObject({ body: '', headers: { 'content-length': '0' } })
    expect(Object.hasOwn(answer.headers, 'content-type')).toBe(hasPage.has(status) && path !== '/healthz')
  })

  test('HEAD has the headers of GET and no body', () => {
    const [get, headAnswer] = [
      routes.answerRoute(head('GET', '/auth/oidc-config')),
      routes.answerRoute(head('HEAD', '/auth/oidc-config')),
    ]
    expect(headAnswer).toEqual({ ...get, body: '' })
  })

  test('the SSH tunnel is CONNECT of the configured path or the usual one, W-13', () => {
    expect(routes.isSshTunnel(head('CONNECT', '/connect/ssh'))).toBe(true)
    expect(routes.isSshTunnel(head('CONNECT', '/tunnel'))).toBe(true)
    expect(routes.isSshTunnel(head('CONNECT', 'host:1'))).toBe(false)
    expect(routes.isSshTunnel(head('GET', '/connect/ssh'))).toBe(false)
    expect(routesWith('/connect/ssh')).toBe(ROUTES)
  })

  test('paths are cut from targets without decoding', () => {
    expect(['/a?b', '/a#b', 'http://h/a?b', 'http://h', '*', 'h:1', '//h/a'].map(pathOf)).toEqual([
      '/a',
      '/a',
      '/a',
      '/',
      '*',
      'h:1',
      '//h/a',
    ])
  })
})

describe('WebSocket upgrades', () => {
  const GOOD = {
    connection: 'keep-alive, Upgrade',
    upgrade: 'WebSocket',
    'sec-websocket-key': 'k',
    'sec-websocket-version': '13',
    host: 'gw.test:8080',
  }
  test("a right one is the hook's", () => {
    expect(refuseWebSocket(head('GET', '/_ws_tunnel', GOOD))).toBeNull()
    expect(refuseWebSocket(head('GET', '/_ws_tunnel', { ...GOOD, origin: 'https://GW.test:8080' }))).toBeNull()
  })
  test.each([
    ['HEAD', {}, '1.1', 405],
    ['GET', { connection: 'close' }, '1.1', 400],
    ['GET', { upgrade: 'h2c' }, '1.1', 400],
    ['GET', { 'sec-websocket-key': undefined }, '1.1', 400],
    ['GET', { 'sec-websocket-version': '12' }, '1.1', 400],
    ['GET', {}, '1.0', 426],
    ['GET', {}, '2.0', 405],
    ['GET', { origin: 'https://evil.test' }, '1.1', 403],
    ['GET', { origin: 'null' }, '1.1', 403],
  ] as const)('%s with %p over HTTP/%s is %d', (method, changes, version, status) => {
    expect(refuseWebSocket(head(method, '/_ws_tunnel', { ...GOOD, ...changes }, version))?.status).toBe(status)
  })
})

test('raw answers carry their headers and say whether the connection ends', () => {
  const answer = { status: 405, headers: { allow: 'GET,HEAD', 'content-length': '0' }, body: '' }
  expect(rawAnswer(answer)).toBe(
    'HTTP/1.1 405 Method Not Allowed\r\nallow: GET,HEAD\r\ncontent-length: 0\r\nconnection: close\r\n\r\n',
  )
  expect(rawAnswer(answer, '1.1', false)).toEndWith('content-length: 0\r\n\r\n')
})
