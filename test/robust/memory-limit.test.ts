/** C-08: floods under a memory limit of 256 MB, as a container has it: some calls are refused, nothing is killed. */
import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants, existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../../src/dev/free-port.ts'
import { EXECUTABLE, SECRET, until } from '../kit/gateway.ts'
import { isListening } from '../kit/processes.ts'
import { callHead, openBare } from '../kit/raw-call.ts'
import { frame, framesOf, http2Start, openRaw, type RawSocket } from '../kit/raw-socket.ts'

setDefaultTimeout(60_000)

const LIMIT = 256_000_000
const MIB = 1_048_576
const ROOT = '/sys/fs/cgroup/memory'
/** Only where control groups of the first version may be made. */
const mayLimit = (() => {
  try {
    accessSync(join(ROOT, 'cgroup.procs'), constants.W_OK)
    return existsSync(join(ROOT, 'memory.limit_in_bytes'))
  } catch {
    return false
  }
})()
let child: ChildProcess | undefined
const group = join(ROOT, `openshell-test-${process.pid}`)
const path = '/openshell.v1.OpenShell/GetSandbox'

afterAll(async () => {
  child?.kill('SIGKILL')
  if (existsSync(group))
    await until('the control group to be empty', () => !readFileSync(join(group, 'cgroup.procs'), 'utf8'))
  if (existsSync(group)) rmdirSync(group)
})

test.skipIf(!mayLimit)('C-08, F-08, F-12: silent streams and large messages stay below 256 MB', async () => {
  mkdirSync(group)
  writeFileSync(join(group, 'memory.limit_in_bytes'), String(LIMIT))
  const port = await freePort(0, true)
  const args = ['--port', String(port), '--bind-address', '127.0.0.1', '--disable-tls', '--db-url', 'sqlite::memory:']
  const gateway = spawn(
    'sh',
    [
      '-c',
      `echo $$ > ${group}/cgroup.procs; exec "$0" "$@"`,
      EXECUTABLE,
      ...args,
      '--compute-driver-socket',
      '/run/none.sock',
    ],
    { env: { PATH: process.env['PATH'], OPENSHELL_SSH_HANDSHAKE_SECRET: SECRET }, stdio: 'ignore' },
  )
  child = gateway
  const ended = new Promise(resolve => gateway.once('exit', (code, signal) => resolve(code ?? signal)))
  await until('the port', () => isListening(port))

  const flood = async (connections: number, words: Buffer, isEnough: (raw: RawSocket) => boolean) => {
    const opened = await Promise.all(Array.from({ length: connections }, () => openRaw(port)))
    for (const raw of opened) raw.send(Buffer.concat([http2Start(), words, frame(6, 0, 0, Buffer.alloc(8))]))
    await until('the flood to be read', () => opened.every(raw => !raw.isOpen() || isEnough(raw)), 30_000)
    for (const raw of opened) raw.destroy()
  }
  const heads = Array.from({ length: 128 }, (_, n) => frame(1, 4, 1 + 2 * n, callHead(path)))
  await flood(256, Buffer.concat(heads), raw =>
    framesOf(raw.received()).some(({ type, flags }) => type === 6 && flags === 1),
  )

  const message = Buffer.alloc(MIB - 100)
  message.writeUInt32BE(message.length - 5, 1)
  const pieces = Array.from({ length: Math.ceil(message.length / 16_384) }, (_, n) =>
    frame(0, 0, 1, message.subarray(n * 16_384, (n + 1) * 16_384)),
  )
  const call = Buffer.concat([frame(1, 4, 1, callHead(path)), ...pieces, frame(0, 1, 1)])
  for (let round = 0; round < 3; round++)
    await flood(200, call, raw => framesOf(raw.received()).some(({ type, stream }) => type === 1 && stream === 1))

  const client = openBare(`127.0.0.1:${port}`)
  expect((await client.ask('/openshell.v1.OpenShell/Health', {}, Buffer.alloc(5))).code).toBe(0)
  client.close()
  expect(readFileSync(join(group, 'memory.oom_control'), 'utf8')).not.toMatch(/^oom_kill [1-9]/m)
  gateway.kill('SIGTERM')
  expect(await ended).toBe(0)
})
