import { randomInt, randomUUID } from 'node:crypto'
import type { Clock } from '../base/clock.ts'
import { errorText, GatewayError } from '../base/errors.ts'
import { randomLetters } from '../domain/names.ts'
import { createViolation, dangerousKeys, mergeProvider, redact, references } from '../domain/provider.ts'
import type { CredentialsDriver } from '../drivers/contract.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import type { Handlers } from '../rpc/handlers.ts'
import { CLEAR_TEXT } from '../store/sealing.ts'
import { type Store, StoreConflict } from '../store/store.ts'
import { amend, codec } from '../wire/codec.ts'
import { readMap } from '../wire/maps.ts'
import type { Provider } from '../wire/messages.generated.ts'
import { spliceField } from '../wire/splice.ts'
import { gatherPage } from './pages.ts'
import { createProviderCodec, type ProviderCodec } from './provider-codec.ts'
import { SANDBOX_TEXTS, unknownCredential } from './sandbox-texts.ts'
import { storeError, storing } from './store-errors.ts'

const RANDOM_NAME_LETTERS = 6

export interface ProvidersDeps {
  readonly store: Store
  readonly clock: Clock
  readonly log: Logger
  /** Null = none is configured. */
  readonly credentials: CredentialsDriver | null
  /** How credential values are kept at rest; as they are unless told otherwise. */
  readonly records?: ProviderCodec
  /** Runs after a provider was created, changed or deleted, to forget what was derived from it. */
  readonly onChange?: (name: string) => void
}

/** CreateProvider, GetProvider, ListProviders, UpdateProvider and DeleteProvider (spec/providers.md §3 to §6). */
export function createProvidersService(deps: ProvidersDeps): Handlers {
  const { store, log } = deps
  const providers = codec('openshell.datamodel.v1.Provider')
  const records = deps.records ?? createProviderCodec(CLEAR_TEXT)
  const answer = (provider: Provider) => ({ provider: redact(provider) })
  const checkReferences = createReferenceCheck(deps)

  /** Id and time are ours whatever the client sent (decision 21, W2). */
  const fresh = (sent: Provider): Provider =>
    providers.decode(
      providers.encode(
        amend(sent, {
          metadata: {
            id: randomUUID(),
            name: sent.metadata?.name || randomLetters(RANDOM_NAME_LETTERS, randomInt),
            created_at_ms: BigInt(deps.clock.nowMs()),
            labels: sent.metadata?.labels ?? {},
          },
        }),
      ),
    )

  const warnOfKeys = (name: string, credentials: ReadonlyMap<string, string>) => {
    const keys = dangerousKeys(credentials)
    if (keys.length > 0) log.warn('provider sets variables that change how programs run', { provider: name, keys })
  }

  const changed = (name: string) => deps.onChange?.(name)

  /** A record of that name, readable, makes ALREADY_EXISTS; one that cannot be read is damaged (spec/providers.md §4). */
  const refuseTaken = async (name: string) => {
    const row = await storing('fetch provider', () => store.getByName('provider', name))
    if (!row) return
    await storing('fetch provider', async () => providers.decode(row.payload))
    throw new GatewayError('ALREADY_EXISTS', SANDBOX_TEXTS.providerExists)
  }

  return {
    async CreateProvider(request) {
      if (!request.provider) throw new GatewayError('INVALID_ARGUMENT', SANDBOX_TEXTS.providerRequired)
      const provider = fresh(request.provider)
      const violation = createViolation(provider)
      if (violation) throw new GatewayError('INVALID_ARGUMENT', violation)
      const { id, name } = provider.metadata!
      await refuseTaken(name)
      const credentials = readMap(provider.credentials)
      await checkReferences(name, credentials)
      const labels = readMap(provider.metadata!.labels)
      await storing('persist provider', () => insert(store, { id, name, payload: records.encode(provider), labels }))
      warnOfKeys(name, credentials)
      changed(name)
      return answer(provider)
    },
    async GetProvider({ name }) {
      if (name === '') throw new GatewayError('INVALID_ARGUMENT', SANDBOX_TEXTS.nameRequired)
      const provider = await storing('fetch provider', async () => {
        const row = await store.getByName('provider', name)
        return row && providers.decode(row.payload)
      })
      if (!provider) throw new GatewayError('NOT_FOUND', SANDBOX_TEXTS.providerNotFound)
      return answer(provider)
    },
    async ListProviders(request, context) {
      const page = await storing('list providers', () =>
        gatherPage(
          { limit: request.limit, offset: request.offset, mostBytes: LIMITS.providerPageBytes },
          slice => store.list('provider', slice),
          ({ payload }) => {
            const encoded = providers.encode(redact(providers.decode(payload)))
            return { bytes: encoded.length, encoded }
          },
        ),
      )
      if (page.damaged > 0 && page.items.length === 0) throw storeError('decode provider', page.firstFault)
      if (page.damaged > 0)
        context.log.warn('damaged provider records left out of a list', {
          count: page.damaged,
          cause: errorText(page.firstFault),
        })
      return spliceField(
        1,
        page.items.map(({ encoded }) => [encoded]),
      )
    },
    async UpdateProvider({ provider: update }) {
      if (!update) throw new GatewayError('INVALID_ARGUMENT', SANDBOX_TEXTS.providerRequired)
      const name = update.metadata?.name ?? ''
      if (name === '') throw new GatewayError('INVALID_ARGUMENT', SANDBOX_TEXTS.providerNameRequired)
      const merge = (payload: Uint8Array): Provider => {
        const merged = mergeProvider(records.decode(payload), update)
        if (!merged.ok) throw new GatewayError('INVALID_ARGUMENT', merged.violation)
        return merged.provider
      }
      // Once outside a transaction, because a look at the credentials driver may follow.
      const before = await storing('fetch provider', () => store.getByName('provider', name))
      if (!before) throw new GatewayError('NOT_FOUND', SANDBOX_TEXTS.providerNotFound)
      await storing('fetch provider', async () => merge(before.payload))
      await checkReferences(name, readMap(update.credentials))
      const provider = await storing('persist provider', () =>
        updateByName(store, name, payload => {
          const merged = merge(payload)
          return [merged, records.encode(merged)]
        }),
      )
      warnOfKeys(name, readMap(update.credentials))
      changed(name)
      return answer(provider)
    },
    async DeleteProvider({ name }) {
      if (name === '') throw new GatewayError('INVALID_ARGUMENT', SANDBOX_TEXTS.nameRequired)
      const deleted = await storing('delete provider', () =>
        store.transaction(async tx => {
          const row = await tx.getByName('provider', name)
          return row !== null && (await tx.delete('provider', row.id))
        }),
      )
      if (deleted) changed(name)
      return { deleted }
    },
  }
}

interface NewProvider {
  readonly id: string
  readonly name: string
  readonly payload: Uint8Array
  readonly labels: ReadonlyMap<string, string>
}

async function insert(store: Store, provider: NewProvider): Promise<void> {
  try {
    await store.transaction(tx => tx.insert({ type: 'provider', ...provider }))
  } catch (error) {
    if (error instanceof StoreConflict && error.what === 'name')
      throw new GatewayError('ALREADY_EXISTS', SANDBOX_TEXTS.providerExists)
    throw error
  }
}

const UPDATE_TRIES = 5

/** Reads and writes in one transaction, so that no rotation that was answered is lost (W4). */
async function updateByName(
  store: Store,
  name: string,
  change: (payload: Uint8Array) => [Provider, Uint8Array],
): Promise<Provider> {
  for (let tries = 1; ; tries++) {
    try {
      return await store.transaction(async tx => {
        const row = await tx.getByName('provider', name)
        if (!row) throw new GatewayError('NOT_FOUND', SANDBOX_TEXTS.providerNotFound)
        const [provider, payload] = change(row.payload)
        await tx.update(row, payload)
        return provider
      })
    } catch (error) {
      if (!(error instanceof StoreConflict && error.what === 'changed') || tries === UPDATE_TRIES) throw error
    }
  }
}

/**
 * Refuses references to credentials that do not exist (decision 4, spec/providers.md §14.4): without a driver all of
 * them, otherwise those it does not list. A driver that is away is no reason to refuse.
 */
function createReferenceCheck({ credentials: driver, log }: ProvidersDeps) {
  return async (provider: string, credentials: ReadonlyMap<string, string>): Promise<void> => {
    const wanted = references(credentials)
    if (wanted.size === 0) return
    if (!driver) throw new GatewayError('FAILED_PRECONDITION', SANDBOX_TEXTS.noCredentialsDriver)
    let known: Set<string>
    try {
      known = new Set((await driver.list()).map(({ name }) => name))
    } catch (error) {
      log.warn('credential references accepted unchecked, the credentials driver is away', {
        provider,
        cause: errorText(error),
      })
      return
    }
    for (const [key, name] of wanted)
      if (!known.has(name)) throw new GatewayError('INVALID_ARGUMENT', unknownCredential(key, name))
  }
}
