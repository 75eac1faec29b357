import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { StartError } from '../../src/base/errors.ts'
import type { CredentialsDriver } from '../../src/drivers/contract.ts'
import { DriverError } from '../../src/drivers/contract.ts'
import { CREDENTIAL_UNAVAILABLE, createCredentialsDriver } from '../../src/drivers/credentials.ts'
import { createCapturedLog } from '../kit/captured-log.ts'
import { type DriverProcess, startDriver } from '../kit/driver-process.ts'

const CANARY = 'canary-6f1c2b'

let directory: string
let socket: string
let log: ReturnType<typeof createCapturedLog>
let driver: CredentialsDriver
let peer: DriverProcess | null = null

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'drv-'))
  socket = join(directory, 'credentials.sock')
  log = createCapturedLog()
  driver = createCredentialsDriver({ socketPath: socket, connectTimeoutSecs: 0, log })
})

afterEach(async () => {
  await driver.close()
  await peer?.kill()
  peer = null
  rmSync(directory, { recursive: true, force: true })
})

const begin = async () => {
  peer = await startDriver('credentials-driver.ts', socket)
  await driver.start()
  return peer
}

const failure = async (call: Promise<unknown>): Promise<DriverError> => {
  const error = await call.catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(DriverError)
  return error as DriverError
}

describe('credentials driver', () => {
  test('a token comes out as a secret with its expiry', async () => {
    const running = await begin()
    const expiresAtMs = Date.now() + 60_000
    await running.tell({
      do: 'set',
      name: 'github',
      answer: { token: CANARY, expires_at_ms: String(expiresAtMs), token_type: 'bearer' },
    })
    const got = await driver.resolve('github')
    expect(got.token.reveal()).toBe(CANARY)
    expect([got.expiresAtMs, got.tokenType]).toEqual([expiresAtMs, 'Bearer'])
    expect(await driver.list()).toEqual([{ name: 'github', scopes: ['repo'] }])
    expect(JSON.stringify([got, log.lines])).not.toContain(CANARY)
  })

  test('D-12: an answer that cannot be used is UNAVAILABLE and appears nowhere', async () => {
    const running = await begin()
    await running.tell({
      do: 'set',
      name: 'bad',
      answer: { token: `${CANARY}\r\nx: y`, expires_at_ms: '0', token_type: '' },
    })
    const error = await failure(driver.resolve('bad'))
    expect([error.kind, error.message]).toEqual(['UNAVAILABLE', CREDENTIAL_UNAVAILABLE])
    expect(JSON.stringify([error.message, error.cause, error.stack, log.lines])).not.toContain(CANARY)
  })

  test('D-14: no word of the driver is in what is shown, whatever it says', async () => {
    const running = await begin()
    const shown: [string, string][] = []
    for (const code of [
      'UNAVAILABLE',
      'INTERNAL',
      'PERMISSION_DENIED',
      'NOT_FOUND',
      'INVALID_ARGUMENT',
      'UNKNOWN',
    ] as const) {
      await running.behave('ResolveCredential', { mode: 'fail', code, text: `issuer said ${CANARY}` })
      const error = await failure(driver.resolve('x'))
      shown.push([error.kind, error.message])
    }
    expect(shown).toEqual([
      ['UNAVAILABLE', CREDENTIAL_UNAVAILABLE],
      ['UNAVAILABLE', CREDENTIAL_UNAVAILABLE],
      ['UNAVAILABLE', CREDENTIAL_UNAVAILABLE],
      ['NOT_FOUND', 'credential not found'],
      ['INVALID_ARGUMENT', 'credential name refused'],
      ['UNAVAILABLE', CREDENTIAL_UNAVAILABLE],
    ])
    expect(JSON.stringify(log.lines)).not.toContain(CANARY)
  })

  test('one slow name does not hold up another', async () => {
    const running = await begin()
    await running.behave('ResolveCredential', { mode: 'hang' })
    const slow = failure(driver.resolve('slow', { timeoutMs: 200 }))
    expect(await driver.list()).toEqual([])
    expect((await slow).kind).toBe('DEADLINE_EXCEEDED')
  })

  test('decision 11: a compute driver in its place ends the start and is named', async () => {
    peer = await startDriver('compute-driver.ts', socket)
    const error = await driver.start().catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(StartError)
    expect((error as StartError).message).toEndWith('it is a compute driver')
  })

  test('a driver that cannot list is still a driver', async () => {
    peer = await startDriver('credentials-driver.ts', socket)
    await peer.behave('ListCredentials', { mode: 'fail', code: 'INTERNAL', text: 'x' })
    await driver.start()
    expect(driver.state.status).toBe('ready')
  })
})
