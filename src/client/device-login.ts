import * as oauth from 'oauth4webapi'
import { LIMITS } from '../limits.ts'
import { ClientFailure } from './failure.ts'
import { askIssuer, discoverIssuer, GrantRefused, type Issuer, publicClient, warnOfSkew } from './issuer.ts'
import type { LoginRequest, LoginTools } from './login.ts'
import { bundleFrom, type TokenBundle } from './token-bundle.ts'

/** What ends the waiting, and what the person is told. */
const ENDS: Readonly<Record<string, string>> = {
  access_denied: 'the sign-in was refused on the other device',
  expired_token: 'the code expired before anybody signed in with it',
}

/**
 * Signs a person in with a code on any device (RFC 8628) with PKCE S256 (spec/client.md §17 "headless"). Rejects with
 * a `ClientFailure`.
 */
export async function loginByDevice(request: LoginRequest, tools: LoginTools): Promise<TokenBundle> {
  const issuer = await discoverIssuer(request.issuer, tools.env)
  if (issuer.metadata.device_authorization_endpoint === undefined)
    throw new ClientFailure(
      'issuer',
      `the issuer ${issuer.url} offers no sign-in by code (device_authorization_endpoint)`,
    )
  await warnOfSkew(issuer, tools.say)
  const client = publicClient(issuer, request.clientId)
  const verifier = oauth.generateRandomCodeVerifier()
  try {
    const device = await start(issuer, client, request, verifier)
    const uri = device.verification_uri_complete ?? device.verification_uri
    await tools.say(
      `To sign in, open this address on any device:\n  ${uri}\nand confirm the code:  ${device.user_code}`,
    )
    return await poll({ issuer, client, request, device, verifier }, tools)
  } catch (error) {
    if (!(error instanceof GrantRefused)) throw error
    throw new ClientFailure('unfinished', ENDS[error.code] ?? `the issuer refused the sign-in: ${error.message}`, {
      cause: error,
    })
  }
}

async function start(
  issuer: Issuer,
  client: oauth.Client,
  request: LoginRequest,
  verifier: string,
): Promise<oauth.DeviceAuthorizationResponse> {
  const params = new URLSearchParams({
    scope: request.scope,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  })
  if (request.audience !== null) params.set('audience', request.audience)
  return askIssuer(issuer, 'device authorization', async () => {
    const auth = oauth.None()
    const response = await oauth.deviceAuthorizationRequest(issuer.metadata, client, auth, params, issuer.http)
    return oauth.processDeviceAuthorizationResponse(issuer.metadata, client, response)
  })
}

interface Waiting {
  readonly issuer: Issuer
  readonly client: oauth.Client
  readonly request: LoginRequest
  readonly device: oauth.DeviceAuthorizationResponse
  readonly verifier: string
}

async function poll(waiting: Waiting, tools: LoginTools): Promise<TokenBundle> {
  const { device, request } = waiting
  const wantedMs = (device.interval ?? LIMITS.devicePollDefaultMs / 1000) * 1000
  let pauseMs = Math.min(Math.max(wantedMs, LIMITS.devicePollLeastMs), LIMITS.devicePollMostMs)
  const until = tools.nowMs() + Math.min(device.expires_in * 1000, LIMITS.deviceWaitMostMs)
  for (;;) {
    await tools.pause(pauseMs)
    if (tools.nowMs() > until) throw new GrantRefused('expired_token', undefined)
    try {
      return bundleFrom(await pollOnce(waiting), request.issuer, request.clientId, tools.nowMs())
    } catch (error) {
      // An issuer that is away for a moment may be back at the next try.
      if (error instanceof ClientFailure && error.kind === 'issuer') continue
      if (!(error instanceof GrantRefused)) throw error
      if (error.code === 'slow_down') pauseMs = Math.min(pauseMs + LIMITS.deviceSlowDownMs, LIMITS.devicePollMostMs)
      else if (error.code !== 'authorization_pending') throw error
    }
  }
}

const pollOnce = ({ issuer, client, device, verifier }: Waiting): Promise<oauth.TokenEndpointResponse> =>
  askIssuer(issuer, 'token exchange', async () => {
    const options = { ...issuer.http, additionalParameters: { code_verifier: verifier } }
    const auth = oauth.None()
    const response = await oauth.deviceCodeGrantRequest(issuer.metadata, client, auth, device.device_code, options)
    return oauth.processDeviceCodeResponse(issuer.metadata, client, response)
  })
