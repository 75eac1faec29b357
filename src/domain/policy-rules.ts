import { sortedEntries } from '../base/utf8-order.ts'
import { readMap, writeMap } from '../wire/maps.ts'
import type { NetworkPolicyRule, SandboxPolicy } from '../wire/messages.generated.ts'

type Entry = readonly [key: string, rule: NetworkPolicyRule]
type RuleRecord = SandboxPolicy['network_policies']

/** Policies are never changed in place: who looked through the rules of one spares the next the sorting. */
const sorted = new WeakMap<RuleRecord, readonly Entry[]>()

/** The network rules of a policy, keys in ascending UTF-8 byte order. */
export function sortedRules({ network_policies: record }: SandboxPolicy): readonly Entry[] {
  const known = sorted.get(record)
  if (known) return known
  const entries = sortedEntries(readMap(record))
  sorted.set(record, entries)
  return entries
}

/** Rules as the record of a policy, keys in ascending UTF-8 byte order. */
export function writeRules(rules: ReadonlyMap<string, NetworkPolicyRule>): RuleRecord {
  const entries = sortedEntries(rules)
  const record = writeMap(entries)
  sorted.set(record, entries)
  return record
}
