import { randomInt, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { LIMITS } from '../limits.ts'
import { isBrowserOff, openBrowser } from './browser.ts'
import { listenForCallback } from './callback-listener.ts'
import { parseEndpoint } from './channel.ts'
import { ClientFailure } from './failure.ts'
import type { LoginTools } from './login.ts'
import type { Registration } from './registration.ts'
import { isTokenText } from './token-bundle.ts'

const ALPHABET = 'ABCDEFGHJKLMNPQRSTUVWXYZ23456789'
const LETTERS = 7
const DASH_AFTER = 3

/** A code that ties the page to the terminal, `XXX-XXXX` (spec/auth.md §7.3). */
export function createConfirmationCode(): string {
  const letters = Array.from({ length: LETTERS }, () => ALPHABET[randomInt(ALPHABET.length)]!).join('')
  return `${letters.slice(0, DASH_AFTER)}-${letters.slice(DASH_AFTER)}`
}

const isCode = (given: string, code: string): boolean => {
  const [a, b] = [Buffer.from(given), Buffer.from(code)]
  return a.length === b.length && timingSafeEqual(a, b)
}

/**
 * Signs in at the edge in front of a gateway: its page hands the token of the edge to a listener here (spec/client.md
 * §11). Requests that do not fit are answered and forgotten. Rejects with a `ClientFailure`.
 */
export async function loginAtEdge(
  registration: Registration,
  tools: LoginTools,
  callbackPort: number,
): Promise<string> {
  if (isBrowserOff(tools.env))
    throw new ClientFailure('unfinished', 'authentication skipped (OPENSHELL_NO_BROWSER is set).')
  const gateway = parseEndpoint(registration.gateway_endpoint)
  const code = createConfirmationCode()
  const arrival = Promise.withResolvers<string>()
  const handle = createEdgeHandler(gateway.origin, code, arrival.resolve, arrival.reject)
  const listener = await listenForCallback(callbackPort, handle)
  const late = setTimeout(
    () =>
      arrival.reject(
        new ClientFailure('unfinished', `authentication timed out after ${LIMITS.signInWaitMs / 1000} seconds.`),
      ),
    LIMITS.signInWaitMs,
  )
  try {
    await tools.say(`Confirmation code:  ${code}\nThe page in the browser must show the same code.`)
    if (!(await tools.untilEnter())) throw new ClientFailure('unfinished', 'the sign-in was given up')
    const page = new URL('/auth/connect', gateway)
    page.searchParams.set('callback_port', String(listener.port))
    page.searchParams.set('code', code)
    const isOpen = await openBrowser(page.href, tools.env)
    await tools.say(`${isOpen ? 'Browser opened.' : 'Could not open browser automatically.'} The page:\n  ${page.href}`)
    return await arrival.promise
  } finally {
    clearTimeout(late)
    await listener.close()
  }
}

type Answer = readonly [status: number, body: Readonly<Record<string, unknown>>]
const no = (status: number, error: string): Answer => [status, { ok: false, error }]

/** Answers the page of the gateway; exported for its test. */
export function createEdgeHandler(
  origin: string,
  code: string,
  accept: (token: string) => void,
  giveUp: (error: ClientFailure) => void,
): (url: URL, request: IncomingMessage, response: ServerResponse) => void {
  let wrong = 0
  const judge = (text: string | null): Answer => {
    if (text === null) return no(400, 'invalid request body')
    const { token, code: given } = fieldsOf(text)
    if (token === '' || given === '') return no(400, 'missing token or code')
    if (!isCode(given, code)) {
      if (++wrong >= LIMITS.edgeWrongCodes)
        giveUp(
          new ClientFailure(
            'unfinished',
            'a page sent wrong confirmation codes again and again; the sign-in was given up',
          ),
        )
      return no(403, 'confirmation code mismatch')
    }
    accept(token)
    return [200, { ok: true }]
  }
  return (_url, request, response) => {
    const send = ([status, body]: Answer) => {
      response.writeHead(status, { ...corsHeaders(origin, request), 'content-type': 'application/json' })
      response.end(JSON.stringify(body))
    }
    if (request.headers.origin !== origin) return send(no(403, 'origin not allowed'))
    if (request.method === 'OPTIONS') return void response.writeHead(204, corsHeaders(origin, request)).end()
    if (request.method !== 'POST') return send([405, { error: 'method not allowed' }])
    void readBody(request).then(text => send(judge(text)))
  }
}

function corsHeaders(origin: string, request: IncomingMessage): Record<string, string> {
  const isPrivate = request.headers['access-control-request-private-network'] === 'true'
  return {
    'access-control-allow-origin': origin,
    'access-control-allow-methods': 'POST, OPTIONS',
    'access-control-allow-headers': 'Content-Type',
    'access-control-max-age': '60',
    ...(isPrivate ? { 'access-control-allow-private-network': 'true' } : {}),
    vary: 'Origin',
    'cache-control': 'no-store',
    connection: 'close',
  }
}

function fieldsOf(text: string): { token: string; code: string } {
  const none = { token: '', code: '' }
  try {
    const json: unknown = JSON.parse(text)
    if (typeof json !== 'object' || json === null) return none
    const { token, code } = json as Record<string, unknown>
    if (typeof token !== 'string' || typeof code !== 'string') return none
    return { token: isTokenText(token.trim()) ? token.trim() : '', code }
  } catch {
    return none
  }
}

/** The body as text; null when it is too large, breaks off or is no UTF-8. */
async function readBody(request: IncomingMessage): Promise<string | null> {
  const parts: Buffer[] = []
  let size = 0
  try {
    for await (const part of request as AsyncIterable<Buffer>) {
      size += part.length
      if (size > LIMITS.callbackBodyBytes) return null
      parts.push(part)
    }
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(parts))
  } catch {
    return null
  }
}
