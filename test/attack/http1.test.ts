import { describe, expect, test } from 'bun:test'
import { LIMITS } from '../../src/limits.ts'
import { createFakeClock } from '../kit/clock.ts'
import { askRaw, openRaw } from '../kit/raw-socket.ts'
import { openSharedPort } from '../kit/shared-port.ts'

const GET = 'GET /nope HTTP/1.1\r\nHost: x\r\n'
const headers = (count: number) => Array.from({ length: count }, (_, n) => `x-${n}: v\r\n`).join('')
const POST = 'POST /nope HTTP/1.1\r\nHost: x\r\n'

/** request, status, whether the connection stays open */
const TABLE: Array<[string, string, number, boolean]> = [
  ['an unknown path', `${GET}\r\n`, 404, true],
  ['no Host', 'GET /nope HTTP/1.1\r\n\r\n', 404, true],
  ['HTTP/1.0', 'GET /nope HTTP/1.0\r\n\r\n', 404, false],
  ['Connection: close', `${GET}Connection: close\r\n\r\n`, 404, false],
  ['an absolute target', 'GET http://x/nope HTTP/1.1\r\nHost: x\r\n\r\n', 404, true],
  [
    'Upgrade: h2c',
    `${GET}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n\r\n`,
    404,
    true,
  ],
  ['100 headers', `GET /nope HTTP/1.1\r\n${headers(100)}\r\n`, 404, true],
  ['a head of 60 000 bytes', `${GET}x: ${'a'.repeat(60_000)}\r\n\r\n`, 404, true],
  ['a body', `${POST}Content-Length: 3\r\n\r\nabc`, 404, true],
  ['a chunked body', `${POST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`, 404, true],
  ['CONNECT with an authority', 'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n', 404, true],
  ['CONNECT of the WebSocket path', 'CONNECT /_ws_tunnel HTTP/1.1\r\nHost: x\r\n\r\n', 405, true],
  ['CONNECT the hook refuses', 'CONNECT /connect/ssh HTTP/1.1\r\nHost: x\r\n\r\n', 401, true],
  ['GET of the tunnel path', 'GET /connect/ssh HTTP/1.1\r\nHost: x\r\n\r\n', 405, true],
  ['101 headers', `GET /nope HTTP/1.1\r\n${headers(101)}\r\n`, 431, false],
  ['200 kB of headers', `${GET}x: ${'a'.repeat(200_000)}\r\n\r\n`, 431, false],
  ['garbage', '\0\x01garbage\r\n\r\n', 400, false],
  ['a TLS hello', '\x16\x03\x01\0\xc8\x01\0\0\xc4\x03\x03\r\n\r\n', 400, false],
  ['HTTP/2.0 in the first line', 'GET /nope HTTP/2.0\r\n\r\n', 400, false],
  ['HTTP/0.9', 'GET /nope\r\n\r\n', 400, false],
  ['a broken HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n', 400, false],
  ['an invented method', 'FOO /nope HTTP/1.1\r\nHost: x\r\n\r\n', 404, false],
  ['a method that is none', 'F(O /nope HTTP/1.1\r\nHost: x\r\n\r\n', 400, false],
  ['a header without colon', 'GET /nope HTTP/1.1\r\nHost x\r\n\r\n', 400, false],
  ['a space before the colon', 'GET /nope HTTP/1.1\r\nHost : x\r\n\r\n', 400, false],
  ['a folded header', `${GET}x: a\r\n b\r\n\r\n`, 400, false],
  ['a NUL in a value', `${GET}x: a\0b\r\n\r\n`, 400, false],
  ['bare LF', 'GET /nope HTTP/1.1\nHost: x\n\n', 400, false],
  ['two Hosts', `${GET}Host: y\r\n\r\n`, 400, false],
  ['two lengths', `${POST}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd`, 400, false],
  ['two equal lengths', `${POST}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc`, 400, false],
  ['a list of lengths', `${POST}Content-Length: 3, 3\r\n\r\nabc`, 400, false],
  ['a negative length', `${POST}Content-Length: -1\r\n\r\n`, 400, false],
  ['a length with a sign', `${POST}Content-Length: +3\r\n\r\nabc`, 400, false],
  ['a length in hex', `${POST}Content-Length: 0x3\r\n\r\nabc`, 400, false],
  ['length and chunked', `${POST}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400, false],
  ['chunked and length', `${POST}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n`, 400, false],
  ['an unknown coding', `${POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, 400, false],
  ['chunked twice', `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400, false],
  ['chunked not last', `${POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`, 400, false],
  ['chunked in HTTP/1.0', 'POST /nope HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400, false],
  ['a vertical tab before chunked', `${POST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`, 400, false],
]

describe('HTTP/1.1 (F-11)', () => {
  test('each request of the table gets its status and nothing ambiguous is kept open', async () => {
    await using port = await openSharedPort()
    const wrong: string[] = []
    for (const [name, request, status, stays] of TABLE) {
      const { text, isOpen } = await askRaw(port.port, request)
      const got = Number(text.split(' ')[1])
      if (got !== status || isOpen !== stays) wrong.push(`${name}: ${got} ${isOpen ? 'open' : 'closed'}`)
    }
    expect(wrong).toEqual([])
  })

  test('a smuggled request behind an ambiguous one is never answered', async () => {
    await using port = await openSharedPort()
    for (const head of [
      'Content-Length: 4\r\nTransfer-Encoding: chunked',
      'Transfer-Encoding: xchunked',
      'Content-Length: 0\r\nContent-Length: 44',
    ]) {
      const { text } = await askRaw(
        port.port,
        `${POST}${head}\r\n\r\n0\r\n\r\nGET /auth/oidc-config HTTP/1.1\r\nHost: x\r\n\r\n`,
      )
      expect(text).not.toContain('200 OK')
    }
  })

  test('bad chunk sizes end the connection', async () => {
    await using port = await openSharedPort()
    for (const chunk of ['-1\r\n', 'g\r\n', '3;\0\r\nabc\r\n', 'ffffffffffffffffff\r\n']) {
      const raw = await openRaw(port.port)
      raw.send(`${POST}Transfer-Encoding: chunked\r\n\r\n${chunk}`)
      await raw.closed()
      raw.destroy()
    }
  })

  test('pipelined requests are answered in order', async () => {
    await using port = await openSharedPort()
    const { text } = await askRaw(port.port, `${GET}\r\nGET /connect/ssh HTTP/1.1\r\nHost: x\r\n\r\n${GET}\r\n`, 3)
    expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(match => match[1])).toEqual(['404', '405', '404'])
  })

  test('a request one octet at a time is served', async () => {
    await using port = await openSharedPort()
    const raw = await openRaw(port.port)
    for (const octet of `${GET}\r\n`) {
      raw.send(octet)
      await new Promise(resolve => setImmediate(resolve))
    }
    expect((await raw.until(received => received.includes('\r\n\r\n'))).toString()).toStartWith('HTTP/1.1 404 ')
    raw.destroy()
  })

  test('the connection goes on behind a refused CONNECT, early octets included', async () => {
    await using port = await openSharedPort()
    const { text } = await askRaw(port.port, `CONNECT /connect/ssh HTTP/1.1\r\nHost: x\r\n\r\n${GET}\r\n`, 2)
    expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(match => match[1])).toEqual(['401', '404'])
  })

  test('a connection whose CONNECTs are refused again and again is closed', async () => {
    await using port = await openSharedPort()
    const raw = await openRaw(port.port)
    raw.send('CONNECT /connect/ssh HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(50))
    const text = (await raw.closed()).toString()
    expect(text.match(/HTTP\/1\.1 401/g)).toHaveLength(LIMITS.httpRefusedConnects + 1)
    raw.destroy()
  })

  test('an HTTP/1.0 answer says HTTP/1.0', async () => {
    await using port = await openSharedPort()
    expect((await askRaw(port.port, 'GET /nope HTTP/1.0\r\n\r\n')).text).toStartWith('HTTP/1.0 404 ')
  })
})

describe('slow peers (F-09, F-11)', () => {
  const WAITING: Array<[string, string]> = [
    ['nothing', ''],
    ['half a head', 'GET / HTTP/1.1\r\nHost: x\r\n'],
    ['half a preface', 'PRI * HTTP/2.0\r\n'],
    ['a preface and nothing behind it', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['a body that does not come', `${POST}Content-Length: 5\r\n\r\nab`],
  ]
  test.each(WAITING)('%s: closed after 10 s, not before', async (_, data) => {
    const clock = createFakeClock()
    await using port = await openSharedPort({ clock })
    const raw = await openRaw(port.port)
    raw.send(data)
    await until(() => clock.pending > 0)
    await Bun.sleep(20)
    clock.advance(LIMITS.firstRequestMs - 1)
    await Bun.sleep(5)
    expect(raw.isOpen()).toBe(true)
    clock.advance(1)
    await raw.closed()
    raw.destroy()
  })

  test('a kept connection is closed after 60 s without request, and a further request has 10 s', async () => {
    const clock = createFakeClock()
    await using port = await openSharedPort({ clock })
    const idle = await openRaw(port.port)
    idle.send(`${GET}\r\n`)
    await idle.until(received => received.includes('\r\n\r\n'))
    await Bun.sleep(10)
    clock.advance(LIMITS.httpIdleMs - 1)
    expect(idle.isOpen()).toBe(true)
    idle.send('GET /')
    await Bun.sleep(20)
    clock.advance(LIMITS.httpRequestMs - 1)
    await Bun.sleep(5)
    expect(idle.isOpen()).toBe(true)
    clock.advance(1)
    await idle.closed()
    idle.destroy()
  })
})

describe('connection caps (F-09, F-14)', () => {
  test('silent connections never keep a good client out: the oldest makes room', async () => {
    await using port = await openSharedPort({ maxConnectionsPerAddress: 20 })
    const silent = await Promise.all(Array.from({ length: 60 }, () => openRaw(port.port)))
    expect((await askRaw(port.port, `${GET}\r\n`)).text).toStartWith('HTTP/1.1 404 ')
    expect(port.listener.connections()).toBeLessThanOrEqual(20)
    for (const raw of silent) raw.destroy()
  })

  test('with every place taken by served clients the newcomer is refused, and gets in once one leaves', async () => {
    await using port = await openSharedPort({ maxConnections: 3 })
    const served = await Promise.all(Array.from({ length: 3 }, () => openRaw(port.port)))
    for (const raw of served) {
      raw.send(`${GET}\r\n`)
      await raw.until(received => received.includes('\r\n\r\n'))
    }
    const surplus = await openRaw(port.port)
    await surplus.closed()
    expect(port.refused).toEqual(['connection-cap'])
    served[0]?.destroy()
    await until(() => port.listener.connections() === 2)
    expect((await askRaw(port.port, `${GET}\r\n`)).text).toStartWith('HTTP/1.1 404 ')
    for (const raw of served) raw.destroy()
  })
})

async function until(isTrue: () => boolean): Promise<void> {
  for (let tries = 0; !isTrue(); tries++) {
    if (tries > 500) throw new Error('condition never held')
    await Bun.sleep(2)
  }
}
