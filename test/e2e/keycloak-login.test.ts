/**
 * A person signs in from a terminal with Chromium at real Keycloaks: wrong password, consent refused, consent given,
 * renewal by many processes, logout that ends the session there (rows 1 and 3).
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { type Browser, chromium, type Page } from 'playwright-core'
import { type ClientHome, createClientHome } from '../kit/client-home.ts'
import { type GatewayProcess, startGateway } from '../kit/gateway.ts'
import { type Keycloak, noKeycloak, startKeycloak } from '../kit/keycloak.ts'
import { beginLogin } from '../kit/terminal-login.ts'

const program = ['chromium', 'chromium-browser', 'google-chrome']
  .map(name => Bun.which(name))
  .find(path => path !== null)
const skipped = noKeycloak ?? (program ? null : 'signing in at a real Keycloak needs chromium')
if (skipped !== null) console.log(`skipped: ${skipped}`)

/** Downloading a Keycloak for the first time takes most of it. */
const START_MS = 300_000
const TEST_MS = 60_000

describe.skipIf(skipped !== null).each(['24.0.5', '26.0.7'])('Keycloak %s', version => {
  let keycloak: Keycloak
  let gateway: GatewayProcess
  let browser: Browser
  let home: ClientHome

  beforeAll(async () => {
    keycloak = await startKeycloak({ version, asksConsent: true })
    browser = await chromium.launch({ executablePath: program!, args: ['--no-sandbox'] })
    home = createClientHome()
    gateway = await startGateway({
      args: [
        ...['--compute-driver-socket', '/run/openshell-none/compute.sock'],
        ...['--oidc-issuer', keycloak.issuer, '--oidc-scopes-claim', 'scope'],
      ],
    })
    await gateway.logged(line => line.message.startsWith('OIDC JWT validation enabled'))
  }, START_MS)

  afterAll(async () => {
    await gateway?.stop()
    await browser?.close()
    await keycloak?.stop()
    home?.[Symbol.dispose]()
  }, TEST_MS)

  const begin = () =>
    beginLogin(home.env, [
      ...['gateway', 'add', `http://${gateway.address}`, '--name', 'kc'],
      ...['--oidc-issuer', keycloak.issuer, '--oidc-scopes', 'openshell:all'],
    ])

  async function fillIn(page: Page, password: string): Promise<void> {
    await page.fill('#username', 'admin@test')
    await page.fill('#password', password)
    await page.click('#kc-login')
  }

  test(
    'wrong password, then consent refused: one sentence, nothing registered',
    async () => {
      const login = begin()
      const page = await (await browser.newContext()).newPage()
      await page.goto(await login.address())
      await fillIn(page, 'wrong')
      expect(await page.textContent('body')).toContain('Invalid username or password')
      await fillIn(page, 'admin')
      await page.click('[name=cancel]')
      expect(await page.textContent('h1')).toBe('You are not signed in')
      const { code, said } = await login.ended()
      expect(code).toBe(6)
      expect(said).toContain('error: the issuer refused the sign-in: access_denied')
      expect(await home.run(['gateway', 'list'])).toMatchObject({ stdout: 'No gateways found.\n' })
    },
    TEST_MS,
  )

  test(
    'consent given: signed in; renewed by ten processes with one token; logout ends the session there',
    async () => {
      const login = begin()
      const page = await (await browser.newContext()).newPage()
      await page.goto(await login.address())
      await fillIn(page, 'admin')
      await page.click('[name=accept]')
      expect(await page.textContent('h1')).toBe('You are signed in')
      expect(await login.ended()).toMatchObject({ code: 0, said: expect.stringContaining('as admin@test') })
      expect(await home.run(['call', 'ListSandboxes'])).toMatchObject({ code: 0, stderr: '' })

      const file = ['gateways', 'kc', 'oidc_token.json'] as const
      const before = JSON.parse(home.read(...file))
      home.write(JSON.stringify({ ...before, expires_at: 1 }), ...file)
      const ends = await Promise.all(Array.from({ length: 10 }, () => home.run(['token'])))
      expect(new Set(ends.map(end => `${end.code} ${end.stdout}`)).size).toBe(1)
      expect(ends[0]!.stdout).not.toBe(`${before.access_token}\n`)

      const { refresh_token } = JSON.parse(home.read(...file))
      expect(await home.run(['gateway', 'logout'])).toMatchObject({ code: 0, stderr: "Logged out of gateway 'kc'\n" })
      const again = await fetch(`${keycloak.issuer}/protocol/openid-connect/token`, {
        method: 'POST',
        body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token, client_id: 'openshell-cli' }),
      })
      expect(await again.json()).toMatchObject({ error: 'invalid_grant' })
    },
    TEST_MS,
  )
})
