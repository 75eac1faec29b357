/**
 * What ends an open watch, exec and tunnel on the executable, and with which status: the user's token is over, the
 * SSH session is revoked or expired, the sandbox is deleted. Each within a second.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { callOnce } from '../../src/client/grpc-stream.ts'
import { type FakeIssuer, signingKey, startIssuer } from '../kit/issuer.ts'
import { type RelayWorld, startRelayWorld } from '../kit/relay-world.ts'

setDefaultTimeout(30_000)

const SECOND = 1000
let issuer: FakeIssuer
let dir: string
let world: RelayWorld
let worker: string

beforeAll(async () => {
  issuer = await startIssuer(await signingKey('k1'))
  dir = mkdtempSync(join(tmpdir(), 'stream-ends-'))
  worker = await issuer.token()
  world = await startRelayWorld({
    dir,
    args: ['--oidc-issuer', issuer.url, '--oidc-stream-lifetime', 'token'],
    token: worker,
  })
})
afterAll(async () => {
  await world.stop()
  await issuer.close()
  rmSync(dir, { recursive: true, force: true })
})

/** A watch, an exec that never ends and a tunnel into a sandbox, all of one user. */
async function openAll(name: string, token: string) {
  const id = await world.create(name)
  const supervisor = await world.embed(id, name)
  const client = await world.client(token)
  const session = await callOnce(client.open('CreateSshSession'), { sandbox_id: id })
  const tunnel = await world.tunnel({ sandboxId: id, token: session.token, connectPath: '/connect/ssh' })
  const tunnelEnded = closed(tunnel)
  tunnel.resume()
  const exec = client.open('ExecSandbox')
  await exec.send({ sandbox_id: id, command: ['sh', '-c', 'echo on; sleep 60'] })
  exec.end()
  const output = exec.messages()
  expect((await output.next()).value).toMatchObject({ stdout: {} })
  void output.next()
  const watch = client.open('WatchSandbox')
  await watch.send({ id, follow_status: true })
  watch.end()
  const events = watch.messages()
  expect((await events.next()).value).toMatchObject({ sandbox: { metadata: { name } } })
  void events.next()
  return { id, supervisor, client, session, tunnelEnded, exec, watch }
}

const closed = (socket: Duplex) => new Promise<void>(resolve => socket.once('end', resolve).once('close', resolve))
/** When something is over, and what it said. */
const timed = async <T>(over: Promise<T>) => ({ value: await over, atMs: Date.now() })

test('A-14 a token that is over ends what it opened: watch, exec and the tunnel of its session', async () => {
  const exp = Math.floor(Date.now() / SECOND) + 4
  const open = await openAll('expiring', await issuer.token({ claims: { exp } }))
  expect(Number(open.session.expires_at_ms)).toBe(exp * SECOND)
  const ends = await Promise.all([timed(open.watch.ended), timed(open.exec.ended), timed(open.tunnelEnded)])
  expect(ends.slice(0, 2).map(end => end.value)).toEqual([
    { code: 16, details: 'token expired' },
    { code: 16, details: 'token expired' },
  ])
  for (const { atMs } of ends) {
    expect(atMs).toBeGreaterThanOrEqual(exp * SECOND)
    expect(atMs).toBeLessThan((exp + 1) * SECOND)
  }
})

test('A-15 a revoked session loses its tunnel at once, and opens no other; exec and watch go on', async () => {
  const open = await openAll('revoking', worker)
  const begun = Date.now()
  expect(await callOnce(open.client.open('RevokeSshSession'), { token: open.session.token })).toEqual({ revoked: true })
  const end = await timed(open.tunnelEnded)
  expect(end.atMs - begun).toBeLessThan(SECOND)
  const again = () => world.tunnel({ sandboxId: open.id, token: open.session.token, connectPath: '/connect/ssh' })
  await expect(again()).rejects.toThrow('gateway CONNECT failed with status 401')
  expect(await Promise.race([open.exec.ended, open.watch.ended, Bun.sleep(300).then(() => 'open')])).toBe('open')
  open.client.close()
})

test('R-04 a deleted sandbox ends them all: watch OK, exec UNAVAILABLE, tunnel closed, its supervisor NOT_FOUND', async () => {
  const open = await openAll('deleting', worker)
  const begun = Date.now()
  await world.remove('deleting')
  const ends = await Promise.all([timed(open.watch.ended), timed(open.exec.ended), timed(open.tunnelEnded)])
  expect(ends.slice(0, 2).map(end => end.value)).toEqual([
    { code: 0, details: '' },
    { code: 14, details: 'relay channel dropped' },
  ])
  for (const { atMs } of ends) expect(atMs - begun).toBeLessThan(SECOND)
  await open.supervisor.stop()
})

test('nothing is left of all this', async () => {
  expect(world.gateway.log.filter(line => line.message === 'bug')).toEqual([])
})
