import { LIMITS } from '../limits.ts'
import { readBounded } from './bounded-body.ts'
import { type Endpoint, openSession } from './channel.ts'
import { ClientFailure } from './failure.ts'
import { callMethod, findMethod } from './json-call.ts'

/** Asks a gateway by gRPC how it is; the version it names. Rejects with a `ClientFailure` or `CallFailed`. */
export async function askHealth(endpoint: Endpoint, headers: Readonly<Record<string, string>> = {}): Promise<string> {
  const method = findMethod('Health')!
  const session = await openSession(endpoint)
  try {
    let answer: Record<string, unknown> = {}
    for await (const message of callMethod(session, method, Buffer.alloc(0), headers, LIMITS.healthCheckMs))
      answer = message
    return String(answer['version'] ?? '')
  } finally {
    session.destroy()
  }
}

/** Asks `/readyz` of a health port; the body when it is ready. Rejects with a `ClientFailure` that names what is missing. */
export async function askReady(url: URL): Promise<string> {
  const where = new URL('/readyz', url)
  const { status, text } = await getText(where)
  if (status !== 200) throw new ClientFailure('failed', `not ready (${status}): ${text}`)
  return text
}

async function getText(where: URL): Promise<{ readonly status: number; readonly text: string }> {
  try {
    // Never through a proxy: a health port is on this machine or in its network.
    const straight = { proxy: false } as object
    const signal = AbortSignal.timeout(LIMITS.healthCheckMs)
    const response = await fetch(where, { redirect: 'manual', signal, ...straight })
    const body = await readBounded(response, LIMITS.signInAnswerBytes)
    return { status: response.status, text: body === 'too large' ? body : Buffer.from(body).toString('utf8').trim() }
  } catch (error) {
    throw new ClientFailure('unreachable', `${where.href} does not answer`, { cause: error })
  }
}
