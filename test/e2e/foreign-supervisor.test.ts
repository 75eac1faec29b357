/**
 * A supervisor that is not ours, on another gRPC stack, with real SSH daemons behind it: OpenSSH's and asyncssh
 * (spec/relay.md §11). Needs FOREIGN_PYTHON with grpcio and asyncssh; OpenSSH's daemon needs root besides.
 */
import { afterAll, afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readEndpoint } from '../../src/client/channel.ts'
import { ANONYMOUS } from '../../src/client/credential.ts'
import { connectGateway } from '../../src/client/session.ts'
import { startBackground } from '../kit/background.ts'
import { EXECUTABLE, SECRET, until } from '../kit/gateway.ts'
import { type RelayWorld, startRelayWorld } from '../kit/relay-world.ts'
import { canStartOpenSsh, OPENSSH_NEEDS, openSshCommand } from '../kit/ssh-daemons.ts'

setDefaultTimeout(60_000)

const SCRIPT = join(import.meta.dir, '../kit/foreign/supervisor.py')
const PYTHON = process.env['FOREIGN_PYTHON'] ?? Bun.which('python3') ?? ''
const MIB = 1 << 20

const canImport = (modules: string) =>
  PYTHON !== '' && Bun.spawnSync([PYTHON, '-c', `import ${modules}`], { stderr: 'ignore' }).exitCode === 0

const daemons = [
  ...(canImport('grpc, asyncssh') ? ['asyncssh'] : []),
  ...(canImport('grpc') && canStartOpenSsh() ? ['sshd'] : []),
] as const
if (daemons.length < 2)
  console.log(
    `skipped: a foreign supervisor with ${['asyncssh', 'sshd'].filter(name => !daemons.includes(name)).join(' and ')} needs grpcio, asyncssh, ${OPENSSH_NEEDS} (FOREIGN_PYTHON names a python3)`,
  )

describe.each(daemons)('a Python supervisor with %s behind it', daemon => {
  let dir: string
  let world: RelayWorld
  let id: string
  let supervisor: Bun.Subprocess

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'foreign-supervisor-'))
    world = await startRelayWorld({ dir })
    id = await world.create('box')
    const words = daemon === 'sshd' ? ['command', ...openSshCommand(dir, ['-i'], ['RekeyLimit 16M'])] : ['asyncssh']
    const started = startBackground([PYTHON, SCRIPT, `127.0.0.1:${world.gateway.port}`, id, ...words], {
      ...{ PATH: process.env['PATH']!, HOME: dir, OPENSHELL_SSH_HANDSHAKE_SECRET: SECRET },
    })
    supervisor = started.child
    await started.during(world.ready('box'))
  })
  afterAll(async () => {
    supervisor?.kill('SIGKILL')
    await world?.stop()
    rmSync(dir, { recursive: true, force: true })
  })
  afterEach(() => {
    expect(world.gateway.log.filter(line => line.message === 'bug')).toEqual([])
  })

  const exec = async (command: string[], more: object = {}) => {
    const client = await connectGateway({ gateway: null, endpoint: readEndpoint(world.url, {}), credential: ANONYMOUS })
    const stream = client.open('ExecSandbox')
    await stream.send({ sandbox_id: id, command, ...more })
    stream.end()
    const hash = createHash('sha256')
    let [stdout, stderr, bytes] = ['', '', 0]
    let exit: number | null = null
    for await (const event of stream.messages()) {
      if (event.stdout) {
        bytes += event.stdout.data.length
        hash.update(event.stdout.data)
        if (bytes < MIB) stdout += event.stdout.data.toString()
      }
      if (event.stderr) stderr += event.stderr.data.toString()
      if (event.exit) exit = event.exit.exit_code
    }
    const { code, details } = await stream.ended
    client.close()
    return { code, details, stdout, stderr, exit, bytes, digest: hash.digest('hex') }
  }

  test('exec: output, errors, input, environment, directory and exit code', async () => {
    const answer = await exec(['sh', '-c', 'cat; pwd; echo "$A" >&2; exit 6'], {
      ...{ stdin: Buffer.from('in\n'), environment: { A: "it's" }, workdir: '/tmp' },
    })
    expect(answer).toMatchObject({ code: 0, stdout: 'in\n/tmp\n', stderr: "it's\n", exit: 6 })
  })

  test('R-09 exec: 64 MiB of output, byte for byte, keys exchanged anew on the way (W40)', async () => {
    const answer = await exec(['head', '-c', String(64 * MIB), '/dev/zero'])
    expect(answer).toMatchObject({ code: 0, exit: 0, bytes: 64 * MIB })
    expect(answer.digest).toBe(
      createHash('sha256')
        .update(Buffer.alloc(64 * MIB))
        .digest('hex'),
    )
  })

  test('ten execs at once do not mix', async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, (_, n) => exec(['echo', `number ${n}`])))
    expect(answers.map(answer => answer.stdout)).toEqual(Array.from({ length: 10 }, (_, n) => `number ${n}\n`))
  })

  test('OpenSSH connects through the tunnel', async () => {
    const proxy = `${EXECUTABLE} ssh-proxy --gateway-endpoint ${world.url} box`
    const options = [
      'StrictHostKeyChecking=no',
      'UserKnownHostsFile=/dev/null',
      'LogLevel=ERROR',
      `ProxyCommand=${proxy}`,
    ]
    const child = Bun.spawn(['ssh', ...options.flatMap(option => ['-o', option]), 'sandbox@box', 'cat; exit 5'], {
      stdin: Buffer.from('through'),
      stdout: 'pipe',
      stderr: 'pipe',
    })
    const [stdout, stderr, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ])
    expect({ stdout, stderr, code }).toEqual({ stdout: 'through', stderr: '', code: 5 })
  })

  test.if(daemon === 'sshd')('a command over its time, or without its caller, is ended (W20)', async () => {
    const runs = (file: string) => {
      try {
        return process.kill(Number(readFileSync(join(dir, 'home', file), 'utf8')), 0)
      } catch {
        return false
      }
    }
    const command = (file: string) => ['sh', '-c', `echo $$ > ${file}; exec sleep 60`]
    expect(await exec(command('late'), { timeout_seconds: 1 })).toMatchObject({ code: 0, exit: 124 })
    await until('the command over its time to end', () => !runs('late'), 2000)
    const client = await world.client()
    const stream = client.open('ExecSandbox')
    await stream.send({ sandbox_id: id, command: command('left') })
    stream.end()
    await until('the command to run', () => runs('left'))
    client.close()
    await until('the command without a caller to end', () => !runs('left'), 2000)
  })

  test('the supervisor is killed in the middle of an exec', async () => {
    const running = exec(['sh', '-c', 'sleep 60'])
    await Bun.sleep(700)
    supervisor.kill('SIGKILL')
    expect(await running).toMatchObject({ code: 14, details: 'relay channel dropped', exit: null })
  })
})
