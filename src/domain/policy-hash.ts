import { createHash } from 'node:crypto'
import type { SandboxPolicy } from '../wire/messages.generated.ts'
import { encodeFilesystem, encodeLandlock, encodeProcess, encodeRule } from './policy-bytes.ts'
import { sortedRules } from './policy-rules.ts'

/**
 * SHA-256 of a policy, 64 lower-case hexadecimal digits (spec/policy.md §4.2). Two different policies may share it,
 * because nothing separates the parts (W7): whoever decides "unchanged" compares `encodePolicy` bytes as well.
 */
export function hashPolicy(policy: SandboxPolicy): string {
  const hash = createHash('sha256')
  const version = Buffer.alloc(4)
  version.writeUInt32LE(policy.version >>> 0)
  hash.update(version)
  if (policy.filesystem) hash.update(encodeFilesystem(policy.filesystem))
  if (policy.landlock) hash.update(encodeLandlock(policy.landlock))
  if (policy.process) hash.update(encodeProcess(policy.process))
  const parts = sortedRules(policy).flatMap(([key, rule]) => [Buffer.from(key, 'utf8'), encodeRule(rule)])
  return hash.update(Buffer.concat(parts)).digest('hex')
}
