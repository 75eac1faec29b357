import type { Handlers } from '../rpc/handlers.ts'
import { ServiceStatus } from '../wire/messages.generated.ts'

export interface HealthDeps {
  /** The string that `--version` prints. */
  readonly version: string
  /** Whether the gateway can serve everything; absent = always. */
  readonly isWhole?: () => boolean
}

/** Health: HEALTHY as long as calls are served, DEGRADED while a part is away (spec/gateway.md §8). Never waits. */
export function createHealthService(deps: HealthDeps): Handlers {
  return {
    async Health() {
      const isWhole = deps.isWhole?.() ?? true
      const status = isWhole ? ServiceStatus.SERVICE_STATUS_HEALTHY : ServiceStatus.SERVICE_STATUS_DEGRADED
      return { status, version: deps.version }
    },
  }
}
