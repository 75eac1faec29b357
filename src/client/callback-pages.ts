import type { ServerResponse } from 'node:http'

/** What a page of the callback listener tells the person in front of the browser. */
export interface CallbackPage {
  readonly status: number
  readonly tone: 'good' | 'bad'
  readonly title: string
  /** Plain text; it is escaped. */
  readonly text: string
  /** What to do next. */
  readonly hint: string
}

const STYLE = `:root{color-scheme:light dark}*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:flex;align-items:center;justify-content:center;padding:1.5rem;
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;background:#f4f5f7;color:#1b1f24}
main{--card:#fff;width:100%;max-width:30rem;padding:2.25rem 1.75rem 2rem;border:1px solid #d5d9de;border-radius:.75rem;
background:linear-gradient(var(--tone) .4rem,var(--card) 0)}
.good{--tone:#1a7f37}.bad{--tone:#b42318}
.product{margin:0 0 1rem;font-size:.875rem;letter-spacing:.02em;color:#59636e}
h1{margin:0 0 .75rem;text-wrap:balance;font-size:1.5rem;line-height:1.25;color:var(--tone)}p{margin:0 0 .75rem;overflow-wrap:anywhere}
p:last-child{margin:0}.hint{color:#59636e}
@media(prefers-color-scheme:dark){body{background:#0f1317;color:#e6e9ed}main{--card:#171c22;border-color:#2f3740}
.good{--tone:#4ac26b}.bad{--tone:#ff8a80}.product,.hint{color:#9aa5b1}}`

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, char => ESCAPES[char]!)

/** Headers of every answer to a browser: nothing is kept, framed, sniffed or run (spec/client.md §18 row 1). */
export const PAGE_HEADERS: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'content-security-policy':
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  connection: 'close',
}

/** The page in full. */
export function renderPage(page: CallbackPage): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(page.title)} · OpenShell</title>
<style>${STYLE}</style>
</head>
<body>
<main class="${page.tone}">
<p class="product">OpenShell</p>
<h1>${escapeHtml(page.title)}</h1>
<p>${escapeHtml(page.text)}</p>
<p class="hint">${escapeHtml(page.hint)}</p>
</main>
</body>
</html>
`
}

/** Answers a browser with a page; the connection ends with it. */
export function sendPage(response: ServerResponse, page: CallbackPage): void {
  const body = renderPage(page)
  response.writeHead(page.status, {
    ...PAGE_HEADERS,
    'content-type': 'text/html; charset=utf-8',
    'content-length': Buffer.byteLength(body),
  })
  response.end(body)
}

const BACK = 'You can close this tab and return to the terminal.'

export const signedInPage = (gateway: string): CallbackPage => ({
  status: 200,
  tone: 'good',
  title: 'You are signed in',
  text: `The terminal can now use the gateway “${gateway}”.`,
  hint: BACK,
})

export const refusedPage = (why: string): CallbackPage => ({
  status: 400,
  tone: 'bad',
  title: 'You are not signed in',
  text: `${why.charAt(0).toUpperCase()}${why.slice(1)}${why.endsWith('.') ? '' : '.'}`,
  hint: 'Close this tab, return to the terminal and start the sign-in again.',
})

export const STRANGER_PAGE: CallbackPage = {
  status: 400,
  tone: 'bad',
  title: 'This page does not belong to your sign-in',
  text: 'Something opened this address that the sign-in in your terminal did not ask for. It has been ignored.',
  hint: 'If you did not expect this, close the tab. The terminal still waits for the right answer.',
}

export const USED_PAGE: CallbackPage = {
  status: 410,
  tone: 'bad',
  title: 'This sign-in is already over',
  text: 'Its answer was used before and cannot be used twice.',
  hint: BACK,
}
