/**
 * What the secret of one sandbox opens of another: nothing. Every RPC that a supervisor may call is tried on the
 * executable with a foreign id or name (decision 3, spec/auth.md A-3, reliability R-06).
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { createHmac } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import type { ClientHttp2Session } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { METHODS, type RpcName } from '../../src/auth/methods.ts'
import { openSession, readEndpoint } from '../../src/client/channel.ts'
import { callEnd, GrpcStream, openCall } from '../../src/client/grpc-stream.ts'
import { encodeData, encodeInit } from '../../src/live/relay-frame.ts'
import { SECRET } from '../kit/gateway.ts'
import { type FakeIssuer, signingKey, startIssuer } from '../kit/issuer.ts'
import { echo, type RelayWorld, startRelayWorld } from '../kit/relay-world.ts'

setDefaultTimeout(30_000)

const FOREIGN = { code: 7, details: 'sandbox secret does not belong to this sandbox' }
const PATH = '/openshell.v1.OpenShell'
const secretOf = (id: string) => createHmac('sha256', SECRET).update(id).digest('base64url')

let issuer: FakeIssuer
let dir: string
let world: RelayWorld
let session: ClientHttp2Session
let mine: string
let theirs: string

beforeAll(async () => {
  issuer = await startIssuer(await signingKey('k1'))
  dir = mkdtempSync(join(tmpdir(), 'foreign-sandbox-'))
  world = await startRelayWorld({ dir, args: ['--oidc-issuer', issuer.url], token: await issuer.token() })
  session = await openSession(readEndpoint(world.url, {}))
  mine = await world.create('mine')
  theirs = await world.create('theirs')
})
afterAll(async () => {
  session?.destroy()
  await world?.stop()
  await issuer?.close()
  rmSync(dir, { recursive: true, force: true })
})

const proof = () => ({ 'x-sandbox-secret': secretOf(mine) })
const policy = { version: 1, filesystem: { read_only: ['/usr'] } }

/** Unary calls about a sandbox, by its id or its name. */
const UNARY: Partial<Record<RpcName, (id: string, name: string) => object>> = {
  GetSandboxConfig: id => ({ sandbox_id: id }),
  GetSandboxProviderEnvironment: id => ({ sandbox_id: id }),
  ReportPolicyStatus: id => ({ sandbox_id: id, version: 1, status: 'POLICY_STATUS_LOADED' }),
  UpdateConfig: (_id, name) => ({ name, policy }),
  SubmitPolicyAnalysis: (_id, name) => ({ name, proposed_chunks: [] }),
}

/** Streams about a sandbox: how they end. */
const STREAMS: Partial<Record<RpcName, (id: string) => Promise<{ code: number; details: string }>>> = {
  ConnectSupervisor(id) {
    const stream = new GrpcStream(
      openCall(session, `${PATH}/ConnectSupervisor`, proof()),
      'openshell.v1.SupervisorMessage',
      'openshell.v1.GatewayMessage',
    )
    void stream.send({ hello: { sandbox_id: id, instance_id: 'x' } })
    return drained(stream)
  },
  PushSandboxLogs(id) {
    const stream = new GrpcStream(
      openCall(session, `${PATH}/PushSandboxLogs`, proof()),
      'openshell.v1.PushSandboxLogsRequest',
      'openshell.v1.PushSandboxLogsResponse',
    )
    void stream.send({ sandbox_id: id, logs: [{ level: 'INFO', message: 'forged' }] })
    stream.end()
    return drained(stream)
  },
  RelayStream: id => claimRelayOf(id),
}

async function drained(
  stream: GrpcStream<never, never> | { messages(): AsyncGenerator; ended: Promise<{ code: number; details: string }> },
) {
  const read = async () => {
    for await (const _ of stream.messages());
  }
  void read()
  return stream.ended
}

/** Opens a tunnel into a sandbox and answers its relay with the secret of another. */
async function claimRelayOf(id: string): Promise<{ code: number; details: string }> {
  const announced = Promise.withResolvers<string>()
  const control = new GrpcStream(
    openCall(session, `${PATH}/ConnectSupervisor`, { 'x-sandbox-secret': secretOf(id) }),
    'openshell.v1.SupervisorMessage',
    'openshell.v1.GatewayMessage',
  )
  await control.send({ hello: { sandbox_id: id, instance_id: 'owner' } })
  const follow = async () => {
    for await (const message of control.messages())
      if (message.relay_open) announced.resolve(message.relay_open.channel_id)
  }
  void follow()
  await world.ready(id === mine ? 'mine' : 'theirs')
  const tunnel = world.tunnel(await world.ticket(id)).catch(() => null)
  const stream = openCall(session, `${PATH}/RelayStream`, proof())
  const end = callEnd(stream)
  stream.resume()
  stream.write(encodeInit(await announced.promise))
  stream.write(encodeData(Buffer.from('stolen')))
  const got = await Promise.race([end, Bun.sleep(1000).then(() => ({ code: 0, details: 'claimed' }))])
  control.cancel()
  stream.close()
  void tunnel.then(socket => socket?.destroy())
  return got
}

test('every RPC that a sandbox’s secret opens is tried here', () => {
  const opened = [...METHODS.values()].filter(
    row => row.rpc && ['sandbox-secret', 'dual', 'supervisor'].includes(row.class),
  )
  // The bundle is the gateway's, not a sandbox's: its request names none.
  const tried = [...Object.keys(UNARY), ...Object.keys(STREAMS), 'GetInferenceBundle']
  expect(tried.toSorted()).toEqual(opened.map(row => row.name).toSorted())
})

test.each(Object.keys(UNARY) as RpcName[])('A-3 %s of another sandbox is refused, of its own it is not', async rpc => {
  const answer = await world.gateway.call(rpc, UNARY[rpc]!(theirs, 'theirs'), { secret: secretOf(mine) })
  expect(answer).toEqual({ code: 'PERMISSION_DENIED', details: FOREIGN.details })
  const audit = await world.gateway.logged(line => line.message === 'audit' && line['method'] === rpc)
  expect(audit).toMatchObject({ outcome: 'denied', code: 'PERMISSION_DENIED', caller_sandbox: mine })
  const own = await world.gateway.call(rpc, UNARY[rpc]!(mine, 'mine'), { secret: secretOf(mine) })
  expect(own.code).not.toBe('PERMISSION_DENIED')
})

test.each(['ConnectSupervisor', 'PushSandboxLogs'] as const)('A-3 %s of another sandbox is refused', async rpc => {
  expect(await STREAMS[rpc]!(theirs)).toEqual(FOREIGN)
})

test('R-06 the relay of another sandbox cannot be claimed, even with its channel id', async () => {
  expect(await STREAMS.RelayStream!(theirs)).toEqual({ code: 5, details: 'unknown or expired relay channel' })
  expect(await STREAMS.RelayStream!(mine)).toEqual({ code: 0, details: 'claimed' })
})

test('a supervisor is not pushed out by the secret of another sandbox, nor by no secret', async () => {
  const supervisor = await world.supervise(theirs, echo)
  expect(await STREAMS.ConnectSupervisor!(theirs)).toEqual(FOREIGN)
  const bare = openCall(session, `${PATH}/ConnectSupervisor`, {})
  bare.resume()
  expect(await callEnd(bare)).toMatchObject({ code: 16 })
  const tunnel = await world.tunnel(await world.ticket(theirs))
  tunnel.write('still there')
  expect(String(await new Promise(resolve => tunnel.once('data', resolve).resume()))).toBe('still there')
  tunnel.destroy()
  supervisor.stop()
})

test('nothing forged has arrived', async () => {
  const { response } = await world.gateway.call(
    'GetSandboxLogs',
    { sandbox_id: theirs },
    { token: await issuer.token() },
  )
  expect(JSON.stringify(response)).not.toContain('forged')
  expect(world.gateway.log.filter(line => line.message === 'bug')).toEqual([])
})
