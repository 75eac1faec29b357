import { expect, test } from 'bun:test'
import { loginByDevice } from '../../../src/client/device-login.ts'
import { LIMITS } from '../../../src/limits.ts'
import { offerDeviceGrant, startTokenIssuer } from '../../kit/token-issuer.ts'

test.each([
  [0.001, LIMITS.devicePollLeastMs],
  [undefined, LIMITS.devicePollDefaultMs],
  [1e9, LIMITS.devicePollMostMs],
])('an issuer that wants to be asked every %p seconds is asked every %p ms', async (interval, pauseMs) => {
  const issuer = startTokenIssuer()
  offerDeviceGrant(issuer, {
    device_code: 'd',
    user_code: 'u',
    verification_uri: 'http://x',
    expires_in: 600,
    interval,
  })
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
