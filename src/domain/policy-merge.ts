import { compareUtf8 } from '../base/utf8-order.ts'
import { amend } from '../wire/codec.ts'
import type {
  L7DenyRule,
  L7Rule,
  NetworkEndpoint,
  NetworkPolicyRule,
  SandboxPolicy,
} from '../wire/messages.generated.ts'
import { allowRuleKey, denyRuleKey } from './policy-bytes.ts'
import {
  addEndpoint,
  appendNew,
  copyEndpoint,
  dropPort,
  effectivePorts,
  expandAccess,
  freshRule,
  overlaps,
  sameHost,
  uniqueBy,
} from './policy-endpoint.ts'
import { sortedRules, writeRules } from './policy-rules.ts'

/** One change of a policy's network rules, checked and trimmed by `parseOperations`. */
export type MergeOperation =
  | { readonly kind: 'add_rule'; readonly ruleName: string; readonly rule: NetworkPolicyRule }
  | { readonly kind: 'remove_endpoint'; readonly ruleName: string; readonly host: string; readonly port: number }
  | { readonly kind: 'remove_rule'; readonly ruleName: string }
  | {
      readonly kind: 'add_deny_rules'
      readonly host: string
      readonly port: number
      readonly rules: readonly L7DenyRule[]
    }
  | {
      readonly kind: 'add_allow_rules'
      readonly host: string
      readonly port: number
      readonly rules: readonly L7Rule[]
    }
  | { readonly kind: 'remove_binary'; readonly ruleName: string; readonly path: string }

/** Why a merge cannot be made; nothing of it is applied. */
export interface MergeRefusal {
  readonly kind: 'INVALID_ARGUMENT' | 'FAILED_PRECONDITION'
  readonly text: string
}

export type MergeResult = { readonly policy: SandboxPolicy } | { readonly refusal: MergeRefusal }

type Rules = Map<string, NetworkPolicyRule>

const invalid = (text: string): MergeRefusal => ({ kind: 'INVALID_ARGUMENT', text })
const refuse = (text: string): MergeRefusal => ({ kind: 'FAILED_PRECONDITION', text })

/** From so many operations on, the hosts that occur at all are gathered before any endpoints are compared. */
const FEW_OPERATIONS = 4

/** Every host of the rules and perhaps some that are gone, in lower case: what is not in here overlaps with nothing. */
type Hosts = Set<string>

const hostsOf = (rules: Rules): Hosts =>
  new Set([...rules.values()].flatMap(rule => rule.endpoints.map(endpoint => endpoint.host.toLowerCase())))

/** Applies operations in order to a copy of `base`: all of them or none (spec/policy.md §6.1). Pure. */
export function mergePolicy(base: SandboxPolicy, operations: readonly MergeOperation[]): MergeResult {
  const rules: Rules = new Map(sortedRules(base))
  const hosts = operations.length > FEW_OPERATIONS ? hostsOf(rules) : null
  for (const operation of operations) {
    const refusal = apply(rules, operation, hosts)
    if (refusal) return { refusal }
  }
  return { policy: amend(base, { network_policies: writeRules(rules) }) }
}

function apply(rules: Rules, operation: MergeOperation, hosts: Hosts | null): MergeRefusal | null {
  switch (operation.kind) {
    case 'add_rule':
      return addRule(rules, operation.ruleName, operation.rule, hosts)
    case 'remove_endpoint':
      return removeEndpoint(rules, operation.ruleName, operation.host, operation.port)
    case 'remove_rule':
      rules.delete(operation.ruleName)
      return null
    case 'add_deny_rules':
      return addDenyRules(rules, operation.host, operation.port, operation.rules)
    case 'add_allow_rules':
      return addAllowRules(rules, operation.host, operation.port, operation.rules)
    case 'remove_binary':
      return removeBinary(rules, operation.ruleName, operation.path)
  }
}

/** The key under which a rule would land: its own, or that of the first rule in key order with an overlapping endpoint. */
export function mergeTarget(
  rules: ReadonlyMap<string, NetworkPolicyRule>,
  name: string,
  rule: NetworkPolicyRule,
): string | null {
  if (rules.has(name)) return name
  return firstKey(rules, existing => existing.endpoints.some(one => rule.endpoints.some(other => overlaps(one, other))))
}

/** The first key in order whose rule fits; looking through all of them is cheaper than sorting them. */
function firstKey(
  rules: ReadonlyMap<string, NetworkPolicyRule>,
  fits: (rule: NetworkPolicyRule) => boolean,
): string | null {
  let first: string | null = null
  for (const [key, rule] of rules) if ((first === null || compareUtf8(key, first) < 0) && fits(rule)) first = key
  return first
}

function addRule(rules: Rules, name: string, incoming: NetworkPolicyRule, hosts: Hosts | null): MergeRefusal | null {
  if (name.trim() === '') return invalid('add-rule operation requires a rule name')
  const added = freshRule(name, incoming)
  const isKnown = !hosts || added.endpoints.some(endpoint => hosts.has(endpoint.host.toLowerCase()))
  for (const endpoint of added.endpoints) hosts?.add(endpoint.host.toLowerCase())
  const key = isKnown || rules.has(name) ? mergeTarget(rules, name, added) : null
  if (key === null) {
    rules.set(name, added)
    return null
  }
  const target = rules.get(key)!
  const endpoints = [...target.endpoints]
  for (const endpoint of added.endpoints) {
    const unknown = addEndpoint(endpoints, endpoint)
    if (unknown) return invalid(unsupportedAccess(unknown))
  }
  const binaries = uniqueBy([...target.binaries, ...added.binaries], binary => binary.path, target.binaries.length)
  rules.set(key, { name: target.name, endpoints, binaries })
  return null
}

const unsupportedAccess = (endpoint: NetworkEndpoint): string =>
  `endpoint ${endpoint.host}:${effectivePorts(endpoint)[0] ?? 0} uses unsupported access preset '${endpoint.access}'`

function removeEndpoint(rules: Rules, name: string, host: string, port: number): MergeRefusal | null {
  const keys = name === '' ? [...rules.keys()] : rules.has(name) ? [name] : []
  for (const key of keys) {
    const rule = rules.get(key)!
    if (rule.endpoints.length > 0 && findPlace(rule, host, port) < 0) continue
    const endpoints = rule.endpoints.flatMap(endpoint => dropPort(endpoint, host, port))
    if (endpoints.length === 0) rules.delete(key)
    else rules.set(key, { name: rule.name, endpoints, binaries: rule.binaries })
  }
  return null
}

interface Found {
  readonly key: string
  readonly at: number
  readonly endpoint: NetworkEndpoint
}

/** The first endpoint in key order, then list order, that may carry L7 rules; else why not. */
function findInspected(rules: Rules, host: string, port: number): Found | MergeRefusal {
  const where = `endpoint ${host}:${port}`
  const key = firstKey(rules, rule => findPlace(rule, host, port) >= 0)
  if (key === null) return refuse(`${where} was not found in the current policy`)
  const rule = rules.get(key)!
  const at = findPlace(rule, host, port)
  const endpoint = rule.endpoints[at]!
  if (endpoint.protocol === '') return refuse(`${where} has no L7 inspection configured (protocol is empty)`)
  if (endpoint.protocol !== 'rest')
    return refuse(
      `${where} uses unsupported protocol '${endpoint.protocol}'; this operation currently supports only protocol 'rest'`,
    )
  return { key, at, endpoint }
}

/** The position of the rule's first endpoint with that host and port, or -1. */
const findPlace = (rule: NetworkPolicyRule, host: string, port: number): number =>
  rule.endpoints.findIndex(one => sameHost(one.host, host) && effectivePorts(one).includes(port))

function replaceEndpoint(rules: Rules, found: Found, endpoint: NetworkEndpoint): void {
  const rule = rules.get(found.key)!
  rules.set(found.key, { name: rule.name, endpoints: rule.endpoints.with(found.at, endpoint), binaries: rule.binaries })
}

function addDenyRules(rules: Rules, host: string, port: number, added: readonly L7DenyRule[]): MergeRefusal | null {
  const found = findInspected(rules, host, port)
  if (!('endpoint' in found)) return found
  if (found.endpoint.access === '' && found.endpoint.rules.length === 0)
    return refuse(
      `endpoint ${host}:${port} has no base allow set; configure access or explicit allow rules before adding deny rules`,
    )
  const endpoint = copyEndpoint(found.endpoint)
  endpoint.deny_rules = appendNew(endpoint.deny_rules, added, denyRuleKey)
  replaceEndpoint(rules, found, endpoint)
  return null
}

function addAllowRules(rules: Rules, host: string, port: number, added: readonly L7Rule[]): MergeRefusal | null {
  const found = findInspected(rules, host, port)
  if (!('endpoint' in found)) return found
  const endpoint = copyEndpoint(found.endpoint)
  if (!expandAccess(endpoint))
    return invalid(`endpoint ${host}:${port} uses unsupported access preset '${endpoint.access}'`)
  endpoint.rules = appendNew(endpoint.rules, added, allowRuleKey)
  replaceEndpoint(rules, found, endpoint)
  return null
}

function removeBinary(rules: Rules, name: string, path: string): MergeRefusal | null {
  const rule = rules.get(name)
  if (!rule) return null
  const binaries = rule.binaries.filter(binary => binary.path !== path)
  if (binaries.length === rule.binaries.length) return null
  if (binaries.length === 0) rules.delete(name)
  else rules.set(name, { name: rule.name, endpoints: rule.endpoints, binaries })
  return null
}
