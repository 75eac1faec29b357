import { LIMITS } from '../limits.ts'
import type { PolicyMergeOperation } from '../wire/messages.generated.ts'
import type { MergeOperation } from './policy-merge.ts'

type Parsed = { readonly operations: MergeOperation[] } | { readonly violation: string }
type Member = NonNullable<PolicyMergeOperation['operation']>

/** Reads merge operations from the wire; the first bad one refuses all, named by its index (spec/policy.md §6). */
export function parseOperations(sent: readonly PolicyMergeOperation[]): Parsed {
  const most = LIMITS.policyMergeItems
  if (sent.length > most) return { violation: `merge_operations exceeds maximum entries (${sent.length} > ${most})` }
  const operations: MergeOperation[] = []
  let endpoints = 0
  for (const [index, item] of sent.entries()) {
    const member = item.operation
    const parsed = member ? PARSERS[member](item) : ' is missing an operation'
    if (typeof parsed === 'string') return { violation: `merge_operations[${index}]${parsed}` }
    if (parsed.kind === 'add_rule') endpoints += parsed.rule.endpoints.length
    operations.push(parsed)
  }
  if (endpoints > most)
    return { violation: `merge_operations add more endpoints than the maximum (${endpoints} > ${most})` }
  return { operations }
}

/** TABLE of members: the operation, or what is wrong with it behind `merge_operations[i]`. */
const PARSERS: Readonly<Record<Member, (item: PolicyMergeOperation) => MergeOperation | string>> = {
  add_rule(item) {
    const { rule_name: name, rule } = item.add_rule!
    const ruleName = name.trim()
    if (ruleName === '') return '.add_rule.rule_name is required'
    if (!rule || rule.endpoints.length === 0) return '.add_rule.rule must contain at least one endpoint'
    return { kind: 'add_rule', ruleName, rule }
  },
  remove_endpoint(item) {
    const { rule_name: name, host: sent, port } = item.remove_endpoint!
    const host = sent.trim()
    if (host === '' || port === 0) return '.remove_endpoint requires host and non-zero port'
    return { kind: 'remove_endpoint', ruleName: name.trim(), host, port }
  },
  remove_rule(item) {
    const ruleName = item.remove_rule!.rule_name.trim()
    return ruleName === '' ? '.remove_rule.rule_name is required' : { kind: 'remove_rule', ruleName }
  },
  add_deny_rules(item) {
    const { host: sent, port, deny_rules: rules } = item.add_deny_rules!
    const host = sent.trim()
    if (host === '' || port === 0 || rules.length === 0)
      return '.add_deny_rules requires host, non-zero port, and at least one deny rule'
    return { kind: 'add_deny_rules', host, port, rules }
  },
  add_allow_rules(item) {
    const { host: sent, port, rules } = item.add_allow_rules!
    const host = sent.trim()
    if (host === '' || port === 0 || rules.length === 0)
      return '.add_allow_rules requires host, non-zero port, and at least one allow rule'
    if (rules.some(rule => !rule.allow)) return '.add_allow_rules rules must include allow payloads'
    return { kind: 'add_allow_rules', host, port, rules }
  },
  remove_binary(item) {
    const { rule_name: name, binary_path: sent } = item.remove_binary!
    const ruleName = name.trim()
    const path = sent.trim()
    if (ruleName === '' || path === '') return '.remove_binary requires rule_name and binary_path'
    return { kind: 'remove_binary', ruleName, path }
  },
}
