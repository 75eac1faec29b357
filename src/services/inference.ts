import type { Clock } from '../base/clock.ts'
import { errorText, GatewayError } from '../base/errors.ts'
import { bundleRevision } from '../domain/bundle-revision.ts'
import { PROBES } from '../domain/inference-profiles.ts'
import {
  type Judged,
  joinUrl,
  parseArguments,
  parseRouteName,
  type ResolvedProvider,
  ROUTES,
  resolveProvider,
} from '../domain/inference-route.ts'
import { judgeProbe, type ProbeFailure, type ProbeResult, verifyFailed } from '../domain/inference-verdict.ts'
import { credentialReference } from '../domain/provider.ts'
import { LIMITS } from '../limits.ts'
import type { Credentials } from '../live/credentials.ts'
import type { Probe } from '../live/inference-probe.ts'
import { describe } from '../observe/audit.ts'
import type { Logger } from '../observe/log.ts'
import type { CallContext } from '../rpc/context.ts'
import type { Handlers } from '../rpc/handlers.ts'
import type { Store, StoredObject, StoreReads, StoreTransaction } from '../store/store.ts'
import { codec } from '../wire/codec.ts'
import type { InferenceRoute, ResolvedRoute, ValidatedEndpoint } from '../wire/messages.generated.ts'
import type { Commit } from './commit.ts'
import type { ProviderCodec } from './provider-codec.ts'
import { isStoreAway, storing } from './store-errors.ts'

export interface InferenceServiceDeps {
  readonly store: Store
  readonly commit: Commit
  readonly providers: ProviderCodec
  readonly credentials: Credentials
  readonly probe: Probe
  /** `mock:` endpoints pass without network (decision 29). */
  readonly allowMock: boolean
  /** Keys the revision of the bundle: stable for the installation, known to nobody else (W17). */
  readonly revisionKey: string
  readonly clock: Clock
  readonly log: Logger
}

const ROUTE = codec('openshell.inference.v1.InferenceRoute')
const U64_MOST = 2n ** 64n - 1n

type InferenceRpc = 'SetClusterInference' | 'GetClusterInference' | 'GetInferenceBundle'

/** Which models sandboxes may call, and with whose key (spec/providers.md §9 to §12). */
export function createInferenceService(deps: InferenceServiceDeps): Pick<Handlers, InferenceRpc> {
  const disclosed = new Map<string, string>()
  const missing = new Map<string, string>()
  let probing = 0

  const verify = async (name: string, model: string, provider: ResolvedProvider, signal: AbortSignal) => {
    if (probing >= LIMITS.inferenceProbes)
      throw new GatewayError('RESOURCE_EXHAUSTED', 'too many endpoints are being verified')
    probing++
    try {
      return await verifyEndpoint(deps, name, model, provider, signal)
    } finally {
      probing--
    }
  }

  return {
    async SetClusterInference(request, { signal }) {
      const routeName = orInvalid(parseRouteName(request.route_name))
      const { providerName, modelId, timeoutSecs } = orInvalid(parseArguments(request))
      const provider = await storing('fetch provider', () => loadProvider(deps, deps.store, providerName))
      if (!provider) throw new GatewayError('FAILED_PRECONDITION', `provider '${providerName}' not found`)
      const resolved = orInvalid(provider)
      const validated = request.no_verify
        ? null
        : await verify(providerName, modelId, await withKey(deps, resolved, signal), signal)
      const version = await deps.commit('inference', 'fetch route', tx =>
        saveRoute(
          tx,
          routeName,
          { provider_name: providerName, model_id: modelId, timeout_secs: timeoutSecs },
          deps.clock.nowMs(),
        ),
      )
      return {
        provider_name: providerName,
        model_id: modelId,
        version,
        route_name: routeName,
        validation_performed: validated !== null,
        validated_endpoints: validated ? [validated] : [],
        timeout_secs: timeoutSecs,
      }
    },

    async GetClusterInference(request) {
      const routeName = orInvalid(parseRouteName(request.route_name))
      const route = await storing('fetch route', () => loadRoute(deps.store, routeName))
      if (!route)
        throw new GatewayError(
          'NOT_FOUND',
          `inference route '${routeName}' is not configured; run 'openshell inference set --provider <name> --model <id>'`,
        )
      if (!route.config) throw new GatewayError('INTERNAL', 'managed route missing config')
      const { provider_name, model_id, timeout_secs } = route.config
      if (provider_name.trim() === '' || model_id.trim() === '')
        throw new GatewayError('FAILED_PRECONDITION', 'managed route is missing provider/model metadata')
      return { provider_name, model_id, version: route.version, route_name: routeName, timeout_secs }
    },

    async GetInferenceBundle(_request, context) {
      const routes: ResolvedRoute[] = []
      for (const name of ROUTES) {
        const route = await resolveRoute(deps, name, missing, context)
        if (route) routes.push(route)
      }
      const revision = bundleRevision(routes, deps.revisionKey)
      auditBundle(deps, disclosed, routes, revision, context)
      return { routes, revision, generated_at_ms: deps.clock.nowMs() }
    },
  }
}

function orInvalid<T>(judged: Judged<T>): T {
  if ('violation' in judged) throw new GatewayError('INVALID_ARGUMENT', judged.violation)
  return judged.value
}

/** What a stored provider offers to a route; null when there is none of that name. */
async function loadProvider(
  deps: InferenceServiceDeps,
  from: StoreReads,
  name: string,
): Promise<Judged<ResolvedProvider> | null> {
  const row = await from.getByName('provider', name)
  return row && resolveProvider(name, deps.providers.decode(row.payload))
}

async function loadRoute(from: StoreReads, name: string): Promise<InferenceRoute | null> {
  const row = await from.getByName('inference_route', name)
  return row && ROUTE.decode(row.payload)
}

/** The provider with the token behind its key, when the driver holds it. */
async function withKey(
  deps: InferenceServiceDeps,
  provider: ResolvedProvider,
  signal: AbortSignal,
): Promise<ResolvedProvider> {
  const name = credentialReference(provider.apiKey)
  if (name === null) return provider
  return { ...provider, apiKey: (await deps.credentials.resolve(name, signal)).reveal() }
}

/** Inserts the route or raises its version, which stops at the largest number; the metadata stays. */
async function saveRoute(
  tx: StoreTransaction,
  name: string,
  config: { readonly provider_name: string; readonly model_id: string; readonly timeout_secs: bigint },
  nowMs: number,
): Promise<bigint> {
  const row: StoredObject | null = await tx.getByName('inference_route', name)
  if (!row) {
    const id = crypto.randomUUID()
    const payload = ROUTE.encode({ metadata: { id, name, created_at_ms: nowMs }, config, version: 1n })
    await tx.insert({ type: 'inference_route', id, name, payload })
    return 1n
  }
  const { metadata, version: before } = ROUTE.decode(row.payload)
  const version = before >= U64_MOST ? U64_MOST : before + 1n
  await tx.update(row, ROUTE.encode({ metadata: metadata ?? undefined, config, version }))
  return version
}

/** Asks the endpoint whether it serves the model; throws FAILED_PRECONDITION with what to do (spec/providers.md §11.1). */
async function verifyEndpoint(
  deps: InferenceServiceDeps,
  name: string,
  model: string,
  provider: ResolvedProvider,
  signal: AbortSignal,
): Promise<Partial<ValidatedEndpoint>> {
  const { profile, baseUrl, apiKey } = provider
  const plan = PROBES.find(one => profile.protocols.includes(one.protocol))!
  const url = joinUrl(baseUrl, plan.path)
  const ending = AbortSignal.any([signal, AbortSignal.timeout(LIMITS.inferenceProbeMs)])
  const auth =
    profile.auth === 'bearer' ? (['authorization', `Bearer ${apiKey}`] as const) : (['x-api-key', apiKey] as const)
  let failure: ProbeFailure | null = null
  for (const body of plan.bodies) {
    const request = { url, headers: [auth, ...profile.headers], body: JSON.stringify(body(model)), signal: ending }
    const result = baseUrl.startsWith('mock://') ? mocked(deps, url) : await deps.probe(request)
    if (signal.aborted) throw new GatewayError('CANCELLED', 'call cancelled')
    failure = judgeProbe(result)
    if (!failure) return { url, protocol: plan.protocol }
    if (!failure.isShape) break
  }
  throw new GatewayError('FAILED_PRECONDITION', verifyFailed({ provider: name, model, baseUrl, failure: failure! }))
}

const mocked = (deps: InferenceServiceDeps, url: string): ProbeResult =>
  deps.allowMock ? { kind: 'answer', status: 200, body: '' } : { kind: 'private', url }

/** One route of the bundle. A route that cannot be served is left out, whatever is wrong with it: the other one works on (W15). */
async function resolveRoute(
  deps: InferenceServiceDeps,
  name: string,
  missing: Map<string, string>,
  context: CallContext,
): Promise<ResolvedRoute | null> {
  try {
    const route = await storing('fetch route', () => loadRoute(deps.store, name))
    if (!route?.config) return null
    const { provider_name, model_id, timeout_secs } = route.config
    if (provider_name.trim() === '') throw leftOut(`route '${name}' is missing provider_name`)
    if (model_id.trim() === '') throw leftOut(`route '${name}' is missing model_id`)
    const judged = await storing('fetch provider', () => loadProvider(deps, deps.store, provider_name))
    if (!judged) throw leftOut(`configured provider '${provider_name}' was not found`)
    const provider = await withKey(deps, orInvalid(judged), context.signal)
    missing.delete(name)
    return {
      name,
      base_url: provider.baseUrl,
      protocols: [...provider.profile.protocols],
      api_key: provider.apiKey,
      model_id,
      provider_type: provider.type,
      timeout_secs,
    }
  } catch (error) {
    // A database that is away says nothing about a route: the supervisor keeps what it has.
    if (!(error instanceof GatewayError) || isStoreAway(error)) throw error
    // Supervisors ask every 5 s: one line for each reason.
    if (missing.get(name) !== error.publicText)
      context.log.warn('inference route left out of bundles', { route: name, reason: errorText(error) })
    missing.set(name, error.publicText)
    return null
  }
}

const leftOut = (text: string): GatewayError => new GatewayError('FAILED_PRECONDITION', text)

const WATCHED_CALLERS = 1024

/** One line for each caller and revision: supervisors ask every 5 s. Names the routes, never a key. */
function auditBundle(
  deps: InferenceServiceDeps,
  disclosed: Map<string, string>,
  routes: readonly ResolvedRoute[],
  revision: string,
  { principal }: CallContext,
): void {
  const caller = principal.kind === 'sandbox' ? (principal.sandboxId ?? principal.proof) : principal.kind
  if (routes.length === 0 || disclosed.get(caller) === revision) return
  if (disclosed.size >= WATCHED_CALLERS) disclosed.delete(disclosed.keys().next().value!)
  disclosed.set(caller, revision)
  deps.log.info('inference keys disclosed', { routes: routes.map(route => route.name), ...describe(principal) })
}
