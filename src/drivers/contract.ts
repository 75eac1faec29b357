import type { ErrorKind } from '../base/errors.ts'
import type { Secret } from '../base/secret.ts'
import type { Init } from '../wire/codec.ts'
import type { ComputeDriverSandbox, ComputeWatchSandboxesEvent } from '../wire/messages.generated.ts'

/** What a driver answered, or that it could not: `kind` is its gRPC code. Its text is for the log; spec/sandbox.md §16 says which of it a client may see. */
export class DriverError extends Error {
  override readonly name = 'DriverError'
  readonly kind: ErrorKind
  /** False when the call surely never reached the driver. */
  readonly mayHaveHappened: boolean

  constructor(kind: ErrorKind, message: string, mayHaveHappened: boolean, options?: { cause?: unknown }) {
    super(message, options)
    this.kind = kind
    this.mayHaveHappened = mayHaveHappened
  }
}

export type DriverState =
  | { readonly status: 'ready' }
  /** `reason` is one sentence for logs and readiness: what is missing and what to look at. */
  | { readonly status: 'unavailable'; readonly reason: string }

export interface CallOptions {
  readonly signal?: AbortSignal
  /** Shortens the deadline of limits.ts; never lengthens it. */
  readonly timeoutMs?: number
}

export interface DriverCapabilities {
  readonly driverName: string
  readonly driverVersion: string
  readonly defaultImage: string
  readonly supportsGpu: boolean
}

/** The compute driver (spec/sandbox.md §11). Every call has a deadline; failures are `DriverError`. */
export interface ComputeDriver {
  readonly state: DriverState
  /** As answered last; null until the driver answered once. */
  readonly capabilities: DriverCapabilities | null
  validateSandboxCreate(sandbox: Init<ComputeDriverSandbox>, options?: CallOptions): Promise<void>
  createSandbox(sandbox: Init<ComputeDriverSandbox>, options?: CallOptions): Promise<void>
  /** Null for NOT_FOUND, which alone never proves that the sandbox is gone (spec/drivers.md §1). */
  getSandbox(id: string, name: string, options?: CallOptions): Promise<ComputeDriverSandbox | null>
  listSandboxes(options?: CallOptions): Promise<ComputeDriverSandbox[]>
  /** The driver's `deleted` flag. */
  deleteSandbox(id: string, name: string, options?: CallOptions): Promise<boolean>
  /**
   * Keeps a watch open for ever, reopening it. `onOpened` runs after each (re)open so that the caller can list: deletes
   * in the gap are never reported. `onEvent` is awaited: a slow consumer slows the stream.
   */
  watch(consumer: ComputeWatchConsumer): { close(): void }
  /** Starts connecting; resolves when the driver answered GetCapabilities, or rejects with a StartError (decision 15). */
  start(): Promise<void>
  close(): Promise<void>
}

export interface ComputeWatchConsumer {
  onOpened(): void
  onEvent(event: ComputeWatchSandboxesEvent): Promise<void>
}

export interface ResolvedCredential {
  readonly token: Secret
  /** Null when the driver gave none. */
  readonly expiresAtMs: number | null
  readonly tokenType: string
}

/** The credentials driver (spec/providers.md §14). No cache here; see `live/credentials.ts`. */
export interface CredentialsDriver {
  readonly state: DriverState
  resolve(name: string, options?: CallOptions): Promise<ResolvedCredential>
  list(options?: CallOptions): Promise<{ name: string; scopes: string[] }[]>
  start(): Promise<void>
  close(): Promise<void>
}
