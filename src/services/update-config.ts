import type { Principal } from '../auth/principal.ts'
import { isSecretCaller, requireSandbox } from '../auth/sandbox-binding.ts'
import { GatewayError } from '../base/errors.ts'
import { auditLine, describeOperation } from '../domain/audit-lines.ts'
import { encodePolicy } from '../domain/policy-bytes.ts'
import { hashPolicy } from '../domain/policy-hash.ts'
import type { MergeOperation } from '../domain/policy-merge.ts'
import { withIdentity } from '../domain/policy-normalize.ts'
import { parseOperations } from '../domain/policy-operations.ts'
import { POLICY_TEXTS } from '../domain/policy-texts.ts'
import { unknownFieldPath, unknownInOperation } from '../domain/policy-unknown.ts'
import { blockedViolation, isPathEnrichment } from '../domain/policy-validate.ts'
import {
  POLICY_KEY,
  parseSetting,
  type SettingRow,
  type StoredValue,
  settingRow,
  unknownKey,
  withoutSetting,
  withSetting,
} from '../domain/settings.ts'
import { LIMITS } from '../limits.ts'
import type { Handlers } from '../rpc/handlers.ts'
import type { StoreReads, StoreTransaction } from '../store/store.ts'
import { amend, type Init } from '../wire/codec.ts'
import type { SandboxPolicy, UpdateConfigRequest, UpdateConfigResponse } from '../wire/messages.generated.ts'
import { retrying } from './commit.ts'
import type { PolicyServiceDeps } from './policy.ts'
import {
  type Committed,
  commitMerge,
  decodePolicy,
  editPolicy,
  GLOBAL_POLICY_ID,
  isSamePolicy,
  refuseManaged,
  requireSafe,
  requireStatic,
} from './policy-revisions.ts'
import { type FoundSandbox, sandboxByName } from './sandbox-lookup.ts'
import { loadGlobal, loadSandbox, saveGlobal, saveSandbox } from './settings-store.ts'
import { storing } from './store-errors.ts'

type Answer = Init<UpdateConfigResponse>
type Deps = PolicyServiceDeps & { readonly settings: readonly SettingRow[] }

/** What one request asks for, after its arguments were checked. */
type Change =
  | { readonly kind: 'policy'; readonly policy: SandboxPolicy }
  | { readonly kind: 'merge' }
  | { readonly kind: 'set'; readonly key: string }
  | { readonly kind: 'delete'; readonly key: string }

const invalid = (text: string): GatewayError => new GatewayError('INVALID_ARGUMENT', text)
const refused = (text: string): GatewayError => new GatewayError('FAILED_PRECONDITION', text)

/** One lock for all settings and the global policy (spec/policy.md §5.2). */
const SETTINGS_LOCK = 'settings'

/** UpdateConfig: policies, settings and merge operations, of one sandbox or of the gateway (spec/policy.md §5). */
export function createUpdateConfig(deps: Deps): NonNullable<Handlers['UpdateConfig']> {
  return async (request, { principal }) => {
    if (isSecretCaller(principal)) restrictSecretCaller(request)
    const change = parseChange(request)
    if (change.kind === 'policy') {
      refuseUnknownFields(change.policy)
      // A large policy took its time to decode, and will take it again to be written.
      await new Promise<void>(resolve => setImmediate(resolve))
    }
    return request.global ? updateGlobal(deps, request, change) : updateSandbox(deps, request, change, principal)
  }
}

/** A sandbox secret may only sync the policy of one sandbox (spec/auth.md §5). */
function restrictSecretCaller(request: UpdateConfigRequest): void {
  const deny = (text: string) => new GatewayError('PERMISSION_DENIED', text)
  if (request.global) throw deny(POLICY_TEXTS.secretGlobal)
  if (request.delete_setting) throw deny(POLICY_TEXTS.secretDelete)
  if (request.name.trim() === '' || !request.policy || request.setting_key.trim() !== '')
    throw deny(POLICY_TEXTS.secretSyncOnly)
}

function parseChange(request: UpdateConfigRequest): Change {
  const key = request.setting_key.trim()
  const given = [request.policy !== null, key !== '', request.merge_operations.length > 0].filter(Boolean).length
  if (given > 1) throw invalid(POLICY_TEXTS.exclusive)
  if (request.policy) return { kind: 'policy', policy: request.policy }
  if (key !== '') return { kind: request.delete_setting ? 'delete' : 'set', key }
  if (request.merge_operations.length > 0) return { kind: 'merge' }
  throw invalid(POLICY_TEXTS.nothingGiven)
}

function refuseUnknownFields(policy: SandboxPolicy): void {
  const path = unknownFieldPath(policy)
  if (path) throw invalid(POLICY_TEXTS.unknownFields(path))
}

async function updateGlobal(deps: Deps, request: UpdateConfigRequest, change: Change): Promise<Answer> {
  switch (change.kind) {
    case 'merge':
      throw invalid(POLICY_TEXTS.globalMerge)
    case 'policy': {
      if (request.delete_setting) throw invalid(POLICY_TEXTS.globalPolicyDelete)
      const policy = withIdentity(change.policy)
      requireSafe(policy, encodePolicy(policy).length)
      return deps.commit(SETTINGS_LOCK, 'update global policy', tx => replaceGlobal(tx, policy, deps.clock.nowMs()))
    }
    case 'set':
    case 'delete': {
      const value = globalValue(deps.settings, request, change.key, change.kind)
      return deps.commit(SETTINGS_LOCK, 'persist settings', tx => changeGlobal(tx, change.key, value))
    }
  }
}

/** What to store under `key`; null = delete it. */
function globalValue(
  rows: readonly SettingRow[],
  request: UpdateConfigRequest,
  key: string,
  kind: 'set' | 'delete',
): StoredValue | null {
  if (key === POLICY_KEY) {
    if (kind === 'delete') return null
    throw invalid(POLICY_TEXTS.reservedGlobal)
  }
  const row = settingRow(rows, key)
  if (!row) throw invalid(unknownKey(rows, key))
  return kind === 'delete' ? null : requireValue(row, request)
}

function requireValue(row: SettingRow, request: UpdateConfigRequest): StoredValue {
  const parsed = parseSetting(row, request.setting_value)
  if ('violation' in parsed) throw invalid(parsed.violation)
  return parsed.value
}

/** History and the blob that sandboxes are given change together (W18). */
async function replaceGlobal(tx: StoreTransaction, policy: SandboxPolicy, nowMs: number): Promise<Answer> {
  const bytes = encodePolicy(policy)
  const hash = hashPolicy(policy)
  const latest = await tx.latestPolicy(GLOBAL_POLICY_ID)
  let version = latest?.version ?? 0
  if (latest?.status !== 'loaded' || !isSamePolicy(latest, hash, bytes)) {
    version++
    await tx.insertPolicy({ sandboxId: GLOBAL_POLICY_ID, version, payload: bytes, hash })
    await tx.setPolicyStatus(GLOBAL_POLICY_ID, version, 'loaded', { loadError: null, loadedAtMs: nowMs })
    await tx.supersedePolicies(GLOBAL_POLICY_ID, version)
    await tx.prunePolicies(GLOBAL_POLICY_ID, LIMITS.policyRevisionsKept)
  }
  const loaded = await loadGlobal(tx)
  const blob = withSetting(loaded.blob, POLICY_KEY, { type: 'Bytes', value: bytes })
  await saveGlobal(tx, loaded, blob)
  return { version, policy_hash: hash, settings_revision: blob.revision }
}

async function changeGlobal(tx: StoreTransaction, key: string, value: StoredValue | null): Promise<Answer> {
  const loaded = await loadGlobal(tx)
  const blob = value ? withSetting(loaded.blob, key, value) : withoutSetting(loaded.blob, key)
  const deleted = !value && blob !== loaded.blob
  await saveGlobal(tx, loaded, blob)
  if (deleted && key === POLICY_KEY) {
    const latest = await tx.latestPolicy(GLOBAL_POLICY_ID)
    if (latest) await tx.supersedePolicies(GLOBAL_POLICY_ID, latest.version + 1)
  }
  return { settings_revision: blob.revision, deleted }
}

async function updateSandbox(
  deps: Deps,
  request: UpdateConfigRequest,
  change: Change,
  principal: Principal,
): Promise<Answer> {
  if (change.kind === 'set' || change.kind === 'delete')
    return deps.commit(SETTINGS_LOCK, 'persist settings', async tx =>
      changeSandbox(deps, tx, await target(tx, request, principal), change.key, change.kind, request),
    )
  // The name is looked up in the transaction; until then the lock goes by name, which is as unique as the id.
  const lock = `sandbox-name:${request.name}`
  if (change.kind === 'merge') {
    const done = await deps.commit(lock, 'merge policy', async tx =>
      mergeInto(tx, await target(tx, request, principal), request),
    )
    deps.notify(done.id)
    for (const line of mergeLines(done.operations, done.committed)) deps.auditLine(done.id, line)
    return { version: done.committed.version, policy_hash: done.committed.hash }
  }
  return replacePolicy(deps, await target(deps.store, request, principal), change.policy, isSecretCaller(principal))
}

async function target(from: StoreReads, request: UpdateConfigRequest, principal: Principal): Promise<FoundSandbox> {
  const found = await storing('fetch sandbox', () =>
    sandboxByName(from, request.name, POLICY_TEXTS.sandboxNameRequired),
  )
  requireSandbox(principal, found.id)
  return found
}

async function changeSandbox(
  deps: Deps,
  tx: StoreTransaction,
  sandbox: FoundSandbox,
  key: string,
  kind: 'set' | 'delete',
  request: UpdateConfigRequest,
): Promise<Answer> {
  if (key === POLICY_KEY) throw invalid(POLICY_TEXTS.reservedSandbox)
  const isManaged = (await loadGlobal(tx)).blob.values.has(key)
  if (isManaged) throw refused(kind === 'delete' ? POLICY_TEXTS.managedDelete(key) : POLICY_TEXTS.managedSet(key))
  const loaded = await loadSandbox(tx, sandbox.id)
  if (kind === 'delete') {
    const blob = withoutSetting(loaded.blob, key)
    await saveSandbox(tx, sandbox, loaded, blob)
    return { settings_revision: blob.revision, deleted: blob !== loaded.blob }
  }
  if (!request.setting_value) throw invalid('setting_value is required')
  const row = settingRow(deps.settings, key)
  if (!row) throw invalid(unknownKey(deps.settings, key))
  const blob = withSetting(loaded.blob, key, requireValue(row, request))
  await saveSandbox(tx, sandbox, loaded, blob)
  return { settings_revision: blob.revision }
}

interface Merged {
  readonly id: string
  readonly operations: readonly MergeOperation[]
  readonly committed: Committed
}

async function mergeInto(
  tx: StoreTransaction,
  { id, sandbox }: FoundSandbox,
  request: UpdateConfigRequest,
): Promise<Merged> {
  await refuseManaged(tx)
  if (!sandbox.spec) throw new GatewayError('INTERNAL', POLICY_TEXTS.noSpec)
  const parsed = parseOperations(request.merge_operations)
  if ('violation' in parsed) throw invalid(parsed.violation)
  for (const [index, operation] of parsed.operations.entries()) {
    const path = unknownInOperation(operation)
    if (path) throw invalid(POLICY_TEXTS.unknownFields(`merge_operations[${index}].${path}`))
    const blocked = operation.kind === 'add_rule' ? blockedViolation(operation.rule) : null
    if (blocked) throw invalid(blocked)
  }
  const committed = await commitMerge(tx, id, sandbox.spec.policy, parsed.operations)
  return { id, operations: parsed.operations, committed }
}

const mergeLines = (operations: readonly MergeOperation[], { version, hash }: Committed): string[] => [
  auditLine('MERGED', `gateway merged ${operations.length} incremental policy operation(s)`, version, hash),
  ...operations.map(operation =>
    auditLine('MERGED', `gateway merged incremental policy op: ${describeOperation(operation)}`, version, hash),
  ),
]

/** Full replacement (spec/policy.md §5.6). A sandbox without a policy takes the first one as its baseline. */
async function replacePolicy(
  deps: Deps,
  { id }: FoundSandbox,
  sent: SandboxPolicy,
  bySecret: boolean,
): Promise<Answer> {
  const policy = withIdentity(sent)
  let committed: Committed | null = null
  const mutated = await retrying('update policy', () =>
    deps.sandboxes.mutate(id, async (sandbox, { tx }) => {
      await refuseManaged(tx)
      if (!sandbox.spec) throw new GatewayError('INTERNAL', POLICY_TEXTS.noSpec)
      const baseline = sandbox.spec.policy
      const editor = await editPolicy(tx, id, baseline)
      const { latest } = editor
      const current = bySecret && latest ? decodePolicy(latest.payload) : baseline
      if (bySecret && current && !isPathEnrichment(withIdentity(current), policy))
        throw new GatewayError('PERMISSION_DENIED', POLICY_TEXTS.secretSyncOnly)
      if (baseline) requireStatic(baseline, policy)
      const bytes = encodePolicy(policy)
      requireSafe(policy, bytes.length)
      committed = editor.replace(policy, bytes)
      await editor.save()
      return baseline ? null : amend(sandbox, { spec: amend(sandbox.spec, { policy }) })
    }),
  )
  const done = committed as Committed | null
  if (!mutated || !done) throw new GatewayError('NOT_FOUND', POLICY_TEXTS.sandboxNotFound)
  if (done.changed && !mutated.changed) deps.notify(id)
  return { version: done.version, policy_hash: done.hash }
}
