import { describe, expect, test } from 'bun:test'
import { derivePhase, observe, whenConnected, whenDisconnected } from '../../../src/domain/phase.ts'
import { codec, type Init } from '../../../src/wire/codec.ts'
import { type ComputeDriverSandboxStatus, type Sandbox, SandboxPhase } from '../../../src/wire/messages.generated.ts'

const { SANDBOX_PHASE_PROVISIONING: PROVISIONING, SANDBOX_PHASE_READY: READY } = SandboxPhase
const { SANDBOX_PHASE_ERROR: ERROR, SANDBOX_PHASE_DELETING: DELETING, SANDBOX_PHASE_UNKNOWN: UNKNOWN } = SandboxPhase
const OLD = 3_600_000

const statusCodec = codec('openshell.compute.v1.DriverSandboxStatus')
const sandboxCodec = codec('openshell.v1.Sandbox')
const status = (given: Init<ComputeDriverSandboxStatus>) => statusCodec.decode(statusCodec.encode(given))
const sandbox = (given: Init<Sandbox> = {}) =>
  sandboxCodec.decode(
    sandboxCodec.encode({ metadata: { id: 'i', name: 'n' }, spec: {}, phase: PROVISIONING, ...given }),
  )
const ready = (state: string, reason = '') => ({ type: 'Ready', status: state, reason, message: 'm' })
const phaseOf = (conditions: Init<ComputeDriverSandboxStatus>['conditions'], deleting = false, ageMs = OLD) =>
  derivePhase(status({ conditions, deleting }), ageMs)

describe('derivation (spec/sandbox.md §8)', () => {
  test.each([
    ['no status', () => derivePhase(null, OLD), UNKNOWN],
    ['nothing set', () => phaseOf([]), PROVISIONING],
    ['deleting wins over ready (D-10)', () => phaseOf([ready('True')], true), DELETING],
    ['deleting wins over failed', () => phaseOf([ready('False', 'Failed')], true), DELETING],
    ['True in any case, any reason', () => phaseOf([ready('TRUE', 'Failed')]), READY],
    ['the exact type only', () => phaseOf([{ type: 'ready', status: 'True' }]), PROVISIONING],
    ['the first Ready counts', () => phaseOf([ready('False', 'Failed'), ready('True')]), ERROR],
    [
      'other conditions do not',
      () => phaseOf([{ type: 'X', status: 'False', reason: 'Failed' }, ready('True')]),
      READY,
    ],
    ['Unknown', () => phaseOf([ready('Unknown', 'Failed')]), PROVISIONING],
    ['blanks are no True', () => phaseOf([ready(' True ')]), PROVISIONING],
    ['an empty reason while young (W33)', () => phaseOf([ready('False')], false, 1000), PROVISIONING],
    ['an empty reason later', () => phaseOf([ready('False')]), ERROR],
  ] as const)('%s', (_, derive, phase) => {
    expect(derive()).toBe(phase)
  })

  test.each(
    'ReconcilerError DependenciesNotReady starting CONTAINERSTARTING HealthCheckStarting InspectFailed ContainerCreated SupervisorNotConnected'.split(
      ' ',
    ),
  )('%s passes', reason => {
    expect(phaseOf([ready('False', reason)])).toBe(PROVISIONING)
  })

  test.each(['Failed', 'CrashLoopBackOff', 'Unschedulable', 'OOMKilled', 'Starting ', 'Dependencies Not Ready', 'x'])(
    '%p is final',
    reason => {
      expect(phaseOf([ready('False', reason)])).toBe(ERROR)
    },
  )
})

describe('a word of the driver', () => {
  const around = { isConnected: false, ageMs: OLD }

  test('the same word twice changes nothing the second time', () => {
    const word = status({ instance_id: 'p', conditions: [ready('True')] })
    const first = observe(sandbox(), word, around)
    expect(first.changed).toBe(true)
    expect(observe(first.sandbox, word, around).changed).toBe(false)
  })

  test('a record being deleted can come back (the delete failed)', () => {
    expect(observe(sandbox({ phase: DELETING }), status({ conditions: [ready('True')] }), around).sandbox.phase).toBe(
      READY,
    )
  })

  test('without status a ready one is unknown, one that is made or deleted stays (spec/drivers.md §2)', () => {
    expect(observe(sandbox({ phase: READY, status: {} }), null, around).sandbox).toMatchObject({
      phase: UNKNOWN,
      status: null,
    })
    for (const phase of [PROVISIONING, DELETING]) expect(observe(sandbox({ phase }), null, around).changed).toBe(false)
  })

  test('a list may leave fields out, an event may not', () => {
    const before = sandbox({ phase: READY, status: { agent_fd: '1', agent_pod: 'p', conditions: [ready('True')] } })
    const word = status({ instance_id: 'p', conditions: [ready('True')] })
    expect(observe(before, word, { ...around, isFromList: true }).changed).toBe(false)
    expect(observe(before, word, around).sandbox.status?.agent_fd).toBe('')
  })

  test.each([
    [true, 'Unschedulable', true],
    [true, 'UNSCHEDULABLE', true],
    [true, 'Failed', false],
    [false, 'Unschedulable', false],
  ])('gpu %p, reason %s: the message is replaced: %p', (gpu, reason, replaced) => {
    const after = observe(sandbox({ spec: { gpu } }), status({ conditions: [ready('False', reason)] }), around).sandbox
    expect(after.status?.conditions[0]?.message.includes('openshell doctor')).toBe(replaced)
  })

  test('what a driver says is bounded (W38)', () => {
    const word = status({ instance_id: 'x'.repeat(100_000), conditions: Array(500).fill(ready('True')) })
    const after = observe(sandbox(), word, around).sandbox
    expect(sandboxCodec.encode(after).length).toBeLessThan(10_000)
  })
})

describe('supervisor overlay (spec/sandbox.md §9)', () => {
  const connected = { isConnected: true, ageMs: OLD }
  const CONDITION = {
    type: 'Ready',
    status: 'True',
    reason: 'DependenciesReady',
    message: 'Supervisor session connected',
  }

  test('starting and unknown become READY, in the place of the Ready condition', () => {
    const word = status({ conditions: [{ type: 'X' }, ready('False', 'Starting'), { type: 'Y' }] })
    const after = observe(sandbox(), word, connected).sandbox
    expect(after.phase).toBe(READY)
    expect(after.status?.conditions.map(({ type }) => type)).toEqual(['X', 'Ready', 'Y'])
    expect(after.status?.conditions[1]).toMatchObject(CONDITION)
    expect(observe(sandbox({ phase: READY, status: {} }), null, connected).sandbox).toMatchObject({
      phase: READY,
      status: { sandbox_name: 'n', conditions: [CONDITION] },
    })
  })

  test.each([
    ['failed', { conditions: [ready('False', 'Failed')] }, ERROR],
    ['deleting', { deleting: true }, DELETING],
  ] as const)('%s stays', (_, word, phase) => {
    expect(observe(sandbox(), status(word), connected).sandbox.phase).toBe(phase)
  })

  test('connect: nothing in error or while deleting, READY otherwise; disconnect: only from READY', () => {
    const failed = sandbox({ phase: ERROR, status: { conditions: [ready('False', 'Failed')] } })
    expect(whenConnected(failed, OLD)).toBeNull()
    expect(whenConnected(sandbox({ phase: DELETING }), OLD)).toBeNull()
    const up = whenConnected(sandbox(), OLD)!
    expect(up).toMatchObject({ phase: READY, status: { sandbox_name: 'n', conditions: [CONDITION] } })
    expect(whenConnected(up, OLD)).toBeNull()
    expect(whenDisconnected(up)).toMatchObject({
      phase: PROVISIONING,
      status: {
        conditions: [
          {
            type: 'Ready',
            status: 'False',
            reason: 'DependenciesNotReady',
            message: 'Supervisor session disconnected',
          },
        ],
      },
    })
    for (const phase of [PROVISIONING, ERROR, DELETING, UNKNOWN])
      expect(whenDisconnected(sandbox({ phase }))).toBeNull()
  })

  test('connect re-judges an error that is none any more (W33)', () => {
    const young = sandbox({ phase: ERROR, status: { conditions: [ready('False', 'ContainerCreated')] } })
    expect(whenConnected(young, OLD)?.phase).toBe(READY)
  })
})
