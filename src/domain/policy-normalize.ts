import { amend } from '../wire/codec.ts'
import type { SandboxPolicy } from '../wire/messages.generated.ts'

/** The only user and group a sandbox runs as (spec/policy.md §2). */
const IDENTITY = 'sandbox'

/**
 * A policy whose missing or empty process identity is filled in; other values stay. Applied to whole policies before
 * validation, hashing and storing, never to merge operations (spec/policy.md §2).
 */
export function withIdentity(policy: SandboxPolicy): SandboxPolicy {
  const user = policy.process?.run_as_user || IDENTITY
  const group = policy.process?.run_as_group || IDENTITY
  if (policy.process && user === policy.process.run_as_user && group === policy.process.run_as_group) return policy
  return amend(policy, { process: { run_as_user: user, run_as_group: group } })
}

/** A policy in which nothing is set. */
export const emptyPolicy = (): SandboxPolicy => ({
  version: 0,
  filesystem: null,
  landlock: null,
  process: null,
  network_policies: {},
})
