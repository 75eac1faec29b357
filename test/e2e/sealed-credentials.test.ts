/**
 * Credential values at rest (`--store-key-file`, spec/providers.md W5): no clear value in the file, keys rotated by
 * adding a line, and without the key nothing is delivered in place of a value.
 */
import { afterEach, beforeEach, expect, setDefaultTimeout, test } from 'bun:test'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Answer, EXECUTABLE, type GatewayProcess, startGateway } from '../kit/gateway.ts'

setDefaultTimeout(60_000)

const CANARY = 'clear-value-that-must-not-be-stored'
const FIRST = randomBytes(32).toString('hex')
const SECOND = randomBytes(32).toString('base64')

let directory: string
let gateway: GatewayProcess | null
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'sealed-'))
})
afterEach(async () => {
  await gateway?.stop()
  const output = gateway?.output() ?? ''
  gateway = null
  rmSync(directory, { recursive: true, force: true })
  expect(output).not.toContain(CANARY)
  expect(output).not.toContain(FIRST)
  expect(output).not.toContain('"message":"bug"')
})

const keyFile = () => join(directory, 'keys')
function writeKeys(...keys: string[]): void {
  writeFileSync(keyFile(), `# ours\n${keys.join('\n')}\n`, { mode: 0o600 })
}
/** Starts with the key file, or without. */
const start = async (withKeys: boolean) => {
  const nowhere = ['--compute-driver-socket', join(directory, 'none.sock')]
  gateway = await startGateway({
    dir: directory,
    args: [...nowhere, ...(withKeys ? ['--store-key-file', keyFile()] : [])],
    env: { OPENSHELL_INFERENCE_ALLOW_PRIVATE_ENDPOINTS: 'true' },
  })
}
const restart = async (withKeys: boolean) => {
  await gateway?.stop()
  await start(withKeys)
}
const call = (rpc: string, request: object = {}): Promise<Answer> => gateway!.call(rpc, request)
const save = (rpc: 'CreateProvider' | 'UpdateProvider', credentials: object) =>
  call(rpc, { provider: { metadata: { name: 'llm' }, type: 'openai', credentials } })
/** What sandboxes would get for the route. */
const apiKeys = async (): Promise<string[]> => {
  const { response } = await call('GetInferenceBundle')
  return ((response as { routes?: { api_key: string }[] }).routes ?? []).map(route => route.api_key)
}
const useRoute = () => call('SetClusterInference', { provider_name: 'llm', model_id: 'm', no_verify: true })
/** All bytes of the database and its log. */
const stored = (): string =>
  readdirSync(directory)
    .filter(name => name.startsWith('gateway.db'))
    .map(name => readFileSync(join(directory, name), 'latin1'))
    .join()

test('with a key file no clear value reaches the file, and sandboxes get what was set', async () => {
  writeKeys(FIRST)
  await start(true)
  expect((await save('CreateProvider', { OPENAI_API_KEY: CANARY })).code).toBe('OK')
  await useRoute()
  expect(await apiKeys()).toEqual([CANARY])
  expect((await save('UpdateProvider', { OTHER: `${CANARY}-2` })).code).toBe('OK')
  expect(stored()).toContain('openshell:sealed:v1:')
  expect(stored()).not.toContain(CANARY)
  await restart(true)
  expect(await apiKeys()).toEqual([CANARY])
  expect(stored()).not.toContain(CANARY)
})

test('what was stored in clear text before is read, and sealed by the next update', async () => {
  await start(false)
  await save('CreateProvider', { OPENAI_API_KEY: CANARY })
  await useRoute()
  writeKeys(FIRST)
  await restart(true)
  expect(await apiKeys()).toEqual([CANARY])
  expect((await save('UpdateProvider', { OTHER: 'x' })).code).toBe('OK')
  expect(await apiKeys()).toEqual([CANARY])
  await gateway!.stop()
  gateway = null
  expect(stored()).not.toContain(CANARY)
})

test('a key is rotated by adding one: old values are read, an update seals all of them anew', async () => {
  writeKeys(FIRST)
  await start(true)
  await save('CreateProvider', { OPENAI_API_KEY: CANARY })
  await useRoute()
  writeKeys(FIRST, SECOND)
  await restart(true)
  expect(await apiKeys()).toEqual([CANARY])
  expect((await save('UpdateProvider', { OTHER: 'x' })).code).toBe('OK')
  writeKeys(SECOND)
  await restart(true)
  expect(await apiKeys()).toEqual([CANARY])
})

test.each([
  ['another key', true],
  ['no key file', false],
])(
  'with %s nothing is delivered in place of a value, nothing is overwritten, and the log says why',
  async (_title, withKeys) => {
    writeKeys(FIRST)
    await start(true)
    await save('CreateProvider', { OPENAI_API_KEY: CANARY })
    await useRoute()
    writeKeys(SECOND)
    await restart(withKeys)
    expect(await apiKeys()).toEqual([])
    const says = withKeys ? 'no key with id' : 'a sealed value cannot be opened without the key file'
    await gateway!.logged(line => line.level === 'WARN' && String(line['reason']).includes(says))
    const changed = await save('UpdateProvider', { OTHER: 'x' })
    expect(changed.code).toBe('INTERNAL')
    expect(changed.details).toContain(says)
    expect((await useRoute()).code).toBe('INTERNAL')
    // What needs no value works.
    expect((await call('GetProvider', { name: 'llm' })).response).toMatchObject({
      provider: { credentials: { OPENAI_API_KEY: 'REDACTED' } },
    })
    writeKeys(FIRST)
    await restart(true)
    expect(await apiKeys()).toEqual([CANARY])
  },
)

test.each<[string, () => void, RegExp]>([
  ['is missing', () => undefined, /ENOENT|no such file/],
  ['can be read by others', () => writeFileSync(keyFile(), FIRST, { mode: 0o644 }), /use mode 0600/],
  ['is empty', () => writeKeys(), /there is no key in it/],
  ['has a damaged line', () => writeKeys(FIRST, 'not-a-key'), /line 3 is not a 32-byte key/],
])('a key file that %s ends the start with a sentence', (_title, prepare, sentence) => {
  prepare()
  const args = ['--port', '0', '--disable-tls', '--db-url', `sqlite:${join(directory, 'gateway.db')}`]
  const socket = ['--compute-driver-socket', join(directory, 'none.sock')]
  const ended = Bun.spawnSync([EXECUTABLE, ...args, ...socket, '--store-key-file', keyFile()], {
    env: { PATH: process.env['PATH']!, OPENSHELL_SSH_HANDSHAKE_SECRET: 'x'.repeat(32) },
    timeout: 20_000,
  })
  expect(ended.exitCode).toBe(1)
  const said = `${ended.stdout}${ended.stderr}`.replace(/\n +│ /g, ' ')
  expect(said).toMatch(sentence)
  expect(said).toContain('store key file')
  expect(said).not.toContain('not-a-key')
})
