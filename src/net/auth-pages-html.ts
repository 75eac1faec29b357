/** Escapes the five characters that mean something in HTML text and quoted attributes. */
export function escapeHtml(text: string): string {
  return text.replace(/[&"'<>]/g, character => ENTITIES[character as keyof typeof ENTITIES])
}

const ENTITIES = { '&': '&amp;', '"': '&quot;', "'": '&#x27;', '<': '&lt;', '>': '&gt;' }

/** A JavaScript string literal that cannot end the script element around it. */
const scriptString = (text: string): string =>
  JSON.stringify(text).replaceAll('<', '\\u003c').replaceAll('>', '\\u003e')

const STYLE = `
:root { color-scheme: light dark; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; font: 1rem/1.5 system-ui, sans-serif; }
main { box-sizing: border-box; width: 100%; max-width: 26rem; padding: 1.5rem; text-align: center; }
h1 { font-size: 1.25rem; margin: 0 0 1rem; }
dl { margin: 1rem 0; } dt { opacity: .7; font-size: .875rem; } dd { margin: 0 0 .75rem; overflow-wrap: anywhere; }
.code { font: 600 1.75rem/1.3 ui-monospace, monospace; letter-spacing: .1em; }
button { width: 100%; min-height: 3rem; font: inherit; font-weight: 600; border-radius: .5rem; border: 1px solid; cursor: pointer; }
button:disabled { cursor: default; opacity: .6; }
footer { margin-top: 1.5rem; opacity: .6; font-size: .8125rem; }
`

const document = (title: string, head: string, body: string): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
${head}<title>${title}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
${body}
</main>
</body>
</html>
`

/** What the connect page shows and hands over. */
export interface ConnectPage {
  /** The edge's token, as found in its cookie; untrusted text. */
  readonly token: string
  readonly code: string
  readonly port: number
  /** How the user knows this gateway; untrusted text. */
  readonly gateway: string
  readonly version: string
  /** Fresh for each page: only a script that carries it runs. */
  readonly nonce: string
}

/** The page on which the user compares the code and hands the edge's token to the command line tool (spec/auth.md §7.2). */
export function connectPage(page: ConnectPage): string {
  const body = `<h1>OpenShell</h1>
<p>A command line tool on this computer wants to use this gateway in your name.</p>
<dl>
<dt>Gateway</dt>
<dd>${escapeHtml(page.gateway)}</dd>
<dt>Code, must be the one in your terminal</dt>
<dd class="code">${escapeHtml(page.code)}</dd>
</dl>
<button id="connect" type="button">Connect to Gateway</button>
<p id="status" role="status" aria-live="polite"></p>
<footer>v${escapeHtml(page.version)}</footer>
<script nonce="${page.nonce}">${connectScript(page)}</script>`
  return document('OpenShell — Connect to Gateway', '', body)
}

/** Plain functions and `var`: it also runs in the browsers of old phones. */
const connectScript = (page: ConnectPage): string => `
var token = ${scriptString(page.token)};
var code = ${scriptString(page.code)};
var port = ${page.port};
var button = document.getElementById('connect');
var line = document.getElementById('status');
function failed(text) {
  line.textContent = text;
  button.disabled = false;
}
function connect() {
  button.disabled = true;
  line.textContent = 'Connecting…';
  fetch('http://127.0.0.1:' + port + '/callback', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ token: token, code: code })
  }).then(function (reply) {
    return reply.json();
  }).then(function (result) {
    if (!result.ok) return failed(String(result.error || 'The command line tool refused.'));
    token = '';
    button.textContent = 'Connected';
    line.textContent = 'Connected. You can close this page and go back to the terminal.';
  }).catch(function () {
    failed('No answer from the command line tool. Is it still running on this computer?');
  });
}
button.addEventListener('click', function () { connect(); });
`

/** Shown until the edge has set its cookie; reloads itself unless `again` is false. */
export function waitingPage(port: number, code: string, again: boolean): string {
  const url = `/auth/connect?callback_port=${port}&amp;code=${escapeHtml(code)}`
  const refresh = again ? `<meta http-equiv="refresh" content="2;url=${url}">\n` : ''
  const hint = again
    ? '<p>This page goes on by itself once you are logged in.</p>'
    : `<p>Still not logged in. <a href="${url}">Try again</a>, or start the login in your terminal anew.</p>`
  const body = `<h1>OpenShell</h1>
<p>Authenticating...</p>
<p class="code">${escapeHtml(code)}</p>
${hint}`
  return document('OpenShell — Authenticating', refresh, body)
}

/** The answer to a code that no command line tool makes up. */
export function invalidCodePage(): string {
  return document('OpenShell — Invalid code', '', '<h1>OpenShell</h1>\n<p>Invalid confirmation code format.</p>')
}
