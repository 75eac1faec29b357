import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { type Certificates, createCertificates } from '../../kit/certificates.ts'
import { signingKey, startIssuer } from '../../kit/issuer.ts'
import { createHarness, oidcConfig } from './harness.ts'

describe('K-12 TLS of the issuer', () => {
  let certificates: Certificates
  beforeAll(() => {
    certificates = createCertificates()
    certificates.authority('ca')
    certificates.authority('stranger')
    certificates.leaf('good', 'ca', 'serverAuth')
    certificates.leaf('expired', 'ca', 'serverAuth', -1)
  })
  afterAll(() => certificates[Symbol.dispose]())

  /** How the keys stand after a start that trusts these files, and why. */
  async function standing(leaf: string, caFile: string | null, caFiles: string[] = []) {
    const [key, cert] = [`${leaf}.key`, `${leaf}.crt`].map(name => readFileSync(certificates.path(name), 'utf8'))
    const issuer = await startIssuer(await signingKey('k1'), { key: key!, cert: cert! })
    const harness = createHarness({ oidc: oidcConfig(issuer.url, { caFile }), deps: { caFiles } })
    await harness.authenticator.start()
    const readiness = harness.authenticator.readiness()
    harness.authenticator.close()
    await issuer.close()
    return { ...readiness, asked: issuer.hits.discovery }
  }

  test('a private authority counts when its file is given, either way', async () => {
    const ca = certificates.path('ca.crt')
    expect(await standing('good', ca)).toMatchObject({ status: 'ok' })
    expect(await standing('good', null, [ca])).toMatchObject({ status: 'ok' })
  })

  test('an unknown authority and an expired certificate are refused before anything is asked', async () => {
    expect(await standing('good', null)).toMatchObject({ status: 'unavailable', asked: 0 })
    expect(await standing('good', certificates.path('stranger.crt'))).toMatchObject({ status: 'unavailable', asked: 0 })
    expect(await standing('expired', certificates.path('ca.crt'))).toMatchObject({ status: 'unavailable', asked: 0 })
  })

  test('NODE_TLS_REJECT_UNAUTHORIZED=0 changes nothing', async () => {
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
    try {
      expect(await standing('good', null)).toMatchObject({ status: 'unavailable', asked: 0 })
    } finally {
      delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']
    }
  })

  test('a file that cannot be read is named', async () => {
    expect((await standing('good', '/nowhere/ca.pem')).reason).toContain('/nowhere/ca.pem')
  })
})
