import { createHash } from 'node:crypto'
import { sortedEntries } from '../base/utf8-order.ts'
import { readMap } from '../wire/maps.ts'
import type { SandboxPolicy } from '../wire/messages.generated.ts'
import { encodeFilesystem, encodeLandlock, encodeProcess, encodeRule } from './policy-bytes.ts'

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
  for (const [key, rule] of sortedEntries(readMap(policy.network_policies))) {
    hash.update(Buffer.from(key, 'utf8'))
    hash.update(encodeRule(rule))
  }
  return hash.digest('hex')
}
