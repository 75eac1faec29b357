import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { connect, type IncomingHttpHeaders } from 'node:http2'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { ANONYMOUS } from '../../../src/auth/principal.ts'
import { GatewayError } from '../../../src/base/errors.ts'
import { LIMITS } from '../../../src/limits.ts'
import type { CallContext } from '../../../src/rpc/context.ts'
import type { Handlers } from '../../../src/rpc/handlers.ts'
import { createPipeline } from '../../../src/rpc/pipeline.ts'
import { createRpcServer, type RpcServer } from '../../../src/rpc/server.ts'
import { methodsOf } from '../../../src/wire/codec.ts'
import { createCapturedLog } from '../../kit/captured-log.ts'
import { createFakeClock, until } from '../../kit/clock.ts'
import { type BareClient, callHead, openBare } from '../../kit/raw-call.ts'
import { frame, framesOf, http2Start, openRaw, type RawSocket } from '../../kit/raw-socket.ts'

const EMPTY = Buffer.alloc(5)
const service = (rpc: string) => `/openshell.v1.OpenShell/${rpc}`

const clock = createFakeClock()
const bugs: unknown[] = []
const finished: [string, number][] = []
/** What GetSandbox and WatchSandbox do in a test. */
let behave: () => Promise<never> = () => Promise.reject(new Error('not told'))
const PAGE = Buffer.alloc(3 << 20)
let page = PAGE
/** What making a page waits for. */
let material = Promise.resolve()
let pages = 0
/** What ConnectSupervisor does. */
let control: (context: CallContext) => Promise<void> = () => behave()
let server: Server
let rpc: RpcServer
let address: string
let client: BareClient

beforeAll(async () => {
  const pipeline = createPipeline({
    authenticator: { authenticate: () => ANONYMOUS },
    clock,
    log: createCapturedLog(),
    audit: () => {},
    observe: (method, code) => void finished.push([method, code]),
    share: { take: () => true },
    refusal: () => null,
  })
  const handlers: Handlers = {
    GetSandbox: () => behave(),
    WatchSandbox: () => behave(),
    async ListSandboxes() {
      pages += 1
      await material
      return page
    },
  }
  rpc = createRpcServer({
    ...{
      methods: methodsOf('openshell.v1.OpenShell'),
      handlers,
      pipeline,
      maxStreams: 100,
      silentStreamsPerAddress: 0,
    },
    relay: () => behave(),
    control: (_stream, context) => control(context),
    answerPlain: () => ({ status: 404, headers: {}, body: '' }),
    onBug: error => void bugs.push(error),
  })
  server = createServer(socket => {
    const peer = { address: '127.0.0.1', port: 1, certificateFingerprint: null, connection: socket }
    rpc.accept(socket, peer, () => {})
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  address = `127.0.0.1:${(server.address() as AddressInfo).port}`
  client = openBare(address)
})
afterAll(() => {
  client.close()
  rpc.destroy()
  server.close()
})
beforeEach(() => {
  bugs.length = finished.length = pages = 0
  page = PAGE
  material = Promise.resolve()
})

describe('C-07, O-06, O-07 a handler with a bug', () => {
  const throwNow = (): never => {
    throw new TypeError('secret detail')
  }

  test.each(['GetSandbox', 'WatchSandbox', 'RelayStream', 'ConnectSupervisor'])(
    '%s is INTERNAL with the call id and nothing else, and counted once',
    async name => {
      for (const bug of [throwNow, () => Promise.reject(new TypeError('secret detail'))]) {
        bugs.length = finished.length = 0
        behave = bug as typeof behave
        const answer = await client.ask(service(name), {}, EMPTY)
        expect(answer.code).toBe(13)
        expect(answer.details).toMatch(/^internal error \(call [0-9a-f]{8}-[0-9a-z]+\)$/)
        expect(bugs).toHaveLength(1)
        expect(finished).toEqual([[name, 13]])
      }
    },
  )

  test('a refusal is no bug', async () => {
    behave = () => Promise.reject(new GatewayError('NOT_FOUND', 'sandbox not found'))
    expect(await client.ask(service('GetSandbox'), {}, EMPTY)).toMatchObject({ code: 5, details: 'sandbox not found' })
    expect(bugs).toEqual([])
  })

  test('one that never settles ends at the deadline of its row', async () => {
    const { promise: started, resolve } = Promise.withResolvers<void>()
    behave = () => {
      resolve()
      return new Promise(() => {})
    }
    const answer = client.ask(service('GetSandbox'), {}, EMPTY)
    await started
    clock.advance(29_000)
    expect(finished).toEqual([])
    clock.advance(1_100)
    expect(await answer).toMatchObject({ code: 4, details: 'deadline exceeded' })
  })
})

describe('R-01 large answers that nobody reads', () => {
  const LISTS = 20
  /** So many fit into half of the budget, with room for the next one as large as a page can be. */
  const FITTING = 10
  const MESSAGE_BYTES = 5 + PAGE.length

  /** A client with so many lists under way that takes `windowBytes` of each; the status codes it was told. */
  function list(windowBytes: number) {
    const session = connect(`http://${address}`, { settings: { initialWindowSize: windowBytes } })
    session.on('error', () => {})
    session.setLocalWindowSize(2 * LISTS * MESSAGE_BYTES)
    const codes: string[] = []
    let closed = 0
    for (let i = 0; i < LISTS; i++) {
      const path = service('ListSandboxes')
      const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc' })
      const take = (headers: IncomingHttpHeaders) =>
        headers['grpc-status'] && codes.push(String(headers['grpc-status']))
      stream.on('response', take).on('trailers', take).resume()
      stream.on('error', () => {})
      stream.on('close', () => {
        closed += 1
      })
      stream.end(EMPTY)
    }
    return { session, codes, closed: () => closed }
  }

  test('are all made when they fit, however large they might have been', async () => {
    page = PAGE.subarray(0, 1 << 20)
    const here = Promise.withResolvers<void>()
    material = here.promise
    const stuck = list(0)
    await until(() => pages === Math.floor(LIMITS.unreadBytes / 2 / LIMITS.pageBytes))
    here.resolve()
    await until(() => pages === LISTS)
    stuck.session.destroy()
    await until(() => rpc.connections === 1)
  })

  test('are made only as far as they fit, and leave room for a client that reads', async () => {
    const stuck = list(0)
    await until(() => pages === FITTING)
    const reading = list(MESSAGE_BYTES)
    await until(() => reading.codes.length === LISTS)
    expect(reading.codes).toEqual(Array(LISTS).fill('0'))
    expect(pages).toBe(FITTING + LISTS)

    // Those that found no room are told so, and are not made.
    clock.advance(LIMITS.unreadWaitMs)
    await until(() => stuck.codes.length === LISTS - FITTING)
    expect(stuck.codes).toEqual(Array(LISTS - FITTING).fill('8'))
    expect(pages).toBe(FITTING + LISTS)

    // In steps, for pings to be answered.
    for (let ms = 0; ms < LIMITS.unreadMs; ms += 1000) {
      clock.advance(1000)
      await client.ask(service('Health'), {}, EMPTY)
    }
    await until(() => stuck.closed() === LISTS)
    const next = list(0)
    await until(() => pages === 2 * FITTING + LISTS)
    for (const { session } of [stuck, reading, next]) session.destroy()
  })
})

describe('F-15 a peer that is gone without a word', () => {
  const pings = (raw: RawSocket) =>
    framesOf(raw.received()).filter(({ type, flags }) => type === 6 && flags === 0).length
  const connect = async () => {
    const raw = await openRaw((server.address() as AddressInfo).port)
    raw.send(http2Start())
    await raw.until(received => received.length > 0)
    return raw
  }

  test('is pinged after 30 s, and its connection and its supervisor session are over 50 s after it was last heard', async () => {
    const begun = Promise.withResolvers<void>()
    const ended = Promise.withResolvers<void>()
    control = ({ signal }) => {
      signal.addEventListener('abort', () => ended.resolve())
      begun.resolve()
      return ended.promise
    }
    const [gone, alive] = [await connect(), await connect()]
    gone.send(frame(1, 4, 1, callHead(service('ConnectSupervisor'))))
    await begun.promise
    const before = rpc.connections
    clock.advance(LIMITS.keepaliveMs)
    await Promise.all([gone, alive].map(raw => raw.until(() => pings(raw) === 1)))
    alive.send(frame(6, 1, 0, Buffer.alloc(8)))
    // Answered on the connection behind the answer, which is therefore known.
    alive.send(frame(6, 0, 0, Buffer.alloc(8, 1)))
    await alive.until(() => framesOf(alive.received()).some(({ type, flags }) => type === 6 && flags === 1))
    expect(gone.isOpen()).toBe(true)
    clock.advance(LIMITS.keepaliveTimeoutMs)
    await gone.closed()
    await ended.promise
    expect(rpc.connections).toBe(before - 1)
    expect(alive.isOpen()).toBe(true)
    alive.destroy()
  })
})
