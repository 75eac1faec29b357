import { hasUnknownFields } from '../wire/codec.ts'
import { readMap } from '../wire/maps.ts'
import type { NetworkPolicyRule, SandboxPolicy } from '../wire/messages.generated.ts'
import type { MergeOperation } from './policy-merge.ts'

/**
 * The path of the innermost part of a policy that carries fields this gateway does not know, or null. Such a policy
 * is refused: stored without them it would be weaker than what was asked for (spec/policy.md W27).
 */
export function unknownFieldPath(policy: SandboxPolicy): string | null {
  if (!hasUnknownFields(policy)) return null
  for (const section of ['filesystem', 'landlock', 'process'] as const) {
    const message = policy[section]
    if (message && hasUnknownFields(message)) return `policy.${section}`
  }
  for (const [key, rule] of readMap(policy.network_policies))
    if (hasUnknownFields(rule)) return unknownInRule(rule, `policy.network_policies['${key}']`)
  return 'policy'
}

/** Same for one rule; `path` names it. Call it only for a rule that has unknown fields. */
export function unknownInRule(rule: NetworkPolicyRule, path: string): string {
  for (const list of ['endpoints', 'binaries'] as const) {
    const at = rule[list].findIndex(hasUnknownFields)
    if (at >= 0) return `${path}.${list}[${at}]`
  }
  return path
}

/** Same for one merge operation, as a path inside it; null when everything in it is known. */
export function unknownInOperation(operation: MergeOperation): string | null {
  switch (operation.kind) {
    case 'add_rule':
      return hasUnknownFields(operation.rule) ? unknownInRule(operation.rule, 'add_rule.rule') : null
    case 'add_allow_rules':
    case 'add_deny_rules': {
      const rules: readonly object[] = operation.rules
      const at = rules.findIndex(hasUnknownFields)
      if (at < 0) return null
      return operation.kind === 'add_allow_rules' ? `add_allow_rules.rules[${at}]` : `add_deny_rules.deny_rules[${at}]`
    }
    default:
      return null
  }
}
