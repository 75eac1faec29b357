import { afterAll, describe, expect, test } from 'bun:test'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, createServer as createTcp } from 'node:net'
import { readProxySettings } from '../../../src/domain/proxy-settings.ts'
import { createProbe, type ProbeOptions, type ProbeRequest } from '../../../src/live/inference-probe.ts'

const seen: { url: string; headers: IncomingMessage['headers']; body: string }[] = []
const upstream = createServer((request: IncomingMessage, response: ServerResponse) => {
  const chunks: Buffer[] = []
  request.on('data', chunk => chunks.push(chunk))
  request.on('end', () => {
    seen.push({ url: request.url!, headers: request.headers, body: Buffer.concat(chunks).toString() })
    const how = request.url!.split('/')[1]!
    if (how === 'drop') return void request.socket.destroy()
    if (how === 'hang') return
    if (how === 'redirect')
      return void response.writeHead(307, { location: `http://${request.headers.host}/200` }).end()
    if (how === 'flood') return void response.writeHead(500).end('x'.repeat(1_000_000))
    response.writeHead(Number(how) || 200).end(how === '204' ? undefined : `says ${how}`)
  })
})
await new Promise<void>(resolve => upstream.listen(0, '127.0.0.1', resolve))
const port = (upstream.address() as AddressInfo).port
const base = `http://127.0.0.1:${port}`
afterAll(() => void upstream.close())

const DIRECT = readProxySettings({})
const ask = (url: string, options: Partial<ProbeOptions> = {}, more: Partial<ProbeRequest> = {}) =>
  createProbe({ allowPrivate: true, proxy: DIRECT, ...options })({
    url,
    headers: [['authorization', 'Bearer schlüssel']],
    body: '{"model":"m"}',
    signal: AbortSignal.timeout(5000),
    ...more,
  })

describe('a probe', () => {
  test('sends one POST with the key as UTF-8 and tells a success by its status', async () => {
    expect(await ask(`${base}/200/v1?a=b`)).toEqual({ kind: 'answer', status: 200, body: '' })
    const { url, headers, body } = seen.pop()!
    expect(url).toBe('/200/v1?a=b')
    expect(body).toBe('{"model":"m"}')
    expect(headers['content-type']).toBe('application/json')
    expect(headers['user-agent']).toBeUndefined()
    expect(Buffer.from(headers.authorization!, 'latin1').toString('utf8')).toBe('Bearer schlüssel')
  })

  test('does not follow redirects (I-12)', async () => {
    seen.length = 0
    expect(await ask(`${base}/redirect`)).toMatchObject({ kind: 'answer', status: 307 })
    expect(seen).toHaveLength(1)
  })

  test('reads no more than 64 KiB of an answer (I-12)', async () => {
    const result = await ask(`${base}/flood`)
    expect(result).toMatchObject({ kind: 'answer', status: 500 })
    expect(result.kind === 'answer' && result.body.length).toBe(65_536)
  })

  test.each([100, 103])('an endpoint that says %i without end is given up at once', async status => {
    const endless = createTcp(socket => {
      const more = () => {
        while (!socket.destroyed && socket.write(`HTTP/1.1 ${status} Wait\r\n\r\n`.repeat(100)));
      }
      socket
        .on('error', () => undefined)
        .on('drain', more)
        .once('data', more)
    })
    await new Promise<void>(resolve => endless.listen(0, '127.0.0.1', resolve))
    const { port: place } = endless.address() as AddressInfo
    expect(await ask(`http://127.0.0.1:${place}/`)).toMatchObject({ kind: 'failed' })
    endless.close()
  })

  test.each([
    ['401', { kind: 'answer', status: 401, body: 'says 401' }],
    ['204', { kind: 'answer', status: 204, body: '' }],
    ['drop', { kind: 'failed', text: `HTTP request failed: error sending request for url (${base}/drop)` }],
  ])('answer %s', async (path, expected) => expect(await ask(`${base}/${path}`)).toEqual(expected as never))

  test.each([
    ['not a url', 'HTTP request failed: builder error'],
    ['ftp://x.test/v1', 'HTTP request failed: builder error for url (ftp://x.test/v1)'],
    ['file:///etc/passwd', 'HTTP request failed: builder error for url (file:///etc/passwd)'],
    ['MOCK://x', 'HTTP request failed: builder error for url (mock://x)'],
  ])('%s is no endpoint', async (url, text) => expect(await ask(url)).toEqual({ kind: 'failed', text }))

  test('a name that does not resolve, a port nobody listens on, a plain port asked for TLS: failure to connect', async () => {
    const closed = createTcp().listen(0, '127.0.0.1')
    const { port: dead } = closed.address() as AddressInfo
    await new Promise(resolve => closed.close(resolve))
    const gone = async () => {
      throw new Error('ENOTFOUND')
    }
    expect(await ask('http://nowhere.invalid/', { resolve: gone })).toMatchObject({ kind: 'connect' })
    expect(await ask(`http://127.0.0.1:${dead}/`)).toMatchObject({ kind: 'connect' })
    expect(await ask(`https://127.0.0.1:${port}/`)).toMatchObject({ kind: 'connect' })
  })

  test('ends when its caller goes away', async () => {
    const caller = new AbortController()
    const asking = ask(`${base}/hang`, {}, { signal: caller.signal })
    while (!seen.some(one => one.url === '/hang')) await Bun.sleep(1)
    caller.abort()
    expect(await asking).toMatchObject({ kind: 'timeout' })
  })

  test('a key with a line break is never sent', async () => {
    seen.length = 0
    expect(await ask(`${base}/200`, {}, { headers: [['authorization', 'Bearer a\r\nx: y']] })).toMatchObject({
      kind: 'failed',
    })
    expect(seen).toHaveLength(0)
  })
})

describe('without permission for private addresses', () => {
  const refused = { allowPrivate: false }

  test.each([
    base,
    `http://localhost:${port}`,
    `http://0x7f.1:${port}`,
    `http://2130706433:${port}`,
    `http://[::ffff:127.0.0.1]:${port}`,
    `http://[::1]:${port}`,
    'http://169.254.169.254/latest',
  ])('%s is refused and nothing is sent (I-12)', async url => {
    seen.length = 0
    expect(await ask(url, refused)).toMatchObject({ kind: 'private' })
    expect(seen).toHaveLength(0)
  })

  test('a name that answers with a private address is refused, among public ones it is not dialled', async () => {
    const dialled: string[] = []
    const dial = (host: string) => {
      dialled.push(host)
      return connect({ host: '127.0.0.1', port })
    }
    expect(
      await ask('http://rebind.test/', { ...refused, resolve: async () => ['10.0.0.1', '::1'], dial }),
    ).toMatchObject({ kind: 'private' })
    expect(dialled).toEqual([])
    // Dialled by number, but the socket ends up elsewhere: the socket decides.
    expect(
      await ask('http://rebind.test/', { ...refused, resolve: async () => ['127.0.0.1', '8.8.8.8'], dial }),
    ).toMatchObject({ kind: 'private' })
    expect(dialled).toEqual(['8.8.8.8'])
  })

  test('a proxy is not asked for what is plainly private', async () => {
    const proxy = readProxySettings({ HTTP_PROXY: base })
    for (const url of ['http://127.0.0.1/', 'http://localhost/', 'http://169.254.169.254/'])
      expect(await ask(url, { ...refused, proxy })).toMatchObject({ kind: 'private' })
  })
})

describe('proxies', () => {
  test('a plain URL goes to the proxy as a whole', async () => {
    seen.length = 0
    await ask('http://llm.test/200/v1', { proxy: readProxySettings({ http_proxy: base }) })
    expect(seen[0]!.url).toBe('http://llm.test/200/v1')
  })

  test.each([
    ['http://a.test/', { ALL_PROXY: 'p:1' }, 'http://p:1/'],
    ['https://a.test/', { HTTP_PROXY: 'http://p:1' }, null],
    ['http://a.test/', { HTTP_PROXY: 'http://p:1', NO_PROXY: 'x, .test' }, null],
    ['http://atest/', { HTTP_PROXY: 'http://p:1', NO_PROXY: '.test' }, 'http://p:1/'],
    ['http://a.test/', { HTTP_PROXY: 'http://p:1', NO_PROXY: '*' }, null],
    ['http://a.test/', { HTTP_PROXY: 'socks5://p:1' }, null],
    ['http://a.test/', { HTTP_PROXY: '' }, null],
  ])('%s with %p: %p', (url, environment, expected) =>
    expect(readProxySettings(environment).proxyFor(new URL(url))?.href ?? null).toBe(expected),
  )
})
