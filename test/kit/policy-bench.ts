import { ANONYMOUS, type Principal } from '../../src/auth/principal.ts'
import { GatewayError } from '../../src/base/errors.ts'
import { createSandboxState } from '../../src/live/sandbox-state.ts'
import { createWatchBus } from '../../src/live/watch-bus.ts'
import type { CallContext } from '../../src/rpc/context.ts'
import type { Handlers } from '../../src/rpc/handlers.ts'
import { createCommit } from '../../src/services/commit.ts'
import { createDraftService } from '../../src/services/drafts.ts'
import { createPolicyService } from '../../src/services/policy.ts'
import { openStore } from '../../src/store/open.ts'
import { codec, type Init, methodsOf } from '../../src/wire/codec.ts'
import type { Rpcs, SandboxPolicy } from '../../src/wire/messages.generated.ts'
import { createCapturedLog } from './captured-log.ts'
import { createFakeClock } from './clock.ts'

const METHODS = [...methodsOf('openshell.v1.OpenShell'), ...methodsOf('openshell.inference.v1.Inference')]

/** The outcome of a call as a client sees it. */
export type Outcome<T> =
  | { readonly code: 'OK'; readonly response: T }
  | { readonly code: string; readonly details: string; readonly response?: never }

/** Asks handlers through the wire: request and response are encoded and decoded, errors become code and text. */
export function createCaller(handlers: Handlers, principal: () => Principal) {
  const log = createCapturedLog()
  return async <Name extends keyof Rpcs>(
    name: Name,
    request: Init<Rpcs[Name]['request']>,
  ): Promise<Outcome<Rpcs[Name]['response']>> => {
    const method = METHODS.find(one => one.name === name)!
    const sent = codec(method.request).decode(codec(method.request).encode(request as never))
    const context = {
      principal: principal(),
      log,
      signal: new AbortController().signal,
      deadlineMs: Number.POSITIVE_INFINITY,
    } as unknown as CallContext
    try {
      const handler = handlers[name] as (request: unknown, context: CallContext) => Promise<never>
      const reply = await handler(sent, context)
      const bytes = (reply as unknown) instanceof Uint8Array ? reply : codec(method.response).encode(reply)
      return { code: 'OK', response: codec(method.response).decode(bytes) as Rpcs[Name]['response'] }
    } catch (error) {
      if (error instanceof GatewayError) return { code: error.kind, details: error.publicText }
      throw error
    }
  }
}

/** Policy and draft services over a real store in memory, with what they told others. */
export async function createPolicyBench(options: { readonly url?: string } = {}) {
  const clock = createFakeClock()
  const log = createCapturedLog()
  const store = await openStore(options.url ?? 'sqlite::memory:', { clock, log })
  const bus = createWatchBus()
  const told: string[] = []
  const lines: string[] = []
  const nothing = { remove: () => {}, onLine: () => {} }
  const sandboxes = createSandboxState({ store, clock, log, bus, logs: nothing as never, events: nothing as never })
  const shared = {
    store,
    commit: createCommit(store),
    clock,
    log,
    notify: (id: string) => void told.push(id),
    auditLine: (_id: string, line: string) => void lines.push(line),
  }
  let principal: Principal = ANONYMOUS
  const handlers: Handlers = { ...createPolicyService({ ...shared, sandboxes }), ...createDraftService(shared) }
  const call = createCaller(handlers, () => principal)
  return {
    store,
    clock,
    log,
    told,
    lines,
    call,
    as(next: Principal) {
      principal = next
    },
    /** A sandbox record, as CreateSandbox leaves it. */
    async sandbox(name: string, policy: Init<SandboxPolicy> | null = null): Promise<string> {
      const id = crypto.randomUUID()
      const payload = codec('openshell.v1.Sandbox').encode({
        metadata: { id, name },
        spec: { policy: policy ?? undefined },
      })
      await store.transaction(tx => tx.insert({ type: 'sandbox', id, name, payload }))
      return id
    },
    close: () => store.close(),
  }
}
