import type { NetworkEndpoint, SandboxPolicy } from '../wire/messages.generated.ts'
import { sortedRules } from './policy-rules.ts'
import { safetyViolations } from './policy-safety.ts'

/** TABLE of values an endpoint's enumerated texts may have; protocols of later contracts are let through (spec/policy.md §13, W4). */
const PROTOCOLS = new Set(['', 'rest', 'sql', 'tcp', 'grpc', 'graphql', 'websocket', 'json-rpc', 'mcp'])
const ENFORCEMENTS = new Set(['', 'enforce', 'audit'])
const TLS_MODES = new Set(['', 'skip', 'terminate', 'passthrough'])
const PRESETS = new Set(['', 'read-only', 'read-write', 'full'])
const PORT_MOST = 65_535

/** Everything for which a policy is refused, whoever sends it and however: unsafe content, then what cannot be meant (spec/policy.md §2.1, W2, W4). */
export const policyViolations = (policy: SandboxPolicy): string[] => [
  ...safetyViolations(policy),
  ...broadPaths(policy),
  ...endpointViolations(policy),
]

/** Spellings of `/` that only a lexical clean-up shows, such as `/./`. */
function broadPaths(policy: SandboxPolicy): string[] {
  const hidden = (path: string) =>
    path.includes('.') && path.split('/').every(component => component === '' || component === '.')
  return (policy.filesystem?.read_write ?? [])
    .filter(path => path.startsWith('/') && hidden(path))
    .map(path => `read-write path is overly broad: ${path}`)
}

function endpointViolations(policy: SandboxPolicy): string[] {
  const violations: string[] = []
  for (const [key, rule] of sortedRules(policy))
    for (const endpoint of rule.endpoints) {
      const found = endpointViolation(endpoint)
      if (found) violations.push(`network policy '${rule.name || key}': ${found}`)
    }
  return violations
}

function endpointViolation(endpoint: NetworkEndpoint): string | null {
  if (isBroadHost(endpoint.host))
    return `host wildcard '${endpoint.host}' is too broad; use subdomain wildcards like '*.example.com' instead`
  if (endpoint.port > PORT_MOST) return `port ${endpoint.port} is out of range (1-${PORT_MOST})`
  const port = endpoint.ports.find(one => one === 0 || one > PORT_MOST)
  if (port !== undefined) return `port ${port} is out of range (1-${PORT_MOST})`
  if (!PROTOCOLS.has(endpoint.protocol)) return `unknown protocol '${endpoint.protocol}'`
  if (!ENFORCEMENTS.has(endpoint.enforcement)) return `unknown enforcement '${endpoint.enforcement}'`
  if (!TLS_MODES.has(endpoint.tls)) return `unknown tls mode '${endpoint.tls}'`
  // On an inspected endpoint a later preset is left to the supervisor; without inspection none can be meant.
  if (endpoint.protocol === '' && !PRESETS.has(endpoint.access)) return `unknown access preset '${endpoint.access}'`
  return null
}

/** A wildcard that is the whole name, or that stands outside the first label. `*.com` has a text of its own. */
function isBroadHost(host: string): boolean {
  if (!host.includes('*')) return false
  const labels = (host.endsWith('.') ? host.slice(0, -1) : host).split('.')
  if (labels.slice(1).some(label => label.includes('*'))) return true
  return labels.length < 2 || (host.endsWith('.') && labels.length < 3)
}
