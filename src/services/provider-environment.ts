import { requireSandbox } from '../auth/sandbox-binding.ts'
import { errorText, GatewayError } from '../base/errors.ts'
import { POLICY_TEXTS } from '../domain/policy-texts.ts'
import { credentialReference, isEnvName } from '../domain/provider.ts'
import { LIMITS } from '../limits.ts'
import type { Credentials } from '../live/credentials.ts'
import { describe } from '../observe/audit.ts'
import type { Logger } from '../observe/log.ts'
import type { CallContext } from '../rpc/context.ts'
import type { Handlers } from '../rpc/handlers.ts'
import type { Store } from '../store/store.ts'
import { WireError } from '../wire/codec.ts'
import { readMap, writeMap } from '../wire/maps.ts'
import type { Provider } from '../wire/messages.generated.ts'
import type { ProviderCodec } from './provider-codec.ts'
import { sandboxById } from './sandbox-lookup.ts'
import { storing } from './store-errors.ts'

export interface ProviderEnvironmentDeps {
  readonly store: Store
  readonly providers: ProviderCodec
  readonly credentials: Credentials
  readonly log: Logger
}

/** Where the value of one variable comes from. */
interface Source {
  readonly provider: string
  readonly value: string
}

/**
 * GetSandboxProviderEnvironment: the credentials of the providers a sandbox attached, the first provider of a key wins
 * (spec/providers.md §8.2). A provider that is gone or unreadable, or a credential that the driver cannot resolve,
 * costs its own keys and no others (W9, §14.4); what a reference stands for is never replaced by anything else.
 */
export function createProviderEnvironmentService(
  deps: ProviderEnvironmentDeps,
): Pick<Handlers, 'GetSandboxProviderEnvironment'> {
  return {
    async GetSandboxProviderEnvironment({ sandbox_id }, context) {
      requireSandbox(context.principal, sandbox_id)
      const { sandbox } = await storing('fetch sandbox', () => sandboxById(deps.store, sandbox_id))
      if (!sandbox.spec) throw new GatewayError('INTERNAL', POLICY_TEXTS.noSpec)
      const names = [...new Set(sandbox.spec.providers)]
      const sources = await gather(deps, names, sandbox_id)
      const environment = await fill(deps, sources, sandbox_id, context)
      deps.log.info('provider environment delivered', {
        sandbox_id,
        providers: names.length,
        variables: environment.size,
        ...describe(context.principal),
      })
      return { environment: writeMap(environment) }
    },
  }
}

/** Variables of all providers, in order of attachment. */
async function gather(
  deps: ProviderEnvironmentDeps,
  names: readonly string[],
  sandboxId: string,
): Promise<Map<string, Source>> {
  const sources = new Map<string, Source>()
  for (const name of names) {
    const provider = await readProvider(deps, name, sandboxId)
    if (!provider) continue
    const unfit: string[] = []
    for (const [key, value] of readMap(provider.credentials)) {
      if (!isEnvName(key)) unfit.push(key)
      else if (!sources.has(key)) sources.set(key, { provider: name, value })
    }
    if (unfit.length > 0)
      deps.log.warn('credentials left out: their keys are no names of variables', {
        sandbox: sandboxId,
        provider: name,
        keys: unfit,
      })
  }
  return sources
}

async function readProvider(deps: ProviderEnvironmentDeps, name: string, sandboxId: string): Promise<Provider | null> {
  const row = await storing(`fetch provider '${name}'`, () => deps.store.getByName('provider', name))
  try {
    if (row) return deps.providers.decode(row.payload)
    deps.log.warn('an attached provider is gone, its credentials are not delivered', {
      sandbox: sandboxId,
      provider: name,
    })
  } catch (error) {
    if (!(error instanceof WireError)) throw error
    deps.log.error('an attached provider cannot be read', {
      sandbox: sandboxId,
      provider: name,
      cause: errorText(error),
    })
  }
  return null
}

/** Values as they are, references resolved; several at a time, bounded. */
async function fill(
  deps: ProviderEnvironmentDeps,
  sources: ReadonlyMap<string, Source>,
  sandboxId: string,
  context: CallContext,
): Promise<Map<string, string>> {
  const values = new Map<string, string | null>()
  const wanted: { key: string; name: string; provider: string }[] = []
  for (const [key, { value, provider }] of sources) {
    const name = credentialReference(value)
    values.set(key, name === null ? value : null)
    if (name !== null && wanted.length < LIMITS.credentialReferences) wanted.push({ key, name, provider })
  }
  const work = wanted[Symbol.iterator]()
  const worker = async () => {
    for (const { key, name, provider } of work) {
      const about = { sandbox: sandboxId, provider, key, credential: name }
      try {
        values.set(key, (await deps.credentials.resolve(name, context.signal)).reveal())
        deps.log.info('credential disclosed', { ...about, ...describe(context.principal) })
      } catch (error) {
        if (!(error instanceof GatewayError)) throw error
        deps.log.warn('credential left out of a sandbox environment', { ...about, code: error.kind })
      }
    }
  }
  await Promise.all(Array.from({ length: LIMITS.credentialsParallel }, worker))
  return new Map([...values].filter((entry): entry is [string, string] => entry[1] !== null))
}
