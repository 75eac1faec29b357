import { requireSandbox } from '../auth/sandbox-binding.ts'
import type { Clock } from '../base/clock.ts'
import { errorText, GatewayError } from '../base/errors.ts'
import { plainText } from '../domain/audit-lines.ts'
import { configRevision } from '../domain/config-revision.ts'
import { encodePolicy } from '../domain/policy-bytes.ts'
import { hashPolicy } from '../domain/policy-hash.ts'
import { POLICY_TEXTS } from '../domain/policy-texts.ts'
import { isPlainPolicy } from '../domain/policy-wellformed.ts'
import { effectiveSettings, SETTINGS, type SettingRow, toWire } from '../domain/settings.ts'
import { LIMITS } from '../limits.ts'
import type { SandboxState } from '../live/sandbox-state.ts'
import type { Logger } from '../observe/log.ts'
import type { Handlers } from '../rpc/handlers.ts'
import type { PolicyRevision, PolicyStatusText, PolicySummary, Store, StoreReads } from '../store/store.ts'
import { amend, codec, WireError } from '../wire/codec.ts'
import { writeMap } from '../wire/maps.ts'
import { PolicySource, PolicyStatus } from '../wire/messages.generated.ts'
import { spliceField } from '../wire/splice.ts'
import { type Commit, retrying } from './commit.ts'
import { createHashMemo } from './hash-memo.ts'
import { decodePolicy, GLOBAL_POLICY_ID } from './policy-revisions.ts'
import { type FoundSandbox, sandboxById, sandboxByName } from './sandbox-lookup.ts'
import { createGlobalReader, globalPolicyOf, loadSandbox } from './settings-store.ts'
import { storing } from './store-errors.ts'
import { createUpdateConfig } from './update-config.ts'

export interface PolicyServiceDeps {
  readonly store: Store
  readonly commit: Commit
  readonly sandboxes: Pick<SandboxState, 'mutate'>
  readonly clock: Clock
  readonly log: Logger
  /** Watchers of the sandbox get a snapshot (`WatchBus.notify`). */
  readonly notify: (sandboxId: string) => void
  /** Puts a line of level and target OCSF into the sandbox's log stream (spec/policy.md §9). */
  readonly auditLine: (sandboxId: string, line: string) => void
  /** Keys that may be set; the public ones unless told otherwise. */
  readonly settings?: readonly SettingRow[]
}

const CONFIG = codec('openshell.sandbox.v1.GetSandboxConfigResponse')
const REVISION = codec('openshell.v1.SandboxPolicyRevision')
const STATUS = codec('openshell.v1.GetSandboxPolicyStatusResponse')

/** Field numbers into which stored policy bytes are spliced. */
const CONFIG_POLICY = 1
const STATUS_REVISION = 1
const REVISION_POLICY = 7

const LOADED = PolicyStatus.POLICY_STATUS_LOADED
const FAILED = PolicyStatus.POLICY_STATUS_FAILED

/** TABLE of revision states: stored text and number of the contract; any other text is UNSPECIFIED. */
const STATUSES: ReadonlyMap<PolicyStatusText, number> = new Map([
  ['pending', PolicyStatus.POLICY_STATUS_PENDING],
  ['loaded', LOADED],
  ['failed', FAILED],
  ['superseded', PolicyStatus.POLICY_STATUS_SUPERSEDED],
])

type PolicyRpc =
  | 'GetSandboxConfig'
  | 'GetGatewayConfig'
  | 'UpdateConfig'
  | 'GetSandboxPolicyStatus'
  | 'ListSandboxPolicies'
  | 'ReportPolicyStatus'

/** Policies and settings (spec/policy.md §4, §5, §7). */
export function createPolicyService(deps: PolicyServiceDeps): Pick<Handlers, PolicyRpc> {
  const { store, log } = deps
  const rows = deps.settings ?? SETTINGS
  const readGlobal = createGlobalReader()
  const hashOf = createHashMemo()

  /** The newest revision; a sandbox that has a policy but no revision gets its first one here (spec/policy.md §4.1). */
  const latestOrBackfilled = async (found: FoundSandbox): Promise<Delivered | null> => {
    const latest = await store.latestPolicy(found.id)
    if (latest) return latest
    if (!found.sandbox.spec) throw new GatewayError('INTERNAL', POLICY_TEXTS.noSpec)
    const { policy } = found.sandbox.spec
    if (!policy) return null
    const first = { id: null, version: 1, payload: encodePolicy(policy), hash: hashPolicy(policy) }
    try {
      await deps.commit(`sandbox:${found.id}`, 'backfill policy', async tx => {
        if ((await tx.latestPolicy(found.id)) || !(await tx.get('sandbox', found.id))) return
        await tx.insertPolicy({ sandboxId: found.id, ...first })
        await tx.setPolicyStatus(found.id, 1, 'loaded', { loadError: null, loadedAtMs: null })
      })
    } catch (error) {
      log.warn('policy revision could not be backfilled', { sandbox_id: found.id, error: errorText(error) })
    }
    return first
  }

  const sandboxConfig = async (sandboxId: string): Promise<Buffer> => {
    const found = await sandboxById(store, sandboxId)
    const own = await latestOrBackfilled(found)
    const global = await readGlobal(store)
    const settings = effectiveSettings(rows, global, (await loadSandbox(store, sandboxId)).blob)
    const globalPayload = globalPolicyOf(global)
    const payload = globalPayload ?? own?.payload ?? null
    const contentHash = payload && hashOf(globalPayload ?? own!.id ?? payload, payload)
    const source = globalPayload ? PolicySource.POLICY_SOURCE_GLOBAL : PolicySource.POLICY_SOURCE_SANDBOX
    const rest = CONFIG.encode({
      version: globalPayload ? own?.version || 1 : (own?.version ?? 0),
      policy_hash: globalPayload ? contentHash! : (own?.hash ?? ''),
      settings: new Map(
        [...settings].map(
          ([key, { value, scope }]) => [key, { value: value ? toWire(value) : undefined, scope }] as const,
        ),
      ),
      config_revision: configRevision({ source, policyHash: contentHash, settings }),
      policy_source: source,
      global_policy_version: globalPayload ? await globalVersion() : 0,
    })
    return payload ? Buffer.concat([spliceField(CONFIG_POLICY, [[payload]]), rest]) : rest
  }

  const globalVersion = async (): Promise<number> => {
    try {
      return (await store.latestPolicy(GLOBAL_POLICY_ID))?.version ?? 0
    } catch (error) {
      log.warn('version of the global policy could not be read', { error: errorText(error) })
      return 0
    }
  }

  return {
    UpdateConfig: createUpdateConfig({ ...deps, settings: rows }),

    GetSandboxConfig: ({ sandbox_id }, { principal }) => {
      requireSandbox(principal, sandbox_id)
      return storing('fetch sandbox config', () => sandboxConfig(sandbox_id))
    },

    GetGatewayConfig: () =>
      storing('fetch gateway config', async () => {
        const blob = await readGlobal(store)
        const settings = rows.map(({ key }) => {
          const value = blob.values.get(key)
          return [key, value ? toWire(value) : {}] as const
        })
        return { settings: writeMap(settings), settings_revision: blob.revision }
      }),

    GetSandboxPolicyStatus: request =>
      storing('fetch policy status', async () => {
        const scope = await scopeOf(store, request)
        const wanted = request.version
        const revision = wanted === 0 ? await store.latestPolicy(scope.id) : await store.policyVersion(scope.id, wanted)
        if (!revision)
          throw new GatewayError('NOT_FOUND', request.global ? POLICY_TEXTS.noGlobalRevision : POLICY_TEXTS.noRevision)
        const parts: Uint8Array[] = [REVISION.encode(describe(revision))]
        if (isReadable(revision)) parts.push(spliceField(REVISION_POLICY, [[revision.payload]]))
        return Buffer.concat([
          spliceField(STATUS_REVISION, [parts]),
          STATUS.encode({ active_version: scope.activeVersion }),
        ])
      }),

    ListSandboxPolicies: request =>
      storing('list policies', async () => {
        const scope = await scopeOf(store, request)
        const limit = Math.min(request.limit || LIMITS.policyPageDefault, LIMITS.pageMost)
        const revisions = await store.listPolicies(scope.id, { limit, offset: request.offset })
        return { revisions: revisions.map(describe) }
      }),

    async ReportPolicyStatus({ sandbox_id, version, status, load_error }, { principal }) {
      if (sandbox_id === '') throw new GatewayError('INVALID_ARGUMENT', POLICY_TEXTS.sandboxIdRequired)
      requireSandbox(principal, sandbox_id)
      if (version === 0) throw new GatewayError('INVALID_ARGUMENT', POLICY_TEXTS.versionRequired)
      if (status !== LOADED && status !== FAILED)
        throw new GatewayError('INVALID_ARGUMENT', POLICY_TEXTS.statusRequired)
      const report = { sandboxId: sandbox_id, version, isLoaded: status === LOADED, error: clipError(load_error) }
      if (await recordReport(deps, report)) deps.notify(sandbox_id)
      if (!report.isLoaded)
        log.warn('sandbox could not load its policy', { sandbox_id, version, load_error: report.error })
      return {}
    },
  }
}

type Delivered = Pick<PolicyRevision, 'version' | 'payload' | 'hash'> & { readonly id: string | null }

interface Report {
  readonly sandboxId: string
  readonly version: number
  readonly isLoaded: boolean
  readonly error: string
}

/**
 * Writes what a supervisor says about a revision; whether watchers must hear of it. A report about an older revision
 * than one that is loaded changes nothing (W10).
 */
async function recordReport({ sandboxes, clock }: PolicyServiceDeps, report: Report): Promise<boolean> {
  const { sandboxId, version } = report
  let isNews = false
  const mutated = await retrying('report policy status', () =>
    sandboxes.mutate(sandboxId, async (sandbox, { tx }) => {
      isNews = false
      if (!(await tx.policyVersion(sandboxId, version)))
        throw new GatewayError('NOT_FOUND', POLICY_TEXTS.revisionNotFound)
      if (!report.isLoaded) {
        await tx.setPolicyStatus(sandboxId, version, 'failed', { loadError: report.error || null, loadedAtMs: null })
        return null
      }
      const active = sandbox.current_policy_version
      if (active > version && (await tx.policyVersion(sandboxId, active))?.status === 'loaded') return null
      await tx.setPolicyStatus(sandboxId, version, 'loaded', { loadError: null, loadedAtMs: clock.nowMs() })
      await tx.supersedePolicies(sandboxId, version)
      isNews = true
      return active === version ? null : amend(sandbox, { current_policy_version: version })
    }),
  )
  if (!mutated) throw new GatewayError('NOT_FOUND', POLICY_TEXTS.revisionNotFound)
  // Watchers of a record that changed have been told already.
  return isNews && !mutated.changed
}

/** One line of at most 4 KiB, cut at a character (W24). */
function clipError(text: string): string {
  const bytes = Buffer.from(plainText(text))
  if (bytes.length <= LIMITS.loadErrorBytes) return bytes.toString()
  let end: number = LIMITS.loadErrorBytes
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end--
  return bytes.subarray(0, end).toString()
}

/** Whose revisions a request is about. */
async function scopeOf(
  from: StoreReads,
  request: { readonly name: string; readonly global: boolean },
): Promise<{ readonly id: string; readonly activeVersion: number }> {
  if (request.global) return { id: GLOBAL_POLICY_ID, activeVersion: 0 }
  const { id, sandbox } = await sandboxByName(from, request.name)
  return { id, activeVersion: sandbox.current_policy_version }
}

/** A revision without its policy. */
const describe = (revision: PolicySummary) => ({
  version: revision.version,
  policy_hash: revision.hash,
  status: STATUSES.get(revision.status) ?? PolicyStatus.POLICY_STATUS_UNSPECIFIED,
  load_error: revision.loadError ?? '',
  created_at_ms: revision.createdAtMs,
  loaded_at_ms: revision.loadedAtMs ?? 0,
})

function isReadable(revision: PolicyRevision): boolean {
  if (isPlainPolicy(revision.payload)) return true
  try {
    decodePolicy(revision.payload)
    return true
  } catch (error) {
    if (error instanceof WireError) return false
    throw error
  }
}
