import { GatewayError } from '../base/errors.ts'
import { RELAY_TEXTS } from '../domain/relay-texts.ts'
import { StoreFailure } from '../store/store.ts'

/** What the store answers, its failures as the status a caller sees; their text stays in the log (W14). */
export async function fromStore<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (error) {
    if (!(error instanceof StoreFailure)) throw error
    throw error.kind === 'unavailable'
      ? new GatewayError('UNAVAILABLE', RELAY_TEXTS.storageUnavailable, { cause: error })
      : new GatewayError('INTERNAL', 'stored data is damaged', { cause: error })
  }
}
