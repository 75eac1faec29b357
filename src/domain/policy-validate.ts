import { LIMITS } from '../limits.ts'
import type { NetworkPolicyRule, SandboxPolicy } from '../wire/messages.generated.ts'
import { isAlwaysBlocked, isAlwaysBlockedNetwork, parseIp, parseNetwork } from './ip-address.ts'
import { encodeLandlock, encodePolicy, encodeProcess } from './policy-bytes.ts'

/**
 * Checks of a policy beside its content's safety (`policy-safety.ts`). Each answers with the text of the first
 * violation, or null.
 */

const LANDLOCK_CHANGED = 'landlock policy cannot be changed on a live sandbox (applied at startup)'
const PROCESS_CHANGED = 'process policy cannot be changed on a live sandbox (applied at startup)'

/** What a live sandbox cannot take over from `next` (spec/policy.md §2.2). Filesystem paths may only be added. */
export function staticViolation(baseline: SandboxPolicy, next: SandboxPolicy): string | null {
  const filesystem = filesystemViolation(baseline, next)
  if (filesystem) return filesystem
  if (!sameSection(baseline.landlock, next.landlock, encodeLandlock)) return LANDLOCK_CHANGED
  if (!sameSection(baseline.process, next.process, encodeProcess)) return PROCESS_CHANGED
  return null
}

function filesystemViolation(
  { filesystem: before }: SandboxPolicy,
  { filesystem: after }: SandboxPolicy,
): string | null {
  if (!before) return null
  if (!after) return 'filesystem policy cannot be removed on a live sandbox'
  if (before.include_workdir !== after.include_workdir)
    return 'filesystem include_workdir cannot be changed on a live sandbox'
  for (const list of ['read_only', 'read_write'] as const) {
    const kept = new Set(after[list])
    const gone = before[list].find(path => !kept.has(path))
    if (gone !== undefined) return `filesystem ${list} path '${gone}' cannot be removed on a live sandbox`
  }
  return null
}

/** Absent differs from present but empty. */
function sameSection<T>(before: T | null, after: T | null, encode: (section: T) => Buffer): boolean {
  if (!before || !after) return !before && !after
  return encode(before).equals(encode(after))
}

/**
 * Whether `next` only adds filesystem paths to `current`: all that a caller with a sandbox secret may do to a policy
 * that is there (spec/auth.md §5 [B], spec/policy.md W1).
 */
export function isPathEnrichment(current: SandboxPolicy, next: SandboxPolicy): boolean {
  if (staticViolation(current, next)) return false
  const rest = (policy: SandboxPolicy): Buffer =>
    encodePolicy({
      version: policy.version,
      filesystem: null,
      landlock: policy.landlock,
      process: policy.process,
      network_policies: policy.network_policies,
    })
  return rest(current).equals(rest(next))
}

/** A rule that asks for what the proxy denies whatever the policy says (spec/policy.md §2.3). */
export function blockedViolation(rule: NetworkPolicyRule): string | null {
  for (const endpoint of rule.endpoints) {
    const address = parseIp(endpoint.host)
    if (address && isAlwaysBlocked(address))
      return `proposed rule endpoint host '${endpoint.host}' is an always-blocked address (loopback/link-local/unspecified); the proxy will deny traffic to this destination regardless of policy`
    const name = endpoint.host.toLowerCase()
    if (name === 'localhost' || name === 'localhost.')
      return "proposed rule endpoint host 'localhost' is always blocked; the proxy will deny traffic to loopback regardless of policy"
    const entry = endpoint.allowed_ips.find(text => {
      const network = parseNetwork(text)
      return network !== null && isAlwaysBlockedNetwork(network)
    })
    if (entry !== undefined)
      return `proposed rule contains always-blocked allowed_ips entry '${entry}'; SSRF hardening prevents traffic to these destinations regardless of policy`
  }
  return null
}

/** A policy too large to store; `bytes` is its `encodePolicy` length (spec/policy.md W3). */
export const sizeViolation = (bytes: number): string | null =>
  bytes > LIMITS.policyBytes ? `policy serialized size exceeds maximum (${bytes} > ${LIMITS.policyBytes})` : null

/** The text under which a list of safety violations is refused, cut after a whole violation (spec/policy.md §2.1, decision 20). */
export function unsafeText(violations: readonly string[]): string {
  let text = `policy contains unsafe content: ${violations[0] ?? ''}`
  for (const [index, violation] of violations.entries()) {
    if (index === 0) continue
    if (text.length + violation.length > LIMITS.violationTextChars)
      return `${text}; … and ${violations.length - index} more`
    text += `; ${violation}`
  }
  return text
}
