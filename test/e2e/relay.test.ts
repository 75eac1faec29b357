import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { dial, readEndpoint } from '../../src/client/channel.ts'
import { ANONYMOUS } from '../../src/client/credential.ts'
import { callOnce } from '../../src/client/grpc-stream.ts'
import { connectGateway } from '../../src/client/session.ts'
import { openTunnel } from '../../src/client/tunnel.ts'
import { sessionIdOf } from '../../src/live/ssh-sessions.ts'
import { type DataPlane, startDataPlane, until } from '../kit/data-plane.ts'

setDefaultTimeout(30_000)

let plane: DataPlane
let dir: string

beforeAll(async () => {
  plane = await startDataPlane()
  await plane.addSandbox('s1')
  ;({ dir } = await plane.supervise('s1'))
})
afterAll(() => plane.stop())

const target = () => ({ gateway: null, endpoint: readEndpoint(plane.url, {}), credential: ANONYMOUS })

const exec = async (command: string[], more: object = {}) => {
  const answer = await plane.call('ExecSandbox', { sandbox_id: 's1', command, ...more })
  const text = (kind: 'stdout' | 'stderr') =>
    Buffer.concat(answer.messages.map(event => event[kind]?.data ?? Buffer.alloc(0))).toString()
  return {
    code: answer.code,
    stdout: text('stdout'),
    stderr: text('stderr'),
    exit: answer.messages.at(-1)?.exit?.exit_code ?? null,
  }
}

test('a command runs in the directory of the sandbox', async () => {
  expect(await exec(['pwd'])).toEqual({ code: 0, stdout: `${dir}\n`, stderr: '', exit: 0 })
})

test('stdout, stderr, exit code, environment and stdin arrive', async () => {
  expect(
    await exec(['sh', '-c', 'cat; echo "$A" >&2; exit 7'], { environment: { A: "it's" }, stdin: Buffer.from('in') }),
  ).toEqual({
    code: 0,
    stdout: 'in',
    stderr: "it's\n",
    exit: 7,
  })
})

test('4 MiB of output and a command that only exits arrive whole (R-09)', async () => {
  const flood = await exec(['head', '-c', '4194304', '/dev/zero'])
  expect([flood.stdout.length, flood.exit]).toEqual([4_194_304, 0])
  expect((await exec(['sh', '-c', 'kill -9 $$'])).exit).toBe(137)
})

/** Whether the process that wrote its id into the sandbox's file still runs. */
const runs = (file: string) => {
  try {
    return process.kill(Number(readFileSync(join(dir, file), 'utf8')), 0)
  } catch {
    return false
  }
}

test('a time limit is exit code 124, and the command is gone (W20)', async () => {
  expect(await exec(['sh', '-c', 'echo $$ > limited; exec sleep 60'], { timeout_seconds: 1 })).toMatchObject({
    code: 0,
    exit: 124,
  })
  await until(() => !runs('limited'), 2000)
})

test('I-09 a limit longer than any timer takes is none', async () => {
  for (const timeout_seconds of [2_147_484, 2 ** 32 - 1])
    expect(await exec(['cat'], { timeout_seconds, stdin: Buffer.from('in') })).toMatchObject({ stdout: 'in', exit: 0 })
})

test('a caller that leaves takes its command along within 2 s (R-09)', async () => {
  const client = await connectGateway(target())
  const stream = client.open('ExecSandbox')
  await stream.send({ sandbox_id: 's1', command: ['sh', '-c', 'echo $$ > left; exec sleep 60'] })
  stream.end()
  await until(() => runs('left'))
  client.close()
  await until(() => !runs('left'), 2000)
})

test('an exec whose supervisor dies is UNAVAILABLE, never an exit code', async () => {
  await plane.addSandbox('mortal')
  const supervisor = await plane.supervise('mortal')
  const running = plane.call('ExecSandbox', { sandbox_id: 'mortal', command: ['sleep', '60'] })
  await until(() => plane.relays.running > 0)
  await Bun.sleep(100)
  const begun = performance.now()
  await supervisor.stop()
  const { code, details } = await running
  expect({ code, details }).toEqual({ code: 14, details: 'relay channel dropped' })
  expect(performance.now() - begun).toBeLessThan(1000)
})

/** A tunnel into s1, as a client has it. */
async function tunnel() {
  const client = await connectGateway(target())
  const { token } = await callOnce(client.open('CreateSshSession'), { sandbox_id: 's1' })
  const open = () => openTunnel(client.endpoint, { sandboxId: 's1', token, connectPath: '/connect/ssh' })
  const { socket } = await open()
  socket.on('error', () => {})
  return { client, token, socket, open }
}

test('a revoked session loses its open tunnel within a second and opens no other (A-15)', async () => {
  const { client, token, socket, open } = await tunnel()
  const closed = new Promise(resolve => socket.once('end', resolve))
  socket.resume()
  const begun = performance.now()
  expect(await callOnce(client.open('RevokeSshSession'), { token })).toMatchObject({ revoked: true })
  await closed
  expect(performance.now() - begun).toBeLessThan(1000)
  await expect(open()).rejects.toThrow('gateway CONNECT failed with status 401')
  client.close()
})

test('a session that is revoked while its tunnel is being opened opens none (A-15)', async () => {
  const { client, token, socket, open } = await tunnel()
  socket.destroy()
  const { store } = plane
  const get = store.get
  store.get = async (type, id) => {
    const row = await get.call(store, type, id)
    if (type !== 'sandbox') return row
    store.get = get
    await callOnce(client.open('RevokeSshSession'), { token })
    return row
  }
  await expect(open()).rejects.toThrow('gateway CONNECT failed with status 401')
  client.close()
})

test('a client that leaves while it waits for a supervisor gives its place back (W34)', async () => {
  await plane.addSandbox('lonely')
  const client = await connectGateway(target())
  const { token } = await callOnce(client.open('CreateSshSession'), { sandbox_id: 'lonely' })
  const socket = await dial(client.endpoint)
  socket.write(`CONNECT /connect/ssh HTTP/1.1\r\nX-Sandbox-Id: lonely\r\nX-Sandbox-Token: ${token}\r\n\r\n`)
  const before = plane.tunnels.open
  await until(() => plane.tunnels.open === before + 1)
  socket.destroy()
  await until(() => plane.tunnels.open === before)
  client.close()
})

test('the row of a session does not hold its token, and its id is no token (decision 18)', async () => {
  const { client, token, socket } = await tunnel()
  socket.destroy()
  const rows = await Array.fromAsync(plane.store.scan('ssh_session'))
  expect(rows.some(row => row.id === token || Buffer.from(row.payload).includes(token))).toBe(false)
  const row = rows.find(item => item.id === sessionIdOf(token))!
  const ticket = { sandboxId: 's1', token: row.id, connectPath: '/connect/ssh' }
  await expect(openTunnel(client.endpoint, ticket)).rejects.toThrow('status 401')
  client.close()
})

test('HTTP runs inside a WebSocket tunnel; a tunnel inside a tunnel does not', async () => {
  const socket = new WebSocket(`${plane.url.replace('http', 'ws')}/_ws_tunnel`)
  socket.binaryType = 'arraybuffer'
  await new Promise(resolve => (socket.onopen = resolve))
  const upgrade = [
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
  ]
  const answer = new Promise<string>(
    resolve => (socket.onmessage = event => resolve(Buffer.from(event.data as ArrayBuffer).toString())),
  )
  socket.send(Buffer.from(`GET /_ws_tunnel HTTP/1.1\r\nHost: h\r\n${upgrade.join('\r\n')}\r\n\r\n`))
  expect(await answer).toStartWith('HTTP/1.1 403')
  socket.close()
})

test('nothing is left when all is over', async () => {
  await until(() => plane.tunnels.open === 0 && plane.relays.running === 0, 8000)
  expect(plane.relays.pending).toBe(0)
  expect(plane.bugs).toEqual([])
})
