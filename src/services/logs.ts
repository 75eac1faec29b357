import { GatewayError } from '../base/errors.ts'
import { createLogFilter } from '../domain/log-filter.ts'
import { LIMITS } from '../limits.ts'
import type { SandboxLogs, StoredLine } from '../live/sandbox-logs.ts'
import type { CallContext } from '../rpc/context.ts'
import type { Handlers } from '../rpc/handlers.ts'
import type { Store } from '../store/store.ts'
import { codec } from '../wire/codec.ts'
import { spliceField } from '../wire/splice.ts'
import { SANDBOX_TEXTS } from './sandbox-texts.ts'
import { storing } from './store-errors.ts'

/** Field number of `GetSandboxLogsResponse.logs`. */
const LOGS = 1

export interface LogsDeps {
  readonly store: Store
  readonly logs: SandboxLogs
}

/** GetSandboxLogs and PushSandboxLogs (spec/sandbox.md §6.2, W22). */
export function createLogsService({ store, logs }: LogsDeps): Handlers {
  /** Lets a stream of pushed lines begin, or go on after its tail was dropped: only for a sandbox that exists. */
  const admit = async (id: string, context: CallContext) => {
    const { principal } = context
    if (principal.kind === 'sandbox' && principal.sandboxId !== null && principal.sandboxId !== id)
      throw new GatewayError('PERMISSION_DENIED', SANDBOX_TEXTS.foreignSecret)
    if (!(await storing('fetch sandbox', () => store.get('sandbox', id))))
      throw new GatewayError('NOT_FOUND', SANDBOX_TEXTS.sandboxNotFound)
    logs.open(id)
  }

  return {
    async GetSandboxLogs(request) {
      if (request.sandbox_id === '') throw new GatewayError('INVALID_ARGUMENT', SANDBOX_TEXTS.sandboxIdRequired)
      const passes = createLogFilter({
        sinceMs: Number(request.since_ms),
        sources: request.sources,
        minLevel: request.min_level,
      })
      const window = logs.tail(request.sandbox_id, request.lines === 0 ? LIMITS.logLines : request.lines)
      const lines = newest(window.filter(passes))
      const total = codec('openshell.v1.GetSandboxLogsResponse').encode({ buffer_total: window.length })
      return Buffer.concat([
        spliceField(
          LOGS,
          lines.map(line => [line.encoded]),
        ),
        total,
      ])
    },
    async PushSandboxLogs(requests, context) {
      let bound: string | null = null
      for await (const { sandbox_id: id, logs: lines } of requests) {
        if (id === '') continue
        if (bound !== null && id !== bound)
          throw new GatewayError('INVALID_ARGUMENT', SANDBOX_TEXTS.oneSandboxPerStream)
        if (bound === null || !logs.has(id)) await admit(id, context)
        bound = id
        logs.push(id, lines.slice(0, LIMITS.pushBatchLines))
      }
      return {}
    },
  }
}

/** As many of the newest lines as fit into one answer, oldest first. */
function newest(lines: readonly StoredLine[]): readonly StoredLine[] {
  let bytes = 0
  for (let at = lines.length - 1; at >= 0; at--) {
    bytes += lines[at]!.bytes
    if (bytes > LIMITS.pageBytes) return lines.slice(at + 1)
  }
  return lines
}
