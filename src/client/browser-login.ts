import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import * as oauth from 'oauth4webapi'
import { LIMITS } from '../limits.ts'
import { openBrowser } from './browser.ts'
import { listenForCallback } from './callback-listener.ts'
import { refusedPage, STRANGER_PAGE, sendPage, signedInPage, USED_PAGE } from './callback-pages.ts'
import { ClientFailure } from './failure.ts'
import { askIssuer, discoverIssuer, GrantRefused, type Issuer, publicClient, warnOfSkew } from './issuer.ts'
import type { LoginRequest, LoginTools } from './login.ts'
import { bundleFrom, type TokenBundle } from './token-bundle.ts'

/** The answer of the issuer that belongs to this sign-in, and the browser that waits for a page. */
interface Arrival {
  readonly url: URL
  readonly response: ServerResponse
}

const sameText = (a: string, b: string): boolean =>
  a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b))

/** Whether a callback carries our state, once. Everything else about it is looked at only then (spec/client.md §18 row 2). */
const isOurs = (url: URL, state: string): boolean => {
  const given = url.searchParams.getAll('state')
  return given.length === 1 && given[0] !== undefined && /^[\x20-\x7e]*$/.test(given[0]) && sameText(given[0], state)
}

function authorizationUrl(
  issuer: Issuer,
  request: LoginRequest,
  secrets: { readonly state: string; readonly nonce: string; readonly challenge: string; readonly redirect: string },
): URL {
  const endpoint = issuer.metadata.authorization_endpoint
  if (endpoint === undefined)
    throw new ClientFailure('issuer', `the issuer ${issuer.url} offers no sign-in by browser (authorization_endpoint)`)
  const url = new URL(endpoint)
  const params: readonly (readonly [string, string])[] = [
    ['response_type', 'code'],
    ['client_id', request.clientId],
    ['state', secrets.state],
    ['code_challenge', secrets.challenge],
    ['code_challenge_method', 'S256'],
    ['redirect_uri', secrets.redirect],
    ['scope', request.scope],
    ...(request.audience === null ? [] : [['audience', request.audience] as const]),
    ['nonce', secrets.nonce],
    ...(request.asksWho ? [['prompt', 'login'] as const] : []),
  ]
  for (const [name, value] of params) url.searchParams.set(name, value)
  return url
}

/**
 * Signs a person in by Authorization Code with PKCE S256: opens the browser, waits for its answer on loopback, and
 * exchanges the code (spec/client.md §7). Answers that are not ours are ignored, so no other page can end a sign-in.
 * Rejects with a `ClientFailure`; nothing is left listening.
 */
export async function loginByBrowser(request: LoginRequest, tools: LoginTools): Promise<TokenBundle> {
  const issuer = await discoverIssuer(request.issuer, tools.env)
  await warnOfSkew(issuer, tools.say)
  const state = oauth.generateRandomState()
  const nonce = oauth.generateRandomNonce()
  const verifier = oauth.generateRandomCodeVerifier()
  const challenge = await oauth.calculatePKCECodeChallenge(verifier)
  const arrival = Promise.withResolvers<Arrival>()
  let isUsed = false
  const onCallback = (url: URL, incoming: IncomingMessage, response: ServerResponse): void => {
    if (incoming.method !== 'GET' || !isOurs(url, state)) return sendPage(response, STRANGER_PAGE)
    if (isUsed) return sendPage(response, USED_PAGE)
    isUsed = true
    arrival.resolve({ url, response })
  }
  const listener = await listenForCallback(request.callbackPort, onCallback)
  const late = setTimeout(() => arrival.reject(tooLate()), LIMITS.signInWaitMs)
  try {
    const redirect = `http://127.0.0.1:${listener.port}/callback`
    const url = authorizationUrl(issuer, request, { state, nonce, challenge, redirect })
    await invite(url.href, tools)
    const { url: answer, response } = await arrival.promise
    return await finish(response, request, () =>
      exchange({ issuer, request, answer, state, nonce, verifier, redirect, nowMs: tools.nowMs }),
    )
  } finally {
    clearTimeout(late)
    await listener.close()
  }
}

const tooLate = (): ClientFailure =>
  new ClientFailure(
    'unfinished',
    `OIDC authentication timed out after ${LIMITS.signInWaitMs / 1000} seconds. Nobody finished the sign-in in the browser`,
  )

async function invite(url: string, tools: LoginTools): Promise<void> {
  const isOpen = await openBrowser(url, tools.env)
  await tools.say(
    isOpen
      ? 'Browser opened. Waiting for authentication...'
      : 'Could not open browser automatically. OPENSHELL_NO_BROWSER=1 signs in with a code on another device instead.',
  )
  await tools.say(`If no page appears, open this address on this machine:\n  ${url}`)
}

/** Tells the waiting browser how it ended, whatever the end. */
async function finish(
  response: ServerResponse,
  request: LoginRequest,
  work: () => Promise<TokenBundle>,
): Promise<TokenBundle> {
  try {
    const bundle = await work()
    sendPage(response, signedInPage(request.gateway))
    return bundle
  } catch (error) {
    sendPage(response, refusedPage(error instanceof ClientFailure ? error.message : 'Something went wrong.'))
    throw error
  }
}

interface Exchange {
  readonly issuer: Issuer
  readonly request: LoginRequest
  readonly answer: URL
  readonly state: string
  readonly nonce: string
  readonly verifier: string
  readonly redirect: string
  readonly nowMs: () => number
}

async function exchange(from: Exchange): Promise<TokenBundle> {
  const { issuer, request } = from
  const client = publicClient(issuer, request.clientId)
  try {
    const params = validated(from, client)
    const answer = await askIssuer(issuer, 'token exchange', async () => {
      const auth = oauth.None()
      const { redirect, verifier } = from
      const response = await oauth.authorizationCodeGrantRequest(
        issuer.metadata,
        client,
        auth,
        params,
        redirect,
        verifier,
        issuer.http,
      )
      return oauth.processAuthorizationCodeResponse(issuer.metadata, client, response, { expectedNonce: from.nonce })
    })
    return bundleFrom(answer, request.issuer, request.clientId, from.nowMs())
  } catch (error) {
    if (!(error instanceof GrantRefused)) throw error
    throw new ClientFailure('unfinished', `token exchange failed: ${error.message}`, { cause: error })
  }
}

/** The answer with its state, issuer and errors checked. */
function validated({ issuer, answer, state }: Exchange, client: oauth.Client): URLSearchParams {
  try {
    return oauth.validateAuthResponse(issuer.metadata, client, answer, state)
  } catch (error) {
    if (error instanceof oauth.AuthorizationResponseError) {
      const description = error.error_description ? `: ${error.error_description}` : ''
      throw new ClientFailure('unfinished', `the issuer refused the sign-in: ${error.error}${description}`, {
        cause: error,
      })
    }
    const text = error instanceof Error ? error.message : 'unknown error'
    throw new ClientFailure('unfinished', `the answer of the browser is not from the issuer ${issuer.url}: ${text}`, {
      cause: error,
    })
  }
}
