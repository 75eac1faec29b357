import { expect, test } from 'bun:test'
import { loginByDevice } from '../../../src/client/device-login.ts'
import { LIMITS } from '../../../src/limits.ts'
import { startTokenIssuer } from '../../kit/token-issuer.ts'

test.each([
  [0.001, LIMITS.devicePollLeastMs],
  [undefined, LIMITS.devicePollDefaultMs],
  [1e9, LIMITS.devicePollMostMs],
])('an issuer that wants to be asked every %p seconds is asked every %p ms', async (interval, pauseMs) => {
  const issuer = startTokenIssuer()
  issuer.answer = path => {
    if (path === '/device')
      return Response.json({
        device_code: 'd',
        user_code: 'u',
        verification_uri: 'http://x',
        expires_in: 600,
        interval,
      })
    return path.endsWith('configuration')
      ? Response.json({
          issuer: issuer.url,
          token_endpoint: `${issuer.url}/token`,
          device_authorization_endpoint: `${issuer.url}/device`,
        })
      : null
  }
  const pauses: number[] = []
  const request = { gateway: 'g', issuer: issuer.url, clientId: 'c', scope: 'openid', audience: null }
  await loginByDevice(
    { ...request, asksWho: false, callbackPort: 0 },
    {
      env: {},
      nowMs: Date.now,
      say: async () => undefined,
      pause: async ms => void pauses.push(ms),
      untilEnter: async () => true,
    },
  )
  issuer.stop()
  expect(pauses).toEqual([pauseMs])
})
