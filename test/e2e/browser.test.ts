/**
 * Signing in with a real browser: Debian's Chromium against the embedded issuer (row 1, P-05). With SCREENSHOTS set,
 * pictures of the pages at the widths of a phone and of a desktop are put into that folder.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'
import type { DevIssuer } from '../../src/dev/issuer.ts'
import { type ClientHome, createClientHome } from '../kit/client-home.ts'
import type { GatewayProcess } from '../kit/gateway.ts'
import { startGatewayWithIssuer } from '../kit/signed-in-gateway.ts'
import { beginLogin } from '../kit/terminal-login.ts'

setDefaultTimeout(60_000)

const program = ['chromium', 'chromium-browser', 'google-chrome']
  .map(name => Bun.which(name))
  .find(path => path !== null)
if (!program) console.log('skipped: signing in with a real browser needs chromium')

const WIDTHS = [360, 1280]

describe.skipIf(!program)('a person with a browser', () => {
  let issuer: DevIssuer
  let gateway: GatewayProcess
  let browser: Browser
  let context: BrowserContext
  let home: ClientHome

  beforeAll(async () => {
    ;({ issuer, gateway } = await startGatewayWithIssuer())
    browser = await chromium.launch({ executablePath: program!, args: ['--no-sandbox'] })
  })
  afterAll(async () => {
    await browser?.close()
    await gateway?.stop()
    await issuer?.close()
  })
  beforeEach(async () => {
    home = createClientHome()
    context = await browser.newContext()
  })
  afterEach(async () => {
    await context.close()
    home[Symbol.dispose]()
  })

  const begin = (...args: string[]) => beginLogin(home.env, args)
  const add = (name: string) =>
    begin(
      ...['gateway', 'add', `http://${gateway.address}`, '--name', name],
      ...['--oidc-issuer', issuer.url, '--oidc-scopes', 'openshell:all'],
    )

  async function fillIn(page: Page, user: string, password: string): Promise<void> {
    await page.fill('[name=username]', user)
    await page.fill('[name=password]', password)
    await page.click('button[type=submit]')
  }

  /** Nothing to scroll sideways, and no text smaller than a phone can show, at any width. */
  async function inspect(page: Page, picture: string): Promise<void> {
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 640 })
      const facts = await page.evaluate<{ scroll: number; smallest: number }>(`({
        scroll: document.documentElement.scrollWidth,
        smallest: Math.min(
          ...[...document.querySelectorAll('h1, p')].map(part => Number.parseFloat(getComputedStyle(part).fontSize)),
        ),
      })`)
      expect(facts.scroll).toBeLessThanOrEqual(width)
      expect(facts.smallest).toBeGreaterThanOrEqual(14)
      const folder = process.env['SCREENSHOTS']
      if (folder) await page.screenshot({ path: join(folder, `${picture}-${width}.png`) })
    }
  }

  test('a wrong password first, then the right one: signed in, and the page says so at every width', async () => {
    const login = add('office')
    const page = await context.newPage()
    const problems: string[] = []
    page.on('console', message => message.type() === 'error' && problems.push(message.text()))
    await page.goto(await login.address())
    await fillIn(page, 'admin@test', 'wrong')
    expect(await page.textContent('[role=alert]')).toContain('Wrong user name or password')
    problems.length = 0
    await fillIn(page, 'admin@test', 'admin')
    expect(await page.textContent('h1')).toBe('You are signed in')
    expect(await page.textContent('main')).toContain('office')
    await inspect(page, 'signed-in')
    expect(problems).toEqual([])
    expect(await login.ended()).toMatchObject({ code: 0, said: expect.stringContaining('as admin@test') })
    expect(await home.run(['call', 'ListSandboxes'])).toMatchObject({ code: 0 })
  })

  test('a person who says no sees that nobody is signed in', async () => {
    const login = add('office')
    const page = await context.newPage()
    await page.goto(await login.address())
    await page.click('button[name=cancel]')
    expect(await page.textContent('h1')).toBe('You are not signed in')
    await inspect(page, 'refused')
    expect(await login.ended()).toMatchObject({ code: 6 })
    expect(existsSync(home.path())).toBe(false)
  })

  test('a page elsewhere that forges callbacks by every means of a browser changes nothing', async () => {
    const login = add('office')
    const address = await login.address()
    const callback = new URL(address).searchParams.get('redirect_uri')!
    const evil = await context.newPage()
    await evil.goto('about:blank')
    await evil.setContent(
      `<img src="${callback}?error=access_denied"><iframe src="${callback}?code=x&state=y"></iframe>
       <form method="post" action="${callback}" target="f"><input name="code" value="x"></form><iframe name="f"></iframe>`,
    )
    await evil.evaluate(`document.forms[0].submit()`)
    await evil.evaluate(`fetch('${callback}?code=a&state=b', { mode: 'no-cors' }).catch(() => undefined)`)
    await evil.goto(`${callback}?code=x&state=y`)
    expect(await evil.textContent('h1')).toBe('This page does not belong to your sign-in')
    await inspect(evil, 'stranger')
    const page = await context.newPage()
    await page.goto(address)
    await fillIn(page, 'user@test', 'user')
    expect(await page.textContent('h1')).toBe('You are signed in')
    expect(await login.ended()).toMatchObject({ code: 0, said: expect.stringContaining('as user@test') })
  })

  test('a tab that is closed can be opened again from the terminal', async () => {
    const login = add('office')
    const address = await login.address()
    const first = await context.newPage()
    await first.goto(address)
    await first.close()
    const second = await context.newPage()
    await second.goto(address)
    await fillIn(second, 'admin@test', 'admin')
    expect(await second.textContent('h1')).toBe('You are signed in')
    expect(await login.ended()).toMatchObject({ code: 0 })
  })

  test('two sign-ins at once in two windows', async () => {
    const [one, two] = [add('one'), add('two')]
    const other = await browser.newContext()
    const [left, right] = [await context.newPage(), await other.newPage()]
    await left.goto(await one.address())
    await right.goto(await two.address())
    await fillIn(right, 'user@test', 'user')
    await fillIn(left, 'admin@test', 'admin')
    expect(await left.textContent('main')).toContain('one')
    expect(await right.textContent('main')).toContain('two')
    expect((await one.ended()).said).toContain('as admin@test')
    expect((await two.ended()).said).toContain('as user@test')
    await other.close()
  })

  test('after a logout the browser, which still knows the person, asks who signs in', async () => {
    const login = add('office')
    const page = await context.newPage()
    await page.goto(await login.address())
    await fillIn(page, 'admin@test', 'admin')
    await login.ended()
    await home.run(['gateway', 'logout'])
    const again = begin('gateway', 'login')
    await page.goto(await again.address())
    expect(await page.textContent('h1')).toBe('Sign in')
    await fillIn(page, 'user@test', 'user')
    expect(await again.ended()).toMatchObject({ code: 0, said: expect.stringContaining('as user@test') })
  })
})
