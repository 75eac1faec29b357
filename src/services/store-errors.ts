import { errorText, GatewayError } from '../base/errors.ts'
import { StoreFailure } from '../store/store.ts'
import { WireError } from '../wire/codec.ts'
import { SealedRecord } from './provider-codec.ts'

/**
 * What a client sees of a store that could not answer: UNAVAILABLE while the database is away, busy or full (S-03),
 * INTERNAL `<what> failed` when what it holds is damaged. The cause goes to the log only (storage W14). Anything
 * that is not the store's comes back as it is.
 */
export function storeError(what: string, error: unknown): unknown {
  if (error instanceof StoreFailure)
    return error.kind === 'unavailable'
      ? new GatewayError('UNAVAILABLE', 'storage unavailable', { cause: error })
      : new GatewayError('INTERNAL', `${what} failed: the database is ${error.kind}`, { cause: error })
  if (error instanceof SealedRecord)
    return new GatewayError('INTERNAL', `${what} failed: ${error.message}`, { cause: error })
  if (error instanceof WireError)
    return new GatewayError('INTERNAL', `${what} failed: the stored record is damaged (${errorText(error)})`, {
      cause: error,
    })
  return error
}

/** Whether the database is away, busy or full, and said nothing about what was asked for. */
export const isStoreAway = ({ cause }: GatewayError): boolean =>
  cause instanceof StoreFailure && cause.kind === 'unavailable'

/** Runs store work; `what` names it in the text of a failure, such as `fetch sandbox`. */
export async function storing<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw storeError(what, error)
  }
}
