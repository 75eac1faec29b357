import { LIMITS } from '../limits.ts'
import { readMap } from '../wire/maps.ts'
import type { Provider } from '../wire/messages.generated.ts'
import { PROFILES, type Profile, profileName } from './inference-profiles.ts'
import { lengthViolation } from './sizes.ts'

/** Routes to models: their names, arguments, and what a provider makes of them (spec/providers.md §9 to §12). Pure. */

export const USER_ROUTE = 'inference.local'
export const SYSTEM_ROUTE = 'sandbox-system'
/** Every route, in the order of the bundle. */
export const ROUTES = [USER_ROUTE, SYSTEM_ROUTE] as const

export type Judged<T> = { readonly value: T } | { readonly violation: string }

/** The canonical name of a route (spec/providers.md §9.1). */
export function parseRouteName(sent: string): Judged<string> {
  const name = sent.trim()
  if (name === '' || name === USER_ROUTE) return { value: USER_ROUTE }
  if (name === SYSTEM_ROUTE) return { value: SYSTEM_ROUTE }
  return { violation: `unknown route_name '${name}'; expected '${USER_ROUTE}' or '${SYSTEM_ROUTE}'` }
}

export interface RouteArguments {
  readonly providerName: string
  readonly modelId: string
  readonly timeoutSecs: bigint
}

/**
 * Measured, the model trimmed (W14). A provider's name is taken as it is: names have no blanks around them, so one
 * that has finds no provider, as in the reference.
 */
export function parseArguments(sent: {
  readonly provider_name: string
  readonly model_id: string
  readonly timeout_secs: bigint
}): Judged<RouteArguments> {
  const providerName = sent.provider_name
  const modelId = sent.model_id.trim()
  if (providerName.trim() === '') return { violation: 'provider_name is required' }
  if (modelId === '') return { violation: 'model_id is required' }
  const long =
    lengthViolation('provider_name', providerName, LIMITS.nameBytes) ??
    lengthViolation('model_id', modelId, LIMITS.inferenceModelBytes)
  if (long) return { violation: long }
  if (sent.timeout_secs > BigInt(LIMITS.inferenceTimeoutMostSecs))
    return { violation: `timeout_secs exceeds maximum (${sent.timeout_secs} > ${LIMITS.inferenceTimeoutMostSecs})` }
  return { value: { providerName, modelId, timeoutSecs: sent.timeout_secs } }
}

/** A provider as a route uses it. `apiKey` is as stored: it may be a reference to the credentials driver. */
export interface ResolvedProvider {
  readonly type: string
  readonly profile: Profile
  readonly baseUrl: string
  readonly apiKey: string
}

/** What a provider offers to a route, or why it cannot serve one (spec/providers.md §10.1, W16). */
export function resolveProvider(name: string, provider: Provider): Judged<ResolvedProvider> {
  const type = profileName(provider.type)
  const profile = PROFILES.get(type)
  if (!profile)
    return {
      violation: `provider '${name}' has unsupported type '${type}' for cluster inference (supported: ${[...PROFILES.keys()].join(', ')})`,
    }
  const credentials = readMap(provider.credentials)
  const own = credentials.get(profile.keyName)
  const only = credentials.size === 1 ? [...credentials.values()][0] : undefined
  const apiKey = [own, only].find(value => value !== undefined && value.trim() !== '')
  if (apiKey === undefined) return { violation: `provider '${name}' has no usable API key credential` }
  const configured = readMap(provider.config).get(profile.baseUrlName)?.trim()
  return { value: { type, profile, baseUrl: configured || profile.baseUrl, apiKey } }
}

/** Base URL and path as text: trailing slashes go, a doubled `/v1` is written once (spec/providers.md §11.1). */
export function joinUrl(base: string, path: string): string {
  let end = base.length
  while (end > 0 && base[end - 1] === '/') end--
  const trimmed = base.slice(0, end)
  const rest = trimmed.endsWith('/v1') && (path === '/v1' || path.startsWith('/v1/')) ? path.slice('/v1'.length) : path
  return `${trimmed}${rest}`
}
