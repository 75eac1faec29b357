import { createHash } from 'node:crypto'
import { sortedEntries } from '../base/utf8-order.ts'
import type { Effective, StoredValue } from './settings.ts'

export interface ConfigParts {
  /** `PolicySource` of the contract: whose policy is delivered. */
  readonly source: number
  /** Hash of the delivered policy; null when none is delivered. */
  readonly policyHash: string | null
  readonly settings: ReadonlyMap<string, Effective>
}

/** The number that changes whenever anything a sandbox is told changes (spec/policy.md §4.3). */
export function configRevision(parts: ConfigParts): bigint {
  const hash = createHash('sha256')
  hash.update(int32(parts.source))
  if (parts.policyHash !== null) hash.update(parts.policyHash)
  for (const [key, { value, scope }] of sortedEntries(parts.settings)) {
    hash.update(Buffer.from(key, 'utf8'))
    hash.update(int32(scope))
    if (value) hash.update(tagged(value))
  }
  return hash.digest().readBigUInt64LE(0)
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return bytes
}

function tagged(stored: StoredValue): Buffer {
  switch (stored.type) {
    case 'String':
      return Buffer.concat([Buffer.of(0), Buffer.from(stored.value, 'utf8')])
    case 'Bool':
      return Buffer.of(1, stored.value ? 1 : 0)
    case 'Int': {
      const bytes = Buffer.alloc(9)
      bytes[0] = 2
      bytes.writeBigInt64LE(stored.value, 1)
      return bytes
    }
    case 'Bytes':
      return Buffer.concat([Buffer.of(3), stored.value])
  }
}
