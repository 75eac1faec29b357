/**
 * A browser without a window: `bun scripted-browser.ts URL` follows redirects, keeps cookies, and signs in at the form
 * of the development issuer as `SCRIPT` says: `USER:PASSWORD`, `cancel`, or `look` (loads the page and leaves).
 * The last page goes to the file `SCRIPT_OUT`, if set.
 */
import { appendFileSync } from 'node:fs'

const HOPS = 20

/** Cookies by name, for one issuer and its callback. */
type Jar = Map<string, string>

function keep(jar: Jar, response: Response): void {
  for (const line of response.headers.getSetCookie()) {
    const [pair = ''] = line.split(';')
    const at = pair.indexOf('=')
    jar.set(pair.slice(0, at), pair.slice(at + 1))
  }
}

/** Follows redirects from `url` to the page at their end. */
export async function browse(
  url: string,
  jar: Jar = new Map(),
  init: RequestInit = {},
): Promise<{ url: string; status: number; text: string }> {
  let target = url
  let options = init
  for (let hop = 0; hop < HOPS; hop++) {
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(target, { ...options, redirect: 'manual', headers: { ...options.headers, cookie } })
    keep(jar, response)

    const next = response.headers.get('location')
    if (next === null) return { url: target, status: response.status, text: await response.text() }
    target = new URL(next, target).href
    options = {}
  }
  throw new Error('too many redirects')
}

/** Opens a sign-in page and fills in its form; the page at the end. */
export async function signIn(url: string, script: string): Promise<{ url: string; status: number; text: string }> {
  const jar: Jar = new Map()
  const page = await browse(url, jar)
  const action = /<form[^>]*action="([^"]+)"/.exec(page.text)?.[1]
  if (script === 'look' || action === undefined) return page
  const [username = '', password = ''] = script.split(':')
  const form = script === 'cancel' ? { cancel: '1' } : { username, password }
  return browse(new URL(action, page.url).href, jar, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams(form).toString(),
  })
}

if (import.meta.main) {
  const page = await signIn(process.argv[2]!, process.env['SCRIPT'] ?? 'look')
  const out = process.env['SCRIPT_OUT']
  if (out) appendFileSync(out, `${page.status} ${page.text}\n`)
}
