import type { L7Rule, NetworkEndpoint, NetworkPolicyRule } from '../wire/messages.generated.ts'
import { allowRuleKey, denyRuleKey } from './policy-bytes.ts'

/** How endpoints of network rules are compared, normalised and merged (spec/policy.md §6.1). Nothing here changes its input unless it says so. */

/** TABLE of the methods an access preset stands for; each becomes an allow rule with path `**`. */
const ACCESS_METHODS: ReadonlyMap<string, readonly string[]> = new Map([
  ['read-only', ['GET', 'HEAD', 'OPTIONS']],
  ['read-write', ['GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'PATCH']],
  ['full', ['*']],
])

/** `ports` if there are any, else `port` if it is set. */
export const effectivePorts = (endpoint: NetworkEndpoint): readonly number[] =>
  endpoint.ports.length > 0 ? endpoint.ports : endpoint.port > 0 ? [endpoint.port] : []

/** ASCII letters compare without case. */
export function sameHost(a: string, b: string): boolean {
  if (a === b) return true
  if (a.length !== b.length) return false
  for (let at = 0; at < a.length; at++) if (asciiLower(a.charCodeAt(at)) !== asciiLower(b.charCodeAt(at))) return false
  return true
}

const asciiLower = (unit: number): number => (unit >= 0x41 && unit <= 0x5a ? unit + 0x20 : unit)

/** Up to this many, looking through them is cheaper than a set. */
const FEW_PORTS = 8

/** Same host and a port in common. */
export function overlaps(a: NetworkEndpoint, b: NetworkEndpoint): boolean {
  if (!sameHost(a.host, b.host)) return false
  const ports = effectivePorts(a)
  if (ports.length < FEW_PORTS) return effectivePorts(b).some(port => ports.includes(port))
  const all = new Set(ports)
  return effectivePorts(b).some(port => all.has(port))
}

/** Tells which endpoints overlap with any of `endpoints`; for very many, which `overlaps` would compare pair by pair. */
export function overlapsAny(endpoints: Iterable<NetworkEndpoint>): (endpoint: NetworkEndpoint) => boolean {
  const places = new Set<string>()
  for (const endpoint of endpoints) for (const place of placesOf(endpoint)) places.add(place)
  return endpoint => placesOf(endpoint).some(place => places.has(place))
}

/** Host and port of an endpoint as texts; two endpoints overlap when they have one in common. */
function placesOf(endpoint: NetworkEndpoint): string[] {
  const host = endpoint.host.replace(/[A-Z]+/g, letters => letters.toLowerCase())
  return effectivePorts(endpoint).map(port => `${port} ${host}`)
}

/** A plain copy: decoded messages keep absent fields on their prototype, so every field is named. */
export const copyEndpoint = (from: NetworkEndpoint): NetworkEndpoint => ({
  host: from.host,
  port: from.port,
  protocol: from.protocol,
  tls: from.tls,
  enforcement: from.enforcement,
  access: from.access,
  rules: from.rules,
  allowed_ips: from.allowed_ips,
  ports: from.ports,
  deny_rules: from.deny_rules,
  allow_encoded_slash: from.allow_encoded_slash,
})

/** First of equal items kept; the first `from` items are kept whatever they are. */
export function uniqueBy<T>(items: readonly T[], key: (item: T) => string, from = 0): T[] {
  const seen = new Set<string>()
  return items.filter((item, index) => {
    const name = key(item)
    const isNew = !seen.has(name)
    seen.add(name)
    return isNew || index < from
  })
}

/** `items` and those of `added` that are not yet there. */
export const appendNew = <T>(items: readonly T[], added: readonly T[], key: (item: T) => string): T[] =>
  uniqueBy([...items, ...added], key, items.length)

/** Ports sorted and unique, `port` the first of them, lists without repeats. */
function normalise(endpoint: NetworkEndpoint): NetworkEndpoint {
  const copy = copyEndpoint(endpoint)
  copy.ports = [...new Set(effectivePorts(endpoint))].sort((a, b) => a - b)
  copy.port = copy.ports[0] ?? 0
  copy.allowed_ips = uniqueBy(endpoint.allowed_ips, text => text)
  copy.rules = uniqueBy(endpoint.rules, allowRuleKey)
  copy.deny_rules = uniqueBy(endpoint.deny_rules, denyRuleKey)
  return copy
}

/** An incoming rule as it is inserted under `name`. */
export const freshRule = (name: string, rule: NetworkPolicyRule): NetworkPolicyRule => ({
  name: rule.name || name,
  endpoints: rule.endpoints.map(normalise),
  binaries: uniqueBy(rule.binaries, binary => binary.path),
})

/** Turns an access preset of `endpoint` into allow rules behind the existing ones; false for an unknown preset. */
export function expandAccess(endpoint: NetworkEndpoint): boolean {
  if (endpoint.access === '') return true
  const methods = ACCESS_METHODS.get(endpoint.access)
  if (!methods) return false
  const rules: L7Rule[] = methods.map(method => ({ allow: { method, path: '**', command: '', query: {} } }))
  endpoint.rules = appendNew(endpoint.rules, rules, allowRuleKey)
  endpoint.access = ''
  return true
}

/** Merges `added` (normalised) into the first overlapping endpoint of `endpoints`, or appends it. Returns the endpoint whose preset is unknown. */
export function addEndpoint(endpoints: NetworkEndpoint[], added: NetworkEndpoint): NetworkEndpoint | null {
  const at = endpoints.findIndex(existing => overlaps(existing, added))
  if (at < 0) {
    endpoints.push(added)
    return null
  }
  const merged = copyEndpoint(endpoints[at]!)
  merged.host = merged.host || added.host
  merged.ports = [...effectivePorts(merged), ...effectivePorts(added)]
  merged.protocol = merged.protocol || added.protocol
  merged.enforcement = merged.enforcement || added.enforcement
  merged.tls = merged.tls || added.tls
  if (added.rules.length > 0) {
    if (!expandAccess(merged)) return merged
    merged.rules = [...merged.rules, ...added.rules]
  } else if (merged.rules.length === 0) merged.access = merged.access || added.access
  merged.deny_rules = [...merged.deny_rules, ...added.deny_rules]
  merged.allowed_ips = [...merged.allowed_ips, ...added.allowed_ips]
  endpoints[at] = normalise(merged)
  return null
}

/** The endpoint without that port; nothing when no port is left; itself when it is another endpoint. */
export function dropPort(endpoint: NetworkEndpoint, host: string, port: number): NetworkEndpoint[] {
  const ports = effectivePorts(endpoint)
  if (!sameHost(endpoint.host, host) || !ports.includes(port)) return [endpoint]
  const left = [...new Set(ports)].filter(one => one !== port).sort((a, b) => a - b)
  if (left.length === 0) return []
  const copy = copyEndpoint(endpoint)
  copy.ports = left
  copy.port = left[0]!
  return [copy]
}
