/** `exec`, `ssh-proxy` and `supervisor` when the gateway, the sandbox or their own user goes away: they end, or wait without a noise. */
import { afterEach, beforeEach, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { startBackground } from '../kit/background.ts'
import { EXECUTABLE, SECRET } from '../kit/gateway.ts'
import { echo, type RelayWorld, startRelayWorld } from '../kit/relay-world.ts'

setDefaultTimeout(40_000)

const END_MS = 5000
const TICK_MS = 10
let dir: string
let world: RelayWorld
let sandbox: string
let relays: Duplex[]
const children: Bun.Subprocess[] = []

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'broken-ends-'))
  world = await startRelayWorld({ dir })
  sandbox = await world.create('box')
  relays = []
})
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  world.gateway.child.kill('SIGCONT')
  await world.stop()
  rmSync(dir, { recursive: true, force: true })
})

const environment = () => ({ PATH: process.env['PATH']!, HOME: dir, OPENSHELL_SSH_HANDSHAKE_SECRET: SECRET })

function start(...args: string[]) {
  const child = Bun.spawn([EXECUTABLE, ...args], {
    env: environment(),
    stdin: 'pipe',
    stdout: 'pipe',
    stderr: 'pipe',
  })
  children.push(child)
  return child
}

const target = () => ['--gateway-endpoint', world.url]
/** Processor time a process has used. */
const cpuMs = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS
}
const endOf = (child: Bun.Subprocess): Promise<number | 'runs'> =>
  Promise.race([child.exited, Bun.sleep(END_MS).then(() => 'runs' as const)])

async function proxy() {
  await world.supervise(sandbox, relay => {
    relays.push(relay)
    echo(relay)
  })
  await world.ready('box')
  const child = start('ssh-proxy', ...target(), 'box')
  child.stdin.write('hello\n')
  await child.stdin.flush()
  const reader = child.stdout.getReader()
  expect(Buffer.from((await reader.read()).value!).toString()).toBe('hello\n')
  return { child, reader }
}

test('ssh-proxy ends when its gateway is killed, with its input still open', async () => {
  const { child } = await proxy()
  world.gateway.child.kill('SIGKILL')
  expect(await endOf(child)).not.toBe('runs')
})

test('ssh-proxy ends when its sandbox is gone', async () => {
  const { child } = await proxy()
  for (const relay of relays) relay.destroy()
  expect(await endOf(child)).not.toBe('runs')
})

test('ssh-proxy ends when its user has ended its input, and when nobody reads its output', async () => {
  const { child } = await proxy()
  await child.stdin.end()
  expect(await endOf(child)).toBe(0)
  const second = await proxy()
  await second.reader.cancel()
  second.child.stdin.write('x'.repeat(1 << 20))
  void second.child.stdin.flush()
  expect(await endOf(second.child)).not.toBe('runs')
})

test('ssh-proxy waits quietly for a gateway that has stopped', async () => {
  const { child } = await proxy()
  world.gateway.child.kill('SIGSTOP')
  const before = cpuMs(child.pid)
  await Bun.sleep(2000)
  expect(cpuMs(child.pid) - before).toBeLessThan(200)
})

test('ssh-proxy is not kept by a gateway that stops while it says good-bye', async () => {
  const { child } = await proxy()
  world.gateway.child.kill('SIGSTOP')
  child.kill('SIGTERM')
  expect(await endOf(child)).not.toBe('runs')
})

test('exec ends with a sentence when its gateway is killed', async () => {
  await world.embed(sandbox, 'box')
  const child = start('exec', ...target(), 'box', '--', 'sh', '-c', 'echo on; sleep 60')
  await child.stdin.end()
  const reader = child.stdout.getReader()
  expect(Buffer.from((await reader.read()).value!).toString()).toBe('on\n')
  world.gateway.child.kill('SIGKILL')
  expect(await endOf(child)).toBe(5)
  expect(await new Response(child.stderr).text()).toContain('connection lost')
})

test('exec ends when nobody reads its output', async () => {
  await world.embed(sandbox, 'box')
  const child = start('exec', ...target(), 'box', '--', 'cat', '/dev/zero')
  await child.stdin.end()
  const reader = child.stdout.getReader()
  await reader.read()
  await reader.cancel()
  expect(await endOf(child)).toBe(1)
})

test('the supervisor waits quietly for its gateway to come back', async () => {
  const args = ['--endpoint', world.url, '--sandbox-id', sandbox, '--dir', dir]
  const supervisor = startBackground([EXECUTABLE, 'supervisor', ...args], environment())
  const { child } = supervisor
  children.push(child)
  await supervisor.during(world.ready('box'))
  world.gateway.child.kill('SIGKILL')
  await Bun.sleep(500)
  const before = cpuMs(child.pid)
  await Bun.sleep(3000)
  expect(await Promise.race([child.exited, 'runs'])).toBe('runs')
  expect(cpuMs(child.pid) - before).toBeLessThan(400)
  child.kill('SIGTERM')
  expect(await endOf(child)).toBe(0)
})
