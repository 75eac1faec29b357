import { GatewayError } from '../base/errors.ts'
import { POLICY_TEXTS } from '../domain/policy-texts.ts'
import type { StoredObject, StoreReads } from '../store/store.ts'
import { codec } from '../wire/codec.ts'
import type { Sandbox } from '../wire/messages.generated.ts'

const SANDBOX = codec('openshell.v1.Sandbox')

/** A stored sandbox with the row it came from. */
export interface FoundSandbox {
  readonly id: string
  readonly name: string
  readonly row: StoredObject
  readonly sandbox: Sandbox
}

function found(row: StoredObject | null): FoundSandbox {
  if (!row) throw new GatewayError('NOT_FOUND', POLICY_TEXTS.sandboxNotFound)
  return { id: row.id, name: row.name, row, sandbox: SANDBOX.decode(row.payload) }
}

/** NOT_FOUND `sandbox not found` for an id that no sandbox has; exact and case-sensitive. */
export const sandboxById = async (from: Pick<StoreReads, 'get'>, id: string): Promise<FoundSandbox> =>
  found(await from.get('sandbox', id))

/** INVALID_ARGUMENT with `missingText` without a name, NOT_FOUND for one that no sandbox has. */
export async function sandboxByName(
  from: StoreReads,
  name: string,
  missingText: string = POLICY_TEXTS.nameRequired,
): Promise<FoundSandbox> {
  if (name === '') throw new GatewayError('INVALID_ARGUMENT', missingText)
  return found(await from.getByName('sandbox', name))
}
