import { lookup } from 'node:dns/promises'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { ProbeResult } from '../domain/inference-verdict.ts'
import { isPublic, parseIp } from '../domain/ip-address.ts'
import type { ProxySettings } from '../domain/proxy-settings.ts'
import { LIMITS } from '../limits.ts'

/**
 * Asks an inference endpoint one question over HTTP/1.1 (decision 29, reliability I-12). The name is resolved once, only
 * public addresses are dialled by number, and the address of the connected socket is what decides: a name that answers
 * differently the next time changes nothing. Redirects are never followed, so nothing is sent anywhere else.
 */
export interface ProbeOptions {
  /** Loopback, private and other special addresses pass (`--inference-allow-private-endpoints`). */
  readonly allowPrivate: boolean
  readonly proxy: ProxySettings
  /** Stands in for the system's resolver. */
  readonly resolve?: (host: string) => Promise<readonly string[]>
  /** Stands in for a TCP connection. */
  readonly dial?: (host: string, port: number) => Socket
}

export interface ProbeRequest {
  /** As text: it is shown in errors as it was written. */
  readonly url: string
  readonly headers: readonly (readonly [name: string, value: string])[]
  readonly body: string
  readonly signal: AbortSignal
}

export type Probe = (request: ProbeRequest) => Promise<ProbeResult>

/** Ends a probe early with its result. */
class Ended extends Error {
  readonly result: ProbeResult

  constructor(result: ProbeResult) {
    super('probe ended')
    this.result = result
  }
}

export function createProbe(options: ProbeOptions): Probe {
  return async request => {
    const target = parseTarget(request.url)
    if (typeof target === 'string') return { kind: 'failed', text: target }
    if (request.headers.some(([, value]) => /[\r\n\0]/.test(value)))
      return { kind: 'failed', text: 'HTTP request failed: builder error' }
    try {
      return await exchange(options, request, target)
    } catch (error) {
      if (error instanceof Ended) return error.result
      if (request.signal.aborted) return { kind: 'timeout', url: request.url }
      return { kind: 'failed', text: `HTTP request failed: error sending request for url (${target.href})` }
    }
  }
}

function parseTarget(text: string): URL | string {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    return 'HTTP request failed: builder error'
  }
  const isHttp = url.protocol === 'http:' || url.protocol === 'https:'
  return isHttp && url.hostname !== '' ? url : `HTTP request failed: builder error for url (${url.href})`
}

const portOf = (url: URL): number => Number(url.port || (url.protocol === 'https:' ? 443 : 80))
const hostOf = (url: URL): string => url.hostname.replace(/^\[|\]$/g, '')

async function exchange(options: ProbeOptions, request: ProbeRequest, target: URL): Promise<ProbeResult> {
  const proxy = options.proxy.proxyFor(target)
  const isSecure = target.protocol === 'https:'
  let socket = proxy ? await openProxy(options, request, target, proxy) : await openChecked(options, request, target)
  try {
    if (proxy && isSecure) await tunnel(socket, request, target)
    if (isSecure) socket = await secure(socket, request, target)
    return await ask(socket, request, target, proxy !== null && !isSecure)
  } finally {
    socket.destroy()
  }
}

/** A connection to an address that was checked before and after it was made. */
async function openChecked(options: ProbeOptions, request: ProbeRequest, target: URL): Promise<Socket> {
  const connectFailed = new Ended({ kind: 'connect', url: request.url })
  const notPublic = new Ended({ kind: 'private', url: request.url })
  const mayUse = (address: string | undefined): boolean => {
    const parsed = parseIp((address ?? '').replace(/%.*$/, ''))
    return options.allowPrivate || (parsed !== null && isPublic(parsed))
  }
  const host = hostOf(target)
  const addresses = isIP(host) ? [host] : await resolveAll(options, request, host, connectFailed)
  const usable = addresses.filter(mayUse)
  if (usable.length === 0) throw addresses.length === 0 ? connectFailed : notPublic
  for (const [index, address] of usable.entries()) {
    try {
      const socket = await open(options, request, address, portOf(target))
      if (mayUse(socket.remoteAddress)) return socket
      socket.destroy()
      throw notPublic
    } catch (error) {
      if (error === notPublic || request.signal.aborted || index === usable.length - 1) throw error
    }
  }
  throw connectFailed
}

async function resolveAll(
  options: ProbeOptions,
  request: ProbeRequest,
  host: string,
  failed: Ended,
): Promise<readonly string[]> {
  const system = async () => (await lookup(host, { all: true })).map(({ address }) => address)
  const timeUp = new Ended({ kind: 'timeout', url: request.url })
  const aborted = new Promise<never>((_, reject) =>
    request.signal.addEventListener('abort', () => reject(timeUp), { once: true }),
  )
  try {
    return await Promise.race([options.resolve ? options.resolve(host) : system(), aborted])
  } catch (error) {
    throw error === timeUp ? timeUp : failed
  }
}

/** The operator's proxy is trusted; a target that is plainly not public is not handed to it. */
function openProxy(options: ProbeOptions, request: ProbeRequest, target: URL, proxy: URL): Promise<Socket> {
  const address = parseIp(hostOf(target))
  const isLocalName = /^(?:.*\.)?localhost\.?$/.test(hostOf(target))
  if (!options.allowPrivate && (isLocalName || (address && !isPublic(address))))
    throw new Ended({ kind: 'private', url: request.url })
  return open(options, request, hostOf(proxy), portOf(proxy))
}

/** A connected socket; rejects with `connect` or `timeout`. The signal destroys it at any later time. */
function open(options: ProbeOptions, request: ProbeRequest, host: string, port: number): Promise<Socket> {
  const { signal, url } = request
  return new Promise((resolve, reject) => {
    const socket = options.dial ? options.dial(host, port) : connectTcp({ host, port })
    const abort = () => socket.destroy()
    const fail = (kind: 'connect' | 'timeout') => {
      socket.destroy()
      reject(new Ended({ kind, url }))
    }
    const timer = setTimeout(fail, LIMITS.inferenceConnectMs, 'timeout')
    socket.setNoDelay(true)
    socket.once('connect', () => {
      clearTimeout(timer)
      resolve(socket)
    })
    socket.on('error', () => fail('connect'))
    socket.once('close', () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', abort)
      fail(signal.aborted ? 'timeout' : 'connect')
    })
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
  })
}

/** Asks a proxy for a way through. */
function tunnel(socket: Socket, request: ProbeRequest, target: URL): Promise<void> {
  const authority = `${target.hostname}:${portOf(target)}`
  return new Promise((resolve, reject) => {
    let head = ''
    const read = (chunk: Buffer) => {
      head += chunk.toString('latin1')
      if (!head.includes('\r\n\r\n') && head.length < LIMITS.inferenceBodyBytes) return
      socket.off('data', read)
      if (/^HTTP\/1\.[01] 2\d\d/.test(head)) resolve()
      else reject(new Ended({ kind: 'connect', url: request.url }))
    }
    socket.on('data', read)
    socket.once('close', () =>
      reject(new Ended({ kind: request.signal.aborted ? 'timeout' : 'connect', url: request.url })),
    )
    socket.write(`CONNECT ${authority} HTTP/1.1\r\nhost: ${authority}\r\n\r\n`)
  })
}

/** TLS over a connected socket, for the name in the URL; a certificate that does not verify is a failure to connect. */
function secure(socket: Socket, request: ProbeRequest, target: URL): Promise<Socket> {
  const host = hostOf(target)
  return new Promise((resolve, reject) => {
    const fail = () => reject(new Ended({ kind: request.signal.aborted ? 'timeout' : 'connect', url: request.url }))
    const tls = connectTls({ socket, ALPNProtocols: ['http/1.1'], ...(isIP(host) ? { host } : { servername: host }) })
    tls.once('secureConnect', () => resolve(tls))
    tls.on('error', fail)
    tls.once('close', fail)
  })
}

/** Header values go out as UTF-8 bytes, which Node wants to see as Latin-1. */
const headerBytes = (value: string): string => Buffer.from(value, 'utf8').toString('latin1')

function ask(socket: Socket, request: ProbeRequest, target: URL, isAbsolute: boolean): Promise<ProbeResult> {
  const body = Buffer.from(request.body, 'utf8')
  const path = `${target.pathname}${target.search}`
  return new Promise((resolve, reject) => {
    const call = httpRequest({
      method: 'POST',
      path: isAbsolute ? `${target.protocol}//${target.host}${path}` : path,
      createConnection: () => socket,
      headers: {
        host: target.host,
        accept: '*/*',
        'content-type': 'application/json',
        'content-length': body.length,
        ...Object.fromEntries(request.headers.map(([name, value]) => [name, headerBytes(value)])),
      },
    })
    let interim = 0
    const countInterim = () => {
      if (++interim > LIMITS.inferenceInterimAnswers) call.destroy(new Error('too many answers before the answer'))
    }
    call.on('continue', countInterim)
    call.on('information', countInterim)
    call.on('response', answer => resolve(readAnswer(answer)))
    call.on('error', reject)
    call.on('close', () => reject(new Error('closed without an answer')))
    call.end(body)
  })
}

/** Status and the beginning of the body; a success is told by its status alone. */
function readAnswer(answer: IncomingMessage): Promise<ProbeResult> {
  const status = answer.statusCode ?? 0
  if (status >= 200 && status <= 299) {
    answer.destroy()
    return Promise.resolve({ kind: 'answer', status, body: '' })
  }
  return new Promise(resolve => {
    const chunks: Buffer[] = []
    let size = 0
    const done = () => resolve({ kind: 'answer', status, body: Buffer.concat(chunks).toString('utf8') })
    answer.on('data', (chunk: Buffer) => {
      chunks.push(chunk.subarray(0, LIMITS.inferenceBodyBytes - size))
      size += chunk.length
      if (size < LIMITS.inferenceBodyBytes) return
      done()
      answer.destroy()
    })
    answer.on('end', done)
    const broken = () =>
      resolve({ kind: 'failed', text: 'failed to read validation response body: error decoding response body' })
    answer.on('aborted', broken)
    answer.on('error', broken)
  })
}
