import type { Server } from 'bun'

/** An issuer of opaque tokens that counts what it is asked and rotates refresh tokens: a used one is refused. */
export interface TokenIssuer {
  readonly url: string
  /** Requests for tokens, in their order. */
  readonly requests: URLSearchParams[]
  /** The one refresh token that is good now. */
  refreshToken: string
  /** Seconds that new access tokens live. */
  lifeSecs: number
  /** Replaces answers by path; null = the honest one. */
  answer: ((path: string) => Response | null) | null
  stop(): void
}

export function startTokenIssuer(): TokenIssuer {
  let made = 0
  const server: Server<undefined> = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    async fetch(request) {
      const { pathname } = new URL(request.url)
      const instead = issuer.answer?.(pathname)
      if (instead) return instead
      if (pathname === '/.well-known/openid-configuration')
        return Response.json({ issuer: issuer.url, token_endpoint: `${issuer.url}/token` })
      if (pathname !== '/token') return new Response(null, { status: 404 })
      const form = new URLSearchParams(await request.text())
      issuer.requests.push(form)
      if (form.get('grant_type') === 'refresh_token' && form.get('refresh_token') !== issuer.refreshToken)
        return Response.json({ error: 'invalid_grant', error_description: 'Token is not active' }, { status: 400 })
      issuer.refreshToken = `refresh-${++made}`
      return Response.json({
        access_token: `access-${made}`,
        token_type: 'Bearer',
        expires_in: issuer.lifeSecs,
        ...(form.get('grant_type') === 'refresh_token' ? { refresh_token: issuer.refreshToken } : {}),
      })
    },
  })
  const issuer: TokenIssuer = {
    url: `http://127.0.0.1:${server.port}`,
    requests: [],
    refreshToken: 'refresh-0',
    lifeSecs: 300,
    answer: null,
    stop: () => void server.stop(true),
  }
  return issuer
}

/** Makes an issuer offer the device grant and answer its first request with `device` (RFC 8628 §3.2). */
export function offerDeviceGrant(issuer: TokenIssuer, device: object): void {
  const discovery = {
    issuer: issuer.url,
    token_endpoint: `${issuer.url}/token`,
    device_authorization_endpoint: `${issuer.url}/device`,
  }
  issuer.answer = path => {
    if (path === '/device') return Response.json(device)
    return path.endsWith('configuration') ? Response.json(discovery) : null
  }
}
