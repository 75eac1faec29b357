import { GatewayError } from '../base/errors.ts'
import { POLICY_TEXTS } from '../domain/policy-texts.ts'
import {
  decodeSettings,
  encodeSettings,
  NO_SETTINGS,
  POLICY_KEY,
  type SettingsBlob,
  SettingsError,
} from '../domain/settings.ts'
import type { StoredObject, StoreReads, StoreTransaction } from '../store/store.ts'

/** Settings rows of the store: one for the gateway, one for each sandbox that has any (spec/storage.md §5). */

const GLOBAL_ID = 'gateway_settings:global'

/** The row's blob as read, and the row it came from so that it can be replaced. */
export interface LoadedSettings {
  readonly row: StoredObject | null
  readonly blob: SettingsBlob
}

function load(row: StoredObject | null): LoadedSettings {
  if (!row) return { row, blob: NO_SETTINGS }
  try {
    return { row, blob: decodeSettings(row.payload) }
  } catch (cause) {
    if (!(cause instanceof SettingsError)) throw cause
    throw new GatewayError('INTERNAL', `decode settings payload failed: ${cause.message}`, { cause })
  }
}

/** The gateway's own settings. */
export const loadGlobal = async (from: StoreReads): Promise<LoadedSettings> =>
  load(await from.get('gateway_settings', GLOBAL_ID))

/**
 * Reads the gateway's settings and remembers the last ones decoded: every poll of every sandbox reads them, and a
 * global policy makes them large (spec/policy.md W25).
 */
export function createGlobalReader(): (from: StoreReads) => Promise<SettingsBlob> {
  let known: { readonly payload: Uint8Array; readonly blob: SettingsBlob } | null = null
  return async from => {
    const row = await from.get('gateway_settings', GLOBAL_ID)
    if (!row) return NO_SETTINGS
    if (
      known &&
      Buffer.from(known.payload.buffer, known.payload.byteOffset, known.payload.byteLength).equals(row.payload)
    )
      return known.blob
    known = { payload: row.payload, blob: load(row).blob }
    return known.blob
  }
}

/** Settings of one sandbox. */
export const loadSandbox = async (from: StoreReads, sandboxId: string): Promise<LoadedSettings> =>
  load(await from.get('sandbox_settings', `settings:${sandboxId}`))

/** Writes the gateway's settings; nothing when `blob` is what was loaded. */
export async function saveGlobal(tx: StoreTransaction, loaded: LoadedSettings, blob: SettingsBlob): Promise<void> {
  if (blob === loaded.blob) return
  const payload = Buffer.from(encodeSettings(blob))
  if (loaded.row) await tx.update(loaded.row, payload)
  else await tx.insert({ type: 'gateway_settings', id: GLOBAL_ID, name: 'global', payload })
}

/** Writes a sandbox's settings; nothing when `blob` is what was loaded. */
export async function saveSandbox(
  tx: StoreTransaction,
  sandbox: { readonly id: string; readonly name: string },
  loaded: LoadedSettings,
  blob: SettingsBlob,
): Promise<void> {
  if (blob === loaded.blob) return
  const payload = Buffer.from(encodeSettings(blob))
  if (loaded.row) {
    await tx.update(loaded.row, payload)
    return
  }
  // A row that another program left behind for a deleted sandbox of this name (spec/storage.md W8).
  const orphan = await tx.getByName('sandbox_settings', sandbox.name)
  if (orphan) await tx.delete('sandbox_settings', orphan.id)
  await tx.insert({ type: 'sandbox_settings', id: `settings:${sandbox.id}`, name: sandbox.name, payload })
}

/** Bytes of the global policy; null when none is active. */
export function globalPolicyOf(blob: SettingsBlob): Uint8Array | null {
  const stored = blob.values.get(POLICY_KEY)
  if (!stored) return null
  if (stored.type !== 'Bytes') throw new GatewayError('INTERNAL', POLICY_TEXTS.globalNotBytes)
  return stored.value
}
