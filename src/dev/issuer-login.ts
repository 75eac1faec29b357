import type { IncomingMessage, ServerResponse } from 'node:http'
import type Provider from 'oidc-provider'
import { grantAll } from './issuer-grant.ts'
import { findUser, REALM } from './realm.ts'

const FORM_BYTES = 4096

/** The login page of the development issuer: one form, plain HTML; whoever logs in consents to what the client asked for. */
export async function answerLogin(
  provider: Provider,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const details = await provider.interactionDetails(request, response)
    const signedIn = details.session?.accountId
    if (details.prompt.name === 'consent' && signedIn) return await finish(provider, request, response, signedIn)
    if (request.method !== 'POST') return page(response, 200, details.uid)
    const form = new URLSearchParams(await readForm(request))
    if (form.has('cancel'))
      return await provider.interactionFinished(request, response, {
        error: 'access_denied',
        error_description: 'the person said no',
      })
    const user = findUser(form.get('username') ?? '')
    if (!user || user.password !== form.get('password'))
      return page(response, 401, details.uid, 'Wrong user name or password.')
    await finish(provider, request, response, user.name)
  } catch {
    page(response, 400, null, 'This login has expired. Go back to the terminal and start again.')
  }
}

async function finish(
  provider: Provider,
  request: IncomingMessage,
  response: ServerResponse,
  accountId: string,
): Promise<void> {
  const { params } = await provider.interactionDetails(request, response)
  const grantId = await grantAll(provider, accountId, String(params['client_id']), String(params['scope'] ?? ''))
  await provider.interactionFinished(request, response, { login: { accountId }, consent: { grantId } })
}

async function readForm(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of request) {
    text += chunk
    if (text.length > FORM_BYTES) throw new Error('form too large')
  }
  return text
}

function page(response: ServerResponse, status: number, uid: string | null, problem?: string): void {
  const hints = REALM.users.map(user => `<li><code>${user.name}</code> / <code>${user.password}</code></li>`).join('')
  const form = uid
    ? `<form method="post" action="/interaction/${uid}">
<label>User <input name="username" autocomplete="username" autofocus required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button type="submit">Sign in</button> <button name="cancel" value="1" formnovalidate>Cancel</button>
</form><p>Users of this development issuer:</p><ul>${hints}</ul>`
    : ''
  response.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
  })
  response.end(`<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>OpenShell development sign-in</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:24rem;margin:3rem auto;padding:0 1rem}label{display:block;margin:.75rem 0}input{display:block;width:100%;font:inherit;padding:.4rem;box-sizing:border-box}button{font:inherit;padding:.4rem 1rem}[role=alert]{color:#a40000}</style>
<h1>Sign in</h1>${problem ? `<p role="alert">${problem}</p>` : ''}${form}`)
}
