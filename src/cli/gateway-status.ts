import { errorText, GRPC_CODES } from '../base/errors.ts'
import { openSession } from '../client/channel.ts'
import { CLIENT_EXITS, ClientFailure } from '../client/failure.ts'
import { CallFailed } from '../client/grpc-stream.ts'
import { askHealth } from '../client/health.ts'
import { callMethod, findMethod, requestFromText } from '../client/json-call.ts'
import { authModeOf } from '../client/registration.ts'
import type { Target } from '../client/target.ts'
import { LIMITS } from '../limits.ts'
import { codeName, runClient } from './client-command.ts'
import { CLIENT_FLAGS, clientContext, OUTPUT_FLAG, targetFrom } from './client-flags.ts'
import { renderFields, renderJson } from './client-io.ts'
import { defineGatewayCommand } from './command.ts'

/** What the gateway thinks of the caller. */
interface Verdict {
  readonly access: 'granted' | 'denied' | 'rejected' | 'unverified' | 'not signed in'
  readonly reason: string | null
  readonly exitCode: number
}

const isOf = (error: unknown, code: keyof typeof GRPC_CODES): error is CallFailed =>
  error instanceof CallFailed && error.code === GRPC_CODES[code]

/** Asks for something that needs a proof: `Health` does not, so it says nothing about a token (spec/client.md §10.4). */
async function verdictOf(target: Target): Promise<Verdict> {
  try {
    const headers = await target.credential.headers()
    await listOne(target, headers)
    return { access: 'granted', reason: null, exitCode: 0 }
  } catch (error) {
    if (isOf(error, 'PERMISSION_DENIED')) return { access: 'denied', reason: error.message, exitCode: 0 }
    if (isOf(error, 'UNAUTHENTICATED'))
      return { access: 'rejected', reason: error.message, exitCode: CLIENT_EXITS['sign-in'].code }
    if (error instanceof CallFailed)
      return { access: 'unverified', reason: `${codeName(error.code)}: ${error.message}`, exitCode: 0 }
    if (error instanceof ClientFailure && (error.kind === 'sign-in' || error.kind === 'issuer'))
      return { access: 'not signed in', reason: error.message, exitCode: error.exitCode }
    throw error
  }
}

async function listOne(target: Target, headers: Readonly<Record<string, string>>): Promise<void> {
  const method = findMethod('ListSandboxes')!
  const session = await openSession(target.endpoint)
  try {
    const request = requestFromText(method, '{"limit":1}')
    for await (const _answer of callMethod(session, method, request, headers, LIMITS.healthCheckMs));
  } finally {
    session.destroy()
  }
}

type Facts = readonly (readonly [label: string, key: string, value: string | null])[]

const printed = (facts: Facts, output: string): string =>
  output === 'json'
    ? renderJson(Object.fromEntries(facts.map(([, key, value]) => [key, value])))
    : `Gateway Status\n${renderFields(facts.filter(([, , value]) => value !== null).map(([label, , value]) => [label, value ?? '']))}`

/** `gateway status`: 0 when it answers and takes the token. */
export const command = defineGatewayCommand({
  flags: [...CLIENT_FLAGS, OUTPUT_FLAG],
  run: (values, io) =>
    runClient(io, async () => {
      const { registry } = clientContext(io)
      const output = values.text('output')
      const isAny = values.optional('gateway-endpoint') ?? values.optional('gateway') ?? registry.active()
      if (isAny === null) {
        await io.out(output === 'json' ? renderJson({ gateway: null }) : 'Gateway Status\n  No gateway configured.\n')
        return 0
      }
      const target = targetFrom(values, io)
      const registered = target.gateway === null ? null : registry.find(target.gateway)
      const base: Facts = [
        ['Gateway', 'gateway', target.gateway],
        ['Server', 'endpoint', target.endpoint.url.origin],
        ['Auth', 'auth', registered ? authModeOf(registered.registration) : null],
      ]
      try {
        const version = await askHealth(target.endpoint)
        const { access, reason, exitCode } = await verdictOf(target)
        const facts: Facts = [
          ...base,
          ['Status', 'status', 'Connected'],
          ['Version', 'version', version],
          ['Access', 'access', access],
          ['Reason', 'reason', reason],
        ]
        await io.out(printed(facts, output))
        return exitCode
      } catch (error) {
        if (!(error instanceof ClientFailure || error instanceof CallFailed)) throw error
        await io.out(
          printed([...base, ['Status', 'status', 'Disconnected'], ['Error', 'error', errorText(error)]], output),
        )
        return error instanceof ClientFailure ? error.exitCode : CLIENT_EXITS.unreachable.code
      }
    }),
})
