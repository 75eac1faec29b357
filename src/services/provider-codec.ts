import { type CredentialSealer, isSealed, SealError } from '../store/sealing.ts'
import { amend, codec, WireError } from '../wire/codec.ts'
import { readMap, writeMap } from '../wire/maps.ts'
import type { Provider } from '../wire/messages.generated.ts'

const PROVIDER = codec('openshell.datamodel.v1.Provider')

/** Stored provider records with their credential values in clear; what redacts them anyway reads the plain codec. */
export interface ProviderCodec {
  /** Throws `WireError` for a damaged record, `SealedRecord` for one with a value that no key opens. */
  decode(payload: Uint8Array): Provider
  encode(provider: Provider): Buffer
}

/** A record that is whole but cannot be used without another key file. */
export class SealedRecord extends WireError {}

const about = (provider: Provider, key: string): string => `provider/${provider.metadata?.id ?? ''}/${key}`

/** The codec that seals values on their way into the store and opens them on their way out. */
export function createProviderCodec(sealer: CredentialSealer): ProviderCodec {
  const each = (provider: Provider, change: (value: string, about: string) => string): Provider =>
    amend(provider, {
      credentials: writeMap(
        [...readMap(provider.credentials)].map(([key, value]) => [key, change(value, about(provider, key))]),
      ),
    })
  return {
    decode(payload) {
      const provider = PROVIDER.decode(payload)
      if (![...readMap(provider.credentials).values()].some(isSealed)) return provider
      try {
        return each(provider, sealer.open)
      } catch (error) {
        throw error instanceof SealError ? new SealedRecord(error.message) : error
      }
    },
    encode: provider => PROVIDER.encode(each(provider, sealer.seal)),
  }
}
