import { describe, expect, test } from 'bun:test'
import { StartError } from '../../../src/base/errors.ts'
import type { CommandIo } from '../../../src/cli/command.ts'
import { type RunningGateway, runGateway, type StartGateway, serve } from '../../../src/cli/serve.ts'
import type { FlagName } from '../../../src/config/flags.ts'
import { type RawValues, readConfig } from '../../../src/config/read.ts'

const ENV = { OPENSHELL_SSH_HANDSHAKE_SECRET: 'a-secret-of-more-than-16-bytes', OPENSHELL_OIDC_ISUER: 'x' }
const ARGV = ['--disable-tls', '--db-url', 'sqlite:/tmp/x.db', '--compute-driver-socket', '/run/c.sock']

function raw(...more: string[]): RawValues<FlagName> {
  const read = readConfig([...ARGV, ...more], ENV)
  if (read.kind !== 'values') throw new Error('not read')
  return read.values
}

class Exited extends Error {}
const exit = (): never => {
  throw new Exited()
}
const silent: CommandIo = { out: async () => undefined, err: async () => undefined, isTerminal: false, exit }

function fakeGateway() {
  const calls: string[] = []
  const ended = Promise.withResolvers<void>()
  const gateway: RunningGateway = {
    drain: async reason => void calls.push(`drain ${reason}`),
    stop: () => void calls.push('stop'),
    reload: () => void calls.push('reload'),
    finished: ended.promise,
  }
  return { gateway, calls, ended }
}

/** Lets what was promised so far happen. */
const settle = () => new Promise<void>(resolve => setImmediate(resolve))
const emit = (signal: 'SIGTERM' | 'SIGINT' | 'SIGHUP' | 'SIGUSR1') => process.emit(signal, signal)
const listeners = () =>
  (['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1'] as const).map(signal => process.listenerCount(signal))

describe('serve', () => {
  test('starts the gateway with the configuration, the version and the warnings', async () => {
    const { gateway, ended } = fakeGateway()
    ended.resolve()
    let seen: Parameters<StartGateway> | null = null
    const code = await serve(raw('--port', '7'), silent, async (...given) => {
      seen = given
      return gateway
    })
    const [config, options] = seen as unknown as Parameters<StartGateway>
    expect([code, config.port]).toEqual([0, 7])
    expect(options.warnings).toEqual([
      'unknown variable OPENSHELL_OIDC_ISUER is ignored; did you mean OPENSHELL_OIDC_ISSUER?',
    ])
  })

  test('prints what is wrong and starts nothing', async () => {
    let text = ''
    const io: CommandIo = {
      ...silent,
      async err(line) {
        text += line
      },
    }
    const code = await serve(raw('--drivers', 'podman'), io, () => {
      throw new Error('must not be called')
    })
    expect(code).toBe(2)
    expect(text).toStartWith('error: configuration error: --compute-driver-socket cannot be used')
  })

  test('hands on why the gateway could not start, or ended', async () => {
    const failure = new StartError('failed to bind')
    expect(runGateway(() => Promise.reject(failure), 1, silent)).rejects.toBe(failure)
    const { gateway, ended } = fakeGateway()
    ended.reject(failure)
    expect(runGateway(async () => gateway, 1, silent)).rejects.toBe(failure)
  })
})

describe('signals', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)('%s drains and ends with 0, and no listener is left', async signal => {
    const before = listeners()
    const { gateway, calls } = fakeGateway()
    const running = runGateway(async () => gateway, 1, silent)
    await settle()
    emit(signal)
    expect(await running).toBe(0)
    expect(calls).toEqual([`drain ${signal}`])
    expect(listeners()).toEqual(before)
  })

  test('decision 23: a second one ends at once', async () => {
    const { gateway } = fakeGateway()
    const drained = Promise.withResolvers<void>()
    const codes: number[] = []
    const leave = (code: number): never => {
      codes.push(code)
      drained.resolve()
      return undefined as never
    }
    const running = runGateway(async () => ({ ...gateway, drain: () => drained.promise }), 1, { exit: leave })
    await settle()
    emit('SIGTERM')
    await settle()
    emit('SIGINT')
    await running
    expect(codes).toEqual([130])
  })

  test('SIGHUP reloads and SIGUSR1 does nothing', async () => {
    const { gateway, calls, ended } = fakeGateway()
    const running = runGateway(async () => gateway, 1, silent)
    await settle()
    emit('SIGHUP')
    emit('SIGUSR1')
    ended.resolve()
    expect(await running).toBe(0)
    expect(calls).toEqual(['reload'])
  })

  test('during the start end with 0 and stop what the start brings', async () => {
    const { gateway, calls } = fakeGateway()
    const started = Promise.withResolvers<RunningGateway>()
    const running = runGateway(() => started.promise, 1, silent)
    emit('SIGTERM')
    await settle()
    started.resolve(gateway)
    expect(await running).toBe(0)
    expect(calls).toEqual(['stop'])
  })

  test('a start that is given up hears of it, and need not come through', async () => {
    const start = (signal: AbortSignal) =>
      new Promise<RunningGateway>((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(new StartError('given up')))
      })
    const running = runGateway(start, 1, silent)
    emit('SIGTERM')
    expect(await running).toBe(0)
  })
})
