import { LIMITS } from '../limits.ts'
import { amend } from '../wire/codec.ts'
import { readMap, writeMap } from '../wire/maps.ts'
import type { Provider } from '../wire/messages.generated.ts'
import { metaViolation } from './object-meta.ts'
import { lengthViolation, mapViolation } from './sizes.ts'

/** What every credential value reads as outside (spec/providers.md §6). */
export const REDACTED = 'REDACTED'

const ENV_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/
const NAME = /^[A-Za-z0-9._-]+$/
const NAME_FIRST = /^[A-Za-z0-9]$/
const NAME_LAST = /^[A-Za-z0-9_]$/
const REFERENCE = 'openshell:resolve:credential:'
const REFERENCE_NAME = /^[A-Za-z0-9._-]{1,128}$/

/** Variables that change how every program in the sandbox runs; allowed, but worth a warning (W7). */
const DANGEROUS = new Set([
  'PATH',
  'HOME',
  'SHELL',
  'IFS',
  'BASH_ENV',
  'ENV',
  'LD_PRELOAD',
  'LD_LIBRARY_PATH',
  'LD_AUDIT',
  'NODE_OPTIONS',
  'PYTHONPATH',
  'PYTHONSTARTUP',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'ALL_PROXY',
  'NO_PROXY',
])

/** The provider as clients get it: keys without values (spec/providers.md §6). */
export const redact = (provider: Provider): Provider =>
  amend(provider, { credentials: writeMap([...readMap(provider.credentials).keys()].map(key => [key, REDACTED])) })

/** The first rule that a new provider breaks, or null (spec/providers.md §3, steps 4 to 7, W7, W8). */
export function createViolation(provider: Provider): string | null {
  const credentials = readMap(provider.credentials)
  const meta = metaViolation('provider', provider.metadata)
  if (meta) return meta
  if (provider.type.trim() === '') return 'provider.type is required'
  if (credentials.size === 0) return 'provider.credentials must not be empty'
  return sizeViolation(provider) ?? nameViolation(provider.metadata!.name) ?? credentialsViolation(credentials)
}

/** The first size that a provider breaks, or null (spec/providers.md §3.2). */
export function sizeViolation(provider: Provider): string | null {
  const map = { keyBytes: LIMITS.mapKeyBytes, valueBytes: LIMITS.mapValueBytes }
  return (
    lengthViolation('provider.name', provider.metadata?.name ?? '', LIMITS.nameBytes) ??
    lengthViolation('provider.type', provider.type, LIMITS.providerTypeBytes) ??
    mapViolation('provider.credentials', readMap(provider.credentials), {
      ...map,
      entries: LIMITS.providerCredentials,
    }) ??
    mapViolation('provider.config', readMap(provider.config), { ...map, entries: LIMITS.providerConfig })
  )
}

function nameViolation(name: string): string | null {
  if (NAME.test(name) && NAME_FIRST.test(name[0]!) && NAME_LAST.test(name.at(-1)!)) return null
  return "provider.name must consist of letters, digits, '.', '_' and '-', start with a letter or digit and not end with '.' or '-'"
}

/** Keys must be names of variables, values must fit into a header line (W7). Names the key, never the value. */
function credentialsViolation(credentials: ReadonlyMap<string, string>): string | null {
  for (const [key, value] of credentials) {
    if (!ENV_NAME.test(key)) return `provider.credentials key '${key}' is not the name of an environment variable`
    if (/[\r\n\0]/.test(value)) return `provider.credentials value of '${key}' contains a line break or NUL`
  }
  return null
}

export type Merge =
  | { readonly ok: true; readonly provider: Provider }
  | { readonly ok: false; readonly violation: string }

/** An existing provider with an update merged into it (spec/providers.md §5, W6, W7). */
export function mergeProvider(existing: Provider, update: Provider): Merge {
  const type = update.type.trim()
  if (type !== '' && asciiLower(type) !== asciiLower(existing.type.trim()))
    return refuse('provider type cannot be changed; delete and recreate the provider')
  const known = readMap(existing.credentials)
  const incoming = readMap(update.credentials)
  for (const [key, value] of incoming) {
    if (value !== REDACTED) continue
    if (!known.has(key)) return refuse(`provider.credentials value of '${key}' is the placeholder ${REDACTED}`)
    incoming.delete(key)
  }
  const provider = amend(existing, {
    credentials: writeMap(mergeMap(known, incoming)),
    config: writeMap(mergeMap(readMap(existing.config), readMap(update.config))),
  })
  const violation =
    metaViolation('provider', provider.metadata) ??
    sizeViolation(provider) ??
    credentialsViolation(new Map([...incoming].filter(([, value]) => value !== '')))
  return violation ? refuse(violation) : { ok: true, provider }
}

const refuse = (violation: string): Merge => ({ ok: false, violation })

const asciiLower = (text: string): string => text.replace(/[A-Z]+/g, letters => letters.toLowerCase())

/** A value replaces, an empty value removes, what is not mentioned stays (spec/providers.md §5). */
function mergeMap(known: ReadonlyMap<string, string>, incoming: ReadonlyMap<string, string>): Map<string, string> {
  const merged = new Map(known)
  for (const [key, value] of incoming) {
    if (value === '') merged.delete(key)
    else merged.set(key, value)
  }
  return merged
}

/** The credential a value stands for, or null when it is literal (decision 4, spec/providers.md §14.4). */
export function credentialReference(value: string): string | null {
  if (!value.startsWith(REFERENCE)) return null
  const name = value.slice(REFERENCE.length)
  return REFERENCE_NAME.test(name) ? name : null
}

/** Keys whose values say where the secret is instead of being it, with the names they ask for. */
export function references(credentials: ReadonlyMap<string, string>): Map<string, string> {
  const found = new Map<string, string>()
  for (const [key, value] of credentials) {
    const name = credentialReference(value)
    if (name !== null) found.set(key, name)
  }
  return found
}

/** Whether a credential's key is a name that a sandbox can be given. */
export const isEnvName = (key: string): boolean => ENV_NAME.test(key)

/** Keys that would change how every program in a sandbox runs. */
export const dangerousKeys = (credentials: ReadonlyMap<string, string>): string[] =>
  [...credentials.keys()].filter(key => DANGEROUS.has(key.toUpperCase()) || key.startsWith('OPENSHELL_')).toSorted()
