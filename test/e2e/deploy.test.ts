import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials } from '@grpc/grpc-js'
import { compile } from '../../deploy/build/executable.ts'
import { freePort } from '../../src/dev/free-port.ts'
import { createCertificates } from '../kit/certificates.ts'
import { CHART_SETS, gatewayContainer } from '../kit/chart.ts'
import { startDriver } from '../kit/driver-process.ts'
import { callUnary, EXECUTABLE, startGateway, until } from '../kit/gateway.ts'
import { bindNotifySocket } from '../kit/notify-socket.ts'
import { isListening } from '../kit/processes.ts'

setDefaultTimeout(60_000)

const emulator = process.arch === 'x64' ? (Bun.which('qemu-x86_64-static') ?? Bun.which('qemu-x86_64')) : null
if (!emulator) console.log('skipped: an old processor needs qemu-user-static')

let scratch: string
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'deploy-test-'))
})
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const absentDriver = () => ['--compute-driver-socket', join(scratch, 'absent.sock')]

describe('the service manager', () => {
  test.each(['path', 'abstract'])(
    'is told of start, life, reload and end by a socket with a name of kind %s',
    async kind => {
      const name = kind === 'path' ? join(scratch, `notify-${randomUUID()}`) : `@openshell-test-${randomUUID()}`
      using manager = bindNotifySocket(name)
      const told: string[] = []
      const hears = (text: string) => {
        told.push(...manager.receive())
        return told.some(state => state.startsWith(text))
      }
      const env = { NOTIFY_SOCKET: name, WATCHDOG_USEC: '400000' }
      const gateway = await startGateway({ args: absentDriver(), env })
      await until('READY', () => hears('READY=1'))
      await until(
        'three meals of the watchdog',
        () => hears('X') || told.filter(state => state === 'WATCHDOG=1').length >= 3,
      )
      expect(told[0]).toBe('READY=1')
      gateway.child.kill('SIGHUP')
      await until('RELOADING', () => hears('RELOADING=1\nMONOTONIC_USEC='))
      await until('READY again', () => hears('X') || told.filter(state => state === 'READY=1').length === 2)
      expect(await gateway.stop()).toBe(0)
      hears('')
      expect(told.filter(state => state.startsWith('STOPPING=1'))).toEqual(['STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000'])
    },
  )

  test('a socket that nobody reads does not keep the gateway from serving', async () => {
    const gateway = await startGateway({ args: absentDriver(), env: { NOTIFY_SOCKET: join(scratch, 'nobody') } })
    expect((await gateway.call('Health')).code).toBe('OK')
    expect(await gateway.stop()).toBe(0)
  })
})

describe('SIGTERM', () => {
  test('calls in flight finish within the grace, then the exit code is 0 (C-01)', async () => {
    const socket = join(scratch, 'slow.sock')
    const driver = await startDriver('compute-driver.ts', socket)
    await driver.behave('ValidateSandboxCreate', { mode: 'slow', ms: 1500 })
    const gateway = await startGateway({ args: ['--compute-driver-socket', socket, '--shutdown-grace-secs', '8'] })
    await until('the driver', () =>
      gateway.log.find(entry => /driver/i.test(entry.message) && driver.calls('GetCapabilities') > 0),
    )
    const inFlight = gateway.call('CreateSandbox', { spec: {} }, { timeoutMs: 8000 })
    await until('the call in the driver', () => driver.calls('ValidateSandboxCreate') > 0)
    const beganMs = performance.now()
    const ended = gateway.stop()
    expect((await inFlight).code).toBe('OK')
    expect(await ended).toBe(0)
    expect(performance.now() - beganMs).toBeLessThan(8000)
    await driver.kill()
  })

  test('what hangs is cut when the grace is over', async () => {
    const socket = join(scratch, 'hang.sock')
    const driver = await startDriver('compute-driver.ts', socket)
    await driver.behave('ValidateSandboxCreate', { mode: 'hang' })
    const gateway = await startGateway({ args: ['--compute-driver-socket', socket, '--shutdown-grace-secs', '1'] })
    await until('the driver', () => driver.calls('GetCapabilities') > 0)
    const inFlight = gateway.call('CreateSandbox', { spec: {} }, { timeoutMs: 20_000 })
    await until('the call in the driver', () => driver.calls('ValidateSandboxCreate') > 0)
    const beganMs = performance.now()
    expect(await gateway.stop()).toBe(0)
    expect((await inFlight).code).not.toBe('OK')
    expect(performance.now() - beganMs).toBeLessThan(4000)
    await driver.kill()
  })
})

describe('SIGHUP', () => {
  test('a new certificate under load fails no call and is what new connections see (C-03, T-05)', async () => {
    using files = createCertificates()
    for (const authority of ['ca', 'client-ca']) files.authority(authority)
    for (const name of ['first', 'second']) files.leaf(name, 'ca', 'serverAuth')
    files.leaf('client', 'client-ca', 'clientAuth')
    const install = (name: string) => {
      copyFileSync(files.path(`${name}.crt`), files.path('tls.crt'))
      copyFileSync(files.path(`${name}.key`), files.path('tls.key'))
    }
    install('first')
    const tls = [
      '--tls-cert',
      files.path('tls.crt'),
      '--tls-key',
      files.path('tls.key'),
      '--tls-client-ca',
      files.path('client-ca.crt'),
    ]
    const [root, key, chain] = ['ca.crt', 'client.key', 'client.crt'].map(name => readFileSync(files.path(name)))
    const trusted = credentials.createSsl(root!, key!, chain!)
    const gateway = await startGateway({ args: absentDriver(), tls, credentials: trusted })

    let isOver = false
    const codes = new Map<string, number>()
    const caller = async (isFresh: boolean) => {
      while (!isOver) {
        const client = isFresh
          ? new Client(`localhost:${gateway.port}`, trusted, { 'grpc.use_local_subchannel_pool': 1 })
          : null
        const { code } = client ? await callUnary(client, 'Health', {}) : await gateway.call('Health')
        client?.close()
        codes.set(code, (codes.get(code) ?? 0) + 1)
      }
    }
    const callers = [caller(false), caller(false), caller(true)]
    const subject = async () => {
      const args = ['s_client', '-connect', `127.0.0.1:${gateway.port}`, '-CAfile', files.path('ca.crt')]
      const peer = Bun.spawn(['openssl', ...args], { stdin: null, stdout: 'pipe', stderr: 'ignore' })
      return /subject=CN ?= ?(\w+)/.exec(await new Response(peer.stdout).text())?.[1]
    }
    expect(await subject()).toBe('first')
    for (const name of ['second', 'first', 'second']) {
      install(name)
      gateway.child.kill('SIGHUP')
      await until(`the ${name} certificate`, async () => (await subject()) === name)
    }
    await until('a load worth the name', () => (codes.get('OK') ?? 0) > 100)
    isOver = true
    await Promise.all(callers)
    expect([...codes.keys()]).toEqual(['OK'])
    expect(await gateway.stop()).toBe(0)
  })
})

describe('the chart', () => {
  test.each(CHART_SETS)('the arguments and variables it renders for %s start the executable', async name => {
    using files = createCertificates()
    for (const authority of ['ca', 'client-ca']) files.authority(authority)
    files.leaf('tls', 'ca', 'serverAuth')
    const dir = mkdtempSync(join(scratch, 'chart-'))
    files.write('secret', 'a-secret-for-this-test-alone\n')
    writeFileSync(join(dir, 'openshell-driver-kubernetes'), '#!/bin/sh\nexec sleep 60\n', { mode: 0o755 })
    // Where the pod has its volumes, this machine has its files; ports are the kernel's choice.
    const here = (text: string) =>
      text
        .replace('/etc/openshell-tls/server/', `${files.folder}/`)
        .replace('/etc/openshell-tls/client-ca/ca.crt', files.path('client-ca.crt'))
        .replace('/etc/openshell-issuer/', `${files.folder}/`)
        .replace('/etc/openshell-secrets/handshake/', `${files.folder}/`)
        .replace('/run/drivers/', `${dir}/`)
        .replace('/var/openshell/', `${dir}/`)
        .replace(/^(--(?:health-|metrics-)?port)=\d+$/, '$1=0')
    const { args, env } = gatewayContainer(name)
    const variables = env.map(entry => [entry.name, here(entry.value ?? `sqlite:${dir}/by-secret.db`)] as const)
    const child = Bun.spawn([EXECUTABLE, ...args.map(here), '--log-format=json'], {
      env: { PATH: process.env['PATH']!, OPENSHELL_DRIVER_DIR: dir, ...Object.fromEntries(variables) },
      stdout: 'pipe',
      stderr: 'pipe',
    })
    let text = ''
    for await (const chunk of child.stdout as unknown as AsyncIterable<Uint8Array>) {
      text += Buffer.from(chunk).toString('utf8')
      if (text.includes('"Server listening"')) break
    }
    expect(text).toContain('"Server listening"')
    child.kill('SIGTERM')
    expect(await child.exited).toBe(0)
  })
})

const analyzable = ['strace', 'systemd-analyze'].every(tool => Bun.which(tool) !== null) && process.getuid?.() === 0
if (!analyzable)
  console.log(
    'skipped: the system calls of the gateway, because strace or systemd-analyze is missing or this is not root',
  )

/** The system calls of a filter group of systemd, those of the groups inside it too. */
function callsOf(group: string): string[] {
  const { stdout } = spawnSync('systemd-analyze', ['syscall-filter', group], { encoding: 'utf8' })
  const lines = stdout
    .split('\n')
    .slice(1)
    .map(line => line.trim())
  return lines
    .filter(line => line !== '' && !line.startsWith('#'))
    .flatMap(line => (line.startsWith('@') ? callsOf(line) : [line]))
}

test.skipIf(!analyzable)(
  'as a user without rights the gateway makes only the system calls its unit allows (P-06)',
  async () => {
    const state = mkdtempSync(join(scratch, 'state-'))
    const trace = join(state, 'trace')
    spawnSync('chown', ['65532:65532', state])
    spawnSync('chmod', ['0755', scratch])
    const child = Bun.spawn(
      [
        ...['setpriv', '--reuid=65532', '--regid=65532', '--clear-groups', '--no-new-privs', '--bounding-set=-all'],
        ...['strace', '-f', '-qq', '-o', trace, EXECUTABLE, '--port', '0', '--bind-address', '127.0.0.1'],
        ...['--disable-tls', '--log-format', 'json', '--db-url', `sqlite:${state}/gateway.db`, ...absentDriver()],
      ],
      {
        env: { PATH: process.env['PATH']!, OPENSHELL_SSH_HANDSHAKE_SECRET: 'a-secret-for-this-test-alone' },
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    )
    const lines = child.stdout.pipeThrough(new TextDecoderStream())
    let text = ''
    for await (const chunk of lines as unknown as AsyncIterable<string>) {
      text += chunk
      const address = /"Server listening".*?"address":"([^"]+)"/.exec(text)?.[1]
      if (!address) continue
      const client = new Client(address, credentials.createInsecure())
      expect((await callUnary(client, 'Health', {})).code).toBe('OK')
      expect(
        (
          await callUnary(client, 'CreateProvider', {
            provider: { type: 'generic', metadata: { name: 'p' }, credentials: { KEY: 'value' } },
          })
        ).code,
      ).toBe('OK')
      client.close()
      break
    }
    const traced = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim()
    expect(traced).toMatch(/^\d+$/)
    process.kill(Number(traced), 'SIGTERM')
    await child.exited
    const used = new Set(
      [...readFileSync(trace, 'utf8').matchAll(/^\d+ +(?:<\.\.\. )?([a-z0-9_]+)(?:\(| resumed)/gm)].map(
        match => match[1]!,
      ),
    )
    const refused = new Set([...callsOf('@privileged'), ...callsOf('@resources')])
    const allowed = new Set(callsOf('@system-service').filter(call => !refused.has(call)))
    expect(used.has('epoll_ctl')).toBe(true)
    expect([...used].filter(call => !allowed.has(call))).toEqual([])
  },
)

describe('the executable', () => {
  test('P-14 two builds of one source are equal, wherever they are made, and not too large', () => {
    const digests = ['one', 'two'].map(name => {
      mkdirSync(join(scratch, name))
      const outfile = join(scratch, name, 'openshell-gateway')
      compile(outfile, '1.2.3')
      const bytes = readFileSync(outfile)
      expect(bytes.length).toBeLessThanOrEqual(120 * 2 ** 20)
      rmSync(join(scratch, name), { recursive: true })
      return Bun.SHA256.hash(bytes, 'hex')
    })
    expect(digests[0]).toBe(digests[1]!)
  })

  test('P-14 the signal that opens an inspector elsewhere opens none', async () => {
    const gateway = await startGateway({ args: absentDriver() })
    gateway.child.kill('SIGUSR1')
    expect((await gateway.call('Health')).code).toBe('OK')
    // Where Node and Bun would listen.
    expect(await Promise.all([9229, 6499].map(port => isListening(port)))).toEqual([false, false])
    expect(await gateway.stop()).toBe(0)
  })

  test.skipIf(process.platform !== 'linux')('P-15 asks for no later C library than that of 2012', () => {
    const minors = readFileSync(EXECUTABLE, 'latin1').matchAll(/GLIBC_2\.(\d+)/g)
    expect(Math.max(...[...minors].map(match => Number(match[1])))).toBe(17)
  })

  test.skipIf(!emulator)('P-15 serves on a processor of 2008, without AVX', async () => {
    const port = await freePort(0, true)
    const args = ['--port', String(port), '--bind-address', '127.0.0.1', '--disable-tls', '--db-url', 'sqlite::memory:']
    const child = Bun.spawn([emulator!, '-cpu', 'Nehalem-v1', EXECUTABLE, ...args, ...absentDriver()], {
      env: { OPENSHELL_SSH_HANDSHAKE_SECRET: randomUUID() },
      stdout: 'ignore',
      stderr: 'ignore',
    })
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure())
    try {
      await until('the port', () => isListening(port), 50_000)
      expect((await callUnary(client, 'Health', {}, { timeoutMs: 50_000 })).code).toBe('OK')
    } finally {
      client.close()
      child.kill('SIGKILL')
      await child.exited
    }
  })
})
