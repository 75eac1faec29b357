import { randomInt, randomUUID } from 'node:crypto'
import { errorText, GatewayError } from '../base/errors.ts'
import { toDriverSandbox } from '../domain/driver-sandbox.ts'
import { labelsViolation } from '../domain/labels.ts'
import { randomLetters, twoWordName } from '../domain/names.ts'
import { metaViolation } from '../domain/object-meta.ts'
import { whenDeleting } from '../domain/phase.ts'
import { policyViolations } from '../domain/policy-shape.ts'
import { unsafeText } from '../domain/policy-validate.ts'
import { createSizeViolation, reservedNames, withDefaults } from '../domain/sandbox-spec.ts'
import { DriverError } from '../drivers/contract.ts'
import { LIMITS } from '../limits.ts'
import type { Creation } from '../live/creations.ts'
import { isListed } from '../live/driver-look.ts'
import type { CallContext } from '../rpc/context.ts'
import { StoreConflict } from '../store/store.ts'
import { codec, type Init } from '../wire/codec.ts'
import { readMap } from '../wire/maps.ts'
import type { ComputeDriverSandbox, CreateSandboxRequest, Sandbox, SandboxSpec } from '../wire/messages.generated.ts'
import { SandboxPhase } from '../wire/messages.generated.ts'
import { spliceField } from '../wire/splice.ts'
import { driverText, isRefusal } from './driver-errors.ts'
import { providerMissing, SANDBOX_TEXTS, sandboxExists } from './sandbox-texts.ts'
import type { SandboxesDeps } from './sandboxes.ts'
import { storing } from './store-errors.ts'

const SECRET_NAME = 'OPENSHELL_SSH_HANDSHAKE_SECRET'

/** What is stored, its bytes, and what the driver is sent. */
interface Draft {
  readonly id: string
  readonly name: string
  readonly sandbox: Sandbox
  readonly payload: Buffer
  readonly message: Init<ComputeDriverSandbox>
}

/**
 * CreateSandbox (spec/sandbox.md §2): the checks in their fixed order, the record before the driver's call, and an
 * answer as the record was built. Once the record is written the call runs to its end without its client (W41).
 */
export function createSandboxCreate(
  deps: SandboxesDeps,
): (request: CreateSandboxRequest, context: CallContext) => Promise<Uint8Array> {
  const { store, driver, clock } = deps
  const finish = createFinish(deps)

  const checkProviders = async (names: readonly string[]) => {
    for (const name of new Set(names)) {
      const row = await storing('fetch provider', async () => {
        const found = await store.getByName('provider', name)
        if (found) codec('openshell.datamodel.v1.Provider').decode(found.payload)
        return found
      })
      if (!row) throw new GatewayError('FAILED_PRECONDITION', providerMissing(name))
    }
  }

  const draft = (name: string, request: CreateSandboxRequest, spec: SandboxSpec): Draft => {
    const id = randomUUID()
    const bytes = codec('openshell.v1.Sandbox').encode({
      metadata: { id, name, created_at_ms: BigInt(clock.nowMs()), labels: request.labels },
      spec,
      phase: SandboxPhase.SANDBOX_PHASE_PROVISIONING,
    })
    const sandbox = codec('openshell.v1.Sandbox').decode(bytes)
    refuse(metaViolation('sandbox', sandbox.metadata))
    return { id, name, sandbox, payload: bytes, message: toDriverSandbox(sandbox, issued(deps, id)) }
  }

  /** Writes the record; false when another create took the name first. */
  const insert = ({ id, name, payload }: Draft, request: CreateSandboxRequest): Promise<boolean> =>
    storing('persist sandbox', async () => {
      try {
        const labels = readMap(request.labels)
        await store.transaction(tx => tx.insert({ type: 'sandbox', id, name, payload, labels }))
        return true
      } catch (error) {
        if (error instanceof StoreConflict && error.what === 'name') return false
        throw error
      }
    })

  /** A name of the caller's choice is taken or not; a generated one is drawn again until it is free (W1, W2). */
  const make = async (request: CreateSandboxRequest, spec: SandboxSpec, signal: AbortSignal): Promise<Uint8Array> => {
    for (let tries = 1; ; tries++) {
      const name = request.name === '' ? generatedName(tries) : request.name
      const made = draft(name, request, spec)
      if (driver.capabilities === null) throw new GatewayError('UNAVAILABLE', SANDBOX_TEXTS.computeDriverAway)
      await validate(made, signal)
      if (signal.aborted) throw new GatewayError('CANCELLED', SANDBOX_TEXTS.clientGone)
      const taken = await storing('fetch sandbox', () => store.getByName('sandbox', name))
      // Known as being created before the record shows, so that no delete can come between the two (W42).
      const run = async (creation: Creation) => ((await insert(made, request)) ? await finish(made, creation) : null)
      const payload = taken ? null : await deps.creations.run(made.id, run)
      if (payload) return payload
      if (request.name !== '' || tries === LIMITS.nameTries)
        throw new GatewayError('ALREADY_EXISTS', sandboxExists(name))
    }
  }

  /** A refusal of the driver is passed on as it is (spec/sandbox.md §16). */
  const validate = async ({ message }: Draft, signal: AbortSignal) => {
    try {
      await driver.validateSandboxCreate(message, { signal })
    } catch (error) {
      throw error instanceof DriverError ? new GatewayError(error.kind, error.message, { cause: error }) : error
    }
  }

  return async (request, context) => {
    if (!request.spec) throw new GatewayError('INVALID_ARGUMENT', SANDBOX_TEXTS.specRequired)
    refuse(createSizeViolation(request.name, request.spec))
    refuse(labelsViolation(readMap(request.labels)))
    await checkProviders(request.spec.providers)
    const spec = withDefaults(request.spec, driver.capabilities?.defaultImage ?? '')
    const unsafe = spec.policy ? policyViolations(spec.policy) : []
    if (unsafe.length > 0) throw new GatewayError('INVALID_ARGUMENT', unsafeText(unsafe))
    return spliceField(1, [[await make(request, spec, context.signal)]])
  }
}

const refuse = (violation: string | null): void => {
  if (violation) throw new GatewayError('INVALID_ARGUMENT', violation)
}

function generatedName(tries: number): string {
  const name = twoWordName(randomInt)
  return tries < LIMITS.nameTries ? name : `${name}-${randomLetters(6, randomInt)}`
}

/** Variables that only the gateway knows (decision 3). */
const issued = (deps: SandboxesDeps, id: string): ReadonlyMap<string, string> =>
  new Map(deps.deriveSandboxSecret ? [[SECRET_NAME, deps.deriveSandboxSecret(id)]] : [])

/** The part of a create behind the stored record: the driver's call and what follows from its answer. */
function createFinish(deps: SandboxesDeps): (made: Draft, creation: Creation) => Promise<Uint8Array> {
  const { driver, state, log } = deps

  /** Takes the record away; when that fails it is left to be deleted like any other. */
  const rollBack = async ({ id, name }: Draft) => {
    try {
      await state.remove(id, 'removed')
    } catch (error) {
      log.error('record of a failed create not removed', { sandbox: id, sandbox_name: name, cause: errorText(error) })
    }
  }

  /** Nobody knows what the driver made: the record turns into a delete that is followed to its end (S-11). */
  const giveUp = async ({ id, name }: Draft) => {
    await state.mutate(id, whenDeleting).catch(() => null)
    deps.deletions.follow(id, name, false)
  }

  /** Whether the sandbox is there in spite of the error; otherwise everything is undone. */
  const survives = async (made: Draft, error: unknown): Promise<boolean> => {
    const listed = isRefusal(error) ? false : await isListed(driver, made.id, made.name)
    if (listed === true) return true
    if (listed === false) await rollBack(made)
    else await giveUp(made)
    return false
  }

  /** Deletes what was made although nobody wants it any more, and answers the record as it is then (W42). */
  const undo = async (made: Draft): Promise<Uint8Array> => {
    try {
      await driver.deleteSandbox(made.id, made.name)
      await state.remove(made.id, 'deleted')
    } catch (error) {
      log.warn('driver did not delete a sandbox, trying again', {
        sandbox: made.id,
        sandbox_name: made.name,
        cause: errorText(error),
      })
      deps.deletions.follow(made.id, made.name, false)
    }
    return codec('openshell.v1.Sandbox').encode(whenDeleting(made.sandbox))
  }

  return async (made, creation) => {
    deps.logs.open(made.id)
    try {
      await driver.createSandbox(made.message)
    } catch (error) {
      if (!(await survives(made, error))) throw createError(error)
      log.warn('driver answered an error for a sandbox that it made', { sandbox: made.id, cause: errorText(error) })
    }
    if (creation.settle()) return await undo(made)
    log.info('CreateSandbox request completed successfully', { sandbox_id: made.id, sandbox_name: made.name })
    const reserved = made.sandbox.spec ? reservedNames(made.sandbox.spec) : []
    if (reserved.length > 0)
      log.warn("sandbox sets variables that are the driver's; it may never start", {
        sandbox_id: made.id,
        names: reserved,
      })
    deps.bus.changed(made.id)
    return made.payload
  }
}

/** The status of a failed driver call (spec/sandbox.md §2 step 13). */
function createError(error: unknown): unknown {
  if (!(error instanceof DriverError)) return error
  if (error.kind === 'ALREADY_EXISTS')
    return new GatewayError('ALREADY_EXISTS', SANDBOX_TEXTS.sandboxExistsAtDriver, { cause: error })
  if (error.kind === 'FAILED_PRECONDITION')
    return new GatewayError('FAILED_PRECONDITION', error.message, { cause: error })
  return new GatewayError('INTERNAL', `create sandbox failed: ${driverText(error)}`, { cause: error })
}

/** Hands a stored sandbox to the driver again, for a create that was cut off before the driver heard of it (S-11). */
export function createRecreate(deps: SandboxesDeps): (id: string) => Promise<void> {
  return async id => {
    const row = await deps.store.get('sandbox', id)
    if (!row) return
    const sandbox = codec('openshell.v1.Sandbox').decode(row.payload)
    await deps.driver.createSandbox(toDriverSandbox(sandbox, issued(deps, id)))
  }
}
