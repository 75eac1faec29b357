import { LIMITS } from '../limits.ts'
import type { FilesystemPolicy, ProcessPolicy, SandboxPolicy } from '../wire/messages.generated.ts'
import { sortedRules } from './policy-rules.ts'

/** The only user and group a sandbox runs as. */
const IDENTITY = 'sandbox'
const SHOWN_BYTES = 80
const CUT_BYTES = 77

/**
 * Everything in a policy that is never allowed, in the fixed order: user, group, number of paths, then path by path
 * (`read_only` before `read_write`), then paths that are too broad, then hosts (spec/sandbox.md §3.4,
 * spec/policy.md §2.1). Empty = safe.
 */
export function safetyViolations(policy: SandboxPolicy): string[] {
  return [
    ...(policy.process ? identityViolations(policy.process) : []),
    ...(policy.filesystem ? filesystemViolations(policy.filesystem) : []),
    ...hostViolations(policy),
  ]
}

function identityViolations(process: ProcessPolicy): string[] {
  return (['run_as_user', 'run_as_group'] as const)
    .filter(field => process[field] !== IDENTITY)
    .map(field => `${field} must be '${IDENTITY}', got '${process[field]}'`)
}

function filesystemViolations(filesystem: FilesystemPolicy): string[] {
  const paths = [...filesystem.read_only, ...filesystem.read_write]
  const violations: string[] = []
  if (paths.length > LIMITS.policyPaths)
    violations.push(`too many filesystem paths (${paths.length} > ${LIMITS.policyPaths})`)
  for (const path of paths) violations.push(...pathViolations(path))
  for (const path of filesystem.read_write)
    if (isBroad(path)) violations.push(`read-write path is overly broad: ${shorten(path)}`)
  return violations
}

function pathViolations(path: string): string[] {
  const bytes = Buffer.byteLength(path)
  if (bytes > LIMITS.policyPathBytes)
    return [`path exceeds maximum length (${bytes} > ${LIMITS.policyPathBytes}): ${shorten(path)}`]
  const violations: string[] = []
  if (!path.startsWith('/')) violations.push(`path must be absolute (start with '/'): ${path}`)
  if (path.split('/').includes('..')) violations.push(`path contains '..' traversal component: ${path}`)
  return violations
}

/** Nothing but slashes, or nothing at all. */
function isBroad(path: string): boolean {
  for (let i = 0; i < path.length; i++) if (path[i] !== '/') return false
  return true
}

/** At most 80 bytes of a path; cut at a character, so that no letter is torn apart (W29). */
function shorten(path: string): string {
  const bytes = Buffer.from(path)
  if (bytes.length <= SHOWN_BYTES) return path
  let end = CUT_BYTES
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end--
  return `${bytes.subarray(0, end).toString()}...`
}

function hostViolations(policy: SandboxPolicy): string[] {
  const violations: string[] = []
  for (const [key, rule] of sortedRules(policy))
    for (const { host } of rule.endpoints)
      if (isTopLevelWildcard(host))
        violations.push(
          `network policy '${rule.name || key}': TLD wildcard '${host}' is not allowed; use subdomain wildcards like '*.example.com' instead`,
        )
  return violations
}

const isTopLevelWildcard = (host: string): boolean =>
  (host.startsWith('*.') || host.startsWith('**.')) && host.indexOf('.') === host.lastIndexOf('.')
