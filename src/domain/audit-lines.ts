import { readMap } from '../wire/maps.ts'
import type { L7DenyRule, L7Rule, NetworkEndpoint, NetworkPolicyRule } from '../wire/messages.generated.ts'
import { effectivePorts } from './policy-endpoint.ts'
import type { MergeOperation } from './policy-merge.ts'

/** Lines about configuration changes for a sandbox's log stream (spec/policy.md §9). */

const COMMAND_SHOWN = 48

/** Control and separator characters that would forge lines (W24). */
const FORGING = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g

/** Free of control characters. */
export const plainText = (text: string): string => text.replace(FORGING, ' ')

/** `CONFIG:<STATE> [INFO] <detail> [version:v<n> hash:<hash>]`. */
export function auditLine(
  state: 'MERGED' | 'APPROVED' | 'REMOVED',
  detail: string,
  version: number,
  hash: string,
): string {
  const suffix = version > 0 ? ` [version:v${version}${hash === '' ? '' : ` hash:${hash}`}]` : ''
  return plainText(`CONFIG:${state} [INFO] ${detail}${suffix}`)
}

/** One operation in words. */
export function describeOperation(operation: MergeOperation): string {
  switch (operation.kind) {
    case 'add_rule':
      return `add-endpoint ${describeRule(operation.ruleName, operation.rule)}`
    case 'remove_endpoint':
      return `remove-endpoint ${operation.host}:${operation.port}${operation.ruleName === '' ? '' : ` from rule ${operation.ruleName}`}`
    case 'remove_rule':
      return `remove-rule ${operation.ruleName}`
    case 'add_deny_rules':
      return `add-deny ${operation.host}:${operation.port} [${operation.rules.map(describeL7).join(', ')}]`
    case 'add_allow_rules':
      return `add-allow ${operation.host}:${operation.port} [${operation.rules.map(describeAllow).join(', ')}]`
    case 'remove_binary':
      return `remove-binary ${operation.ruleName} ${operation.path}`
  }
}

/** A rule in words: its name, endpoints and binaries. */
export const describeRule = (name: string, rule: NetworkPolicyRule): string =>
  `${name} endpoints=[${rule.endpoints.map(describeEndpoint).join(', ')}] binaries=[${rule.binaries.map(binary => binary.path).join(', ')}]`

function describeEndpoint(endpoint: NetworkEndpoint): string {
  const words = [`${endpoint.host}:${endpoint.port || (effectivePorts(endpoint)[0] ?? 0)}`]
  for (const field of ['protocol', 'access', 'enforcement', 'tls'] as const)
    if (endpoint[field] !== '') words.push(`${field}=${endpoint[field]}`)
  if (endpoint.allowed_ips.length > 0) words.push(`allowed_ips=${endpoint.allowed_ips.length}`)
  if (endpoint.ports.length > 0) words.push(`ports=${endpoint.ports.length}`)
  if (endpoint.rules.length > 0) words.push(`allow=[${endpoint.rules.map(describeAllow).join(', ')}]`)
  if (endpoint.deny_rules.length > 0) words.push(`deny=[${endpoint.deny_rules.map(describeL7).join(', ')}]`)
  return words.join(' ')
}

const describeAllow = (rule: L7Rule): string => (rule.allow ? describeL7(rule.allow) : 'allow')

function describeL7(rule: Pick<L7DenyRule, 'method' | 'path' | 'command' | 'query'>): string {
  const words: string[] = []
  if (rule.method !== '') words.push(rule.method)
  if (rule.path !== '') words.push(rule.path)
  if (rule.command !== '') words.push(`command=${shorten(rule.command)}`)
  const keys = readMap(rule.query).size
  if (keys > 0) words.push(`query_keys=${keys}`)
  return words.length > 0 ? words.join(' ') : 'rule'
}

function shorten(command: string): string {
  const characters = [...command]
  return characters.length > COMMAND_SHOWN ? `${characters.slice(0, COMMAND_SHOWN).join('')}...` : command
}
