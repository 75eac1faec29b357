/** The executable as a process: wrong command lines, hostile surroundings, secrets, hostile text, and readers of its output that went away. */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import type { ServerResponse } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials } from '@grpc/grpc-js'
import { freePort } from '../../src/dev/free-port.ts'
import { type DriverProcess, startDriver } from '../kit/driver-process.ts'
import { callUnary, EXECUTABLE, type GatewayProcess, SECRET, startGateway, until } from '../kit/gateway.ts'
import { type FakeIssuer, signingKey, startIssuer } from '../kit/issuer.ts'
import { isListening, listProcesses } from '../kit/processes.ts'
import { callHead, callLiterally, openBare } from '../kit/raw-call.ts'
import { frame, http2Start, openRaw } from '../kit/raw-socket.ts'
import { runToEnd } from '../kit/run-to-end.ts'

setDefaultTimeout(30_000)

let scratch: string
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'process-'))
})
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const DB = ['--db-url', 'sqlite:gateway.db']
const LOOPBACK = ['--port', '0', '--bind-address', '127.0.0.1']
const PLAIN = [...LOOPBACK, '--disable-tls']
const ABSENT = ['--compute-driver-socket', '/run/openshell-none/c.sock']
const GOOD = [...PLAIN, ...DB, ...ABSENT]
const file = (name: string, text = 'x') => {
  writeFileSync(join(scratch, name), text)
  return join(scratch, name)
}
const tls = (cert: string, key: string, ca: string) => ['--tls-cert', cert, '--tls-key', key, '--tls-client-ca', ca]

interface Wrong {
  readonly code: 1 | 2
  /** Every word the sentence must have: the flag, the cause, the mend. */
  readonly says: readonly string[]
  readonly args: () => string[]
}

/** TABLE wrong command lines: 2 = the line itself, 1 = the world. */
const WRONG: Readonly<Record<string, Wrong>> = {
  'an unknown flag': { code: 2, says: ["'--bogus'", 'unexpected', '--help'], args: () => [...GOOD, '--bogus'] },
  'a misspelt flag': { code: 2, says: ["'--oidc-isuer'", "'--oidc-issuer'"], args: () => [...GOOD, '--oidc-isuer=x'] },
  'a missing value at the end': {
    code: 2,
    says: ['--oidc-issuer', 'value is required'],
    args: () => [...GOOD, '--oidc-issuer'],
  },
  'a flag as a value': {
    code: 2,
    says: ['--oidc-issuer', 'value is required'],
    args: () => [...DB, ...ABSENT, '--oidc-issuer', '--disable-tls'],
  },
  'an empty value': {
    code: 2,
    says: ['--oidc-issuer', 'must not be empty', 'leave it out'],
    args: () => [...GOOD, '--oidc-issuer='],
  },
  'a flag twice': { code: 2, says: ['--db-url', 'multiple times'], args: () => [...GOOD, ...DB] },
  'a port that is no number': {
    code: 2,
    says: ['--health-port', "'abc'"],
    args: () => [...GOOD, '--health-port', 'abc'],
  },
  'a port beyond the last': {
    code: 2,
    says: ['--health-port', '0..=65535'],
    args: () => [...GOOD, '--health-port', '99999'],
  },
  'a switch with a value': {
    code: 2,
    says: ['--disable-gateway-auth', "'false'"],
    args: () => [...GOOD, '--disable-gateway-auth=false'],
  },
  'a stray word': { code: 2, says: ["'extra'", 'unexpected'], args: () => [...GOOD, 'extra'] },
  'no database': { code: 2, says: ['--db-url', 'required'], args: () => [...PLAIN, ...ABSENT] },
  'an address that is none': {
    code: 2,
    says: ['--bind-address', 'IP address', "'nowhere'"],
    args: () => ['--port', '0', '--disable-tls', ...DB, ...ABSENT, '--bind-address', 'nowhere'],
  },
  'no driver socket': {
    code: 2,
    says: ['--compute-driver-socket', 'required'],
    args: () => [...PLAIN, ...DB, '--drivers', 'external'],
  },
  'a relative socket': {
    code: 2,
    says: ['--compute-driver-socket', 'not an absolute path'],
    args: () => [...PLAIN, ...DB, '--compute-driver-socket', 'c.sock'],
  },
  'a socket path that is too long': {
    code: 2,
    says: ['--compute-driver-socket', '107'],
    args: () => [...PLAIN, ...DB, '--compute-driver-socket', `/${'a'.repeat(120)}`],
  },
  'one socket for two drivers': {
    code: 2,
    says: ['--credentials-driver-socket', 'different'],
    args: () => [...GOOD, '--credentials-driver-socket', ABSENT[1]!],
  },
  'a socket beside another driver': {
    code: 2,
    says: ['--drivers podman', '--drivers external'],
    args: () => [...GOOD, '--drivers', 'podman'],
  },
  'half a pair of roles': {
    code: 2,
    says: ['admin_role=""', 'user_role', 'set both roles'],
    args: () => [...GOOD, '--oidc-issuer', 'http://127.0.0.1:1', '--oidc-admin-role='],
  },
  'a plain file as socket': {
    code: 1,
    says: ['--compute-driver-socket', 'plain file', 'the socket that the driver made'],
    args: () => [...PLAIN, ...DB, '--compute-driver-socket', file('plain')],
  },
  'a directory as socket of credentials': {
    code: 1,
    says: ['--credentials-driver-socket', 'directory'],
    args: () => [...GOOD, '--credentials-driver-socket', scratch],
  },
  'a driver that is not installed': {
    code: 1,
    says: ['kubernetes', 'not found', 'searched'],
    args: () => [...PLAIN, ...DB, '--drivers', 'kubernetes'],
  },
  'a driver that does not come in time': {
    code: 1,
    says: [ABSENT[1]!, 'timed out'],
    args: () => [...PLAIN, '--db-url', 'sqlite::memory:', ...ABSENT, '--driver-connect-timeout-secs', '1'],
  },
  'no certificate': { code: 1, says: ['--tls-cert', '--disable-tls'], args: () => [...LOOPBACK, ...DB, ...ABSENT] },
  'a certificate that is not there': {
    code: 1,
    says: ['--tls-cert', '/nope', 'No such file'],
    args: () => [...LOOPBACK, ...DB, ...ABSENT, ...tls('/nope', '/nope', '/nope')],
  },
  'a certificate that is none': {
    code: 1,
    says: ['--tls-cert', 'no certificates found'],
    args: () => [...LOOPBACK, ...DB, ...ABSENT, ...tls(file('text'), file('text'), file('text'))],
  },
  'a CA file of the issuer that is not there': {
    code: 1,
    says: ['--oidc-ca-file', '/nope', 'No such file'],
    args: () => [...GOOD, '--oidc-issuer', 'https://127.0.0.1:1', '--oidc-ca-file', '/nope'],
  },
  'a CA file of the issuer that holds none': {
    code: 1,
    says: ['--oidc-ca-file', 'no certificates found'],
    args: () => [...GOOD, '--oidc-issuer', 'https://127.0.0.1:1', '--oidc-ca-file', file('text')],
  },
  'a CA file of the issuer that is damaged': {
    code: 1,
    says: ['--oidc-ca-file', 'BadEncoding'],
    args: () => [
      ...[...GOOD, '--oidc-issuer', 'https://127.0.0.1:1', '--oidc-ca-file'],
      file('bad.pem', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'),
    ],
  },
  'a store key that is not there': {
    code: 1,
    says: ['--store-key-file', '/nope', 'no such file'],
    args: () => [...GOOD, '--store-key-file', '/nope'],
  },
  'a secret file that is not there': {
    code: 1,
    says: ['--ssh-handshake-secret-file', '/nope', 'No such file'],
    args: () => [...GOOD, '--ssh-handshake-secret-file', '/nope'],
  },
  'another kind of database': {
    code: 1,
    says: ['--db-url', 'unsupported database URL scheme', 'sqlite:FILE'],
    args: () => [...PLAIN, ...ABSENT, '--db-url', 'mysql://user:canary@h/d'],
  },
  'a directory as database': {
    code: 1,
    says: ['--db-url', 'not a regular file'],
    args: () => [...PLAIN, ...ABSENT, '--db-url', `sqlite:${scratch}`],
  },
  'a file that is no database': {
    code: 1,
    says: ['--db-url', 'not a database'],
    args: () => [...PLAIN, ...ABSENT, '--db-url', `sqlite:${file('no.db', 'x'.repeat(5000))}`],
  },
  'an issuer by http elsewhere': {
    code: 2,
    says: ['--oidc-issuer', 'https', '--oidc-allow-http'],
    args: () => [...GOOD, '--oidc-issuer', 'http://idp.example'],
  },
}

describe('row 9, P-03: a wrong command line is one sentence, and nothing is half started', () => {
  test.each(Object.entries(WRONG))('%s', async (_name, { code, says, args }) => {
    const ended = await runToEnd(args())
    expect(ended.code).toBe(code)
    const sentences = ended.stderr.split('\n').filter(line => /^error: /i.test(line))
    for (const words of says) expect(ended.stderr).toContain(words)
    expect(sentences.length).toBeGreaterThan(0)
    expect(new Set(sentences).size).toBe(sentences.length)
    expect(ended.files).toEqual([])
    expect(ended.stderr + ended.stdout).not.toMatch(/canary|\bat .*:\d+:\d+/)
  })

  test('C-10 a port that is taken: exit 1, the address, within two seconds, and no file', async () => {
    const holder = createServer()
    await new Promise<void>(resolve => holder.listen(0, '127.0.0.1', resolve))
    const { port } = holder.address() as { port: number }
    const began = performance.now()
    const args = ['--port', String(port), '--bind-address', '127.0.0.1', '--disable-tls']
    const ended = await runToEnd([...args, ...DB, ...ABSENT])
    expect(performance.now() - began).toBeLessThan(2000)
    expect(ended.code).toBe(1)
    expect(ended.files).toEqual([])
    expect(ended.stderr).toContain(String(port))
    expect(ended.stderr.trim().split('\n')).toHaveLength(1)
    holder.close()
  })

  test('P-04 an empty variable counts as unset and is said', async () => {
    const gateway = await startGateway({ args: ABSENT, env: { OPENSHELL_OIDC_ISSUER: '' } })
    expect(gateway.log.some(line => JSON.stringify(line).includes('OPENSHELL_OIDC_ISSUER'))).toBe(true)
    expect(await gateway.stop()).toBe(0)
  })

  test('P-03 a misspelt variable is warned about by its nearest name', async () => {
    const gateway = await startGateway({ args: ABSENT, env: { OPENSHELL_OIDC_ISUER: 'x' } })
    const warning = gateway.log.find(line => JSON.stringify(line).includes('OPENSHELL_OIDC_ISUER'))
    expect(JSON.stringify(warning)).toContain('OPENSHELL_OIDC_ISSUER')
    expect(await gateway.stop()).toBe(0)
  })
})

describe('C-10: an end leaves nothing behind: no driver, no directory', () => {
  /** A driver that says who it is and nothing else, and an issuer whose first answer waits. */
  const prepare = async (name: string) => {
    const dir = join(scratch, name)
    const temporary = join(dir, 'tmp')
    mkdirSync(temporary, { recursive: true })
    const pidFile = join(dir, 'pid')
    writeFileSync(join(dir, 'openshell-driver-odd'), `#!/bin/sh\necho $$ > ${pidFile}\nexec sleep 60\n`, {
      mode: 0o755,
    })
    const issuer = await startIssuer(await signingKey('k1'))
    const asked = Promise.withResolvers<ServerResponse>()
    issuer.pages.discovery = (_request, response) => asked.resolve(response)
    const args = ['--drivers', 'odd', '--driver-dir', dir, '--oidc-issuer', issuer.url]
    const nothingLeft = () => {
      const pid = Number(readFileSync(pidFile, 'utf8'))
      expect(listProcesses().filter(row => row.pid === pid)).toEqual([])
      expect(readdirSync(temporary)).toEqual([])
    }
    return { args, env: { TMPDIR: temporary }, temporary, dir, pidFile, issuer, asked: asked.promise, nothingLeft }
  }

  test('an issuer that turns out to be another one when the port is open already: exit 1', async () => {
    const { args, env, issuer, asked, nothingLeft, pidFile } = await prepare('late')
    const gateway = await startGateway({ args, env })
    await until('the driver', () => existsSync(pidFile) && readFileSync(pidFile, 'utf8').endsWith('\n'))
    const response = await asked
    response.end(JSON.stringify({ issuer: 'http://127.0.0.1:1/another', jwks_uri: 'http://127.0.0.1:1/keys' }))
    expect(await until('the end', () => gateway.child.exitCode)).toBe(1)
    nothingLeft()
    await gateway.stop()
    await issuer.close()
  })

  test('SIGTERM while peers are waited for: exit 0', async () => {
    const { args, env, issuer, dir, nothingLeft, pidFile } = await prepare('early')
    const child = spawn(EXECUTABLE, [...PLAIN, ...DB, ...args], {
      ...{ cwd: dir, stdio: 'ignore' as const },
      env: { ...env, PATH: process.env['PATH'], OPENSHELL_SSH_HANDSHAKE_SECRET: SECRET },
    })
    await until('the driver', () => existsSync(pidFile) && readFileSync(pidFile, 'utf8').endsWith('\n'))
    const ended = new Promise(resolve => child.once('exit', (code, signal) => resolve(code ?? signal)))
    child.kill('SIGTERM')
    expect(await ended).toBe(0)
    nothingLeft()
    await issuer.close()
  })

  test.skipIf(process.platform !== 'linux')(
    'SIGKILL: the driver goes with it, the directory at the next start',
    async () => {
      const { args, env, issuer, nothingLeft, temporary, pidFile } = await prepare('killed')
      const startOne = async () => {
        rmSync(pidFile, { force: true })
        const gateway = await startGateway({ args, env })
        await until('the driver', () => existsSync(pidFile) && readFileSync(pidFile, 'utf8').endsWith('\n'))
        return { gateway, driver: Number(readFileSync(pidFile, 'utf8')) }
      }
      const isAlive = (pid: number) => listProcesses().some(row => row.pid === pid)
      const killed = await startOne()
      const other = await startOne()
      const abandoned = readdirSync(temporary)
      expect(abandoned).toHaveLength(2)
      expect(await killed.gateway.stop('SIGKILL')).toBe('SIGKILL')
      await until('the end of its driver', () => !isAlive(killed.driver))
      expect(isAlive(other.driver)).toBe(true)

      const next = await startOne()
      // The one that lives keeps its own.
      expect(readdirSync(temporary).filter(name => abandoned.includes(name))).toHaveLength(1)
      expect(await next.gateway.stop()).toBe(0)
      expect(await other.gateway.stop()).toBe(0)
      nothingLeft()
      await issuer.close()
    },
  )
})

test('C-02 a second signal ends at once with 130, whatever is still under way', async () => {
  const gateway = await startGateway({ args: [...ABSENT, '--shutdown-grace-secs', '60'] })
  const raw = await openRaw(gateway.port)
  // A call whose message never comes holds the drain.
  raw.send(Buffer.concat([http2Start(), frame(1, 4, 1, callHead('/openshell.v1.OpenShell/ListSandboxes'))]))
  await raw.until(received => received.length > 0)
  gateway.child.kill('SIGTERM')
  await gateway.logged(line => line.message.startsWith('Shutdown signal received'))
  const began = performance.now()
  expect(await gateway.stop('SIGINT')).toBe(130)
  expect(performance.now() - began).toBeLessThan(1000)
  raw.destroy()
})

describe('P-01: a working directory full of traps', () => {
  test('neither bunfig.toml nor .env nor packages of it are looked at', async () => {
    const trap = join(scratch, 'trap')
    const marker = join(scratch, 'marker')
    const bite = `require('node:fs').writeFileSync(${JSON.stringify(marker)}, 'bitten')`
    mkdirSync(join(trap, 'node_modules/cpu-features'), { recursive: true })
    writeFileSync(join(trap, 'bite.js'), bite)
    writeFileSync(join(trap, 'bunfig.toml'), 'preload = ["./bite.js"]\n[test]\npreload = ["./bite.js"]\n')
    for (const name of ['.env', '.env.local', '.env.production'])
      writeFileSync(join(trap, name), 'OPENSHELL_OIDC_ISSUER=http://127.0.0.1:1/trapped\nOPENSHELL_LOG_LEVEL=off\n')
    writeFileSync(join(trap, 'package.json'), '{"name":"trap","main":"bite.js","imports":{"#x":"./bite.js"}}')
    writeFileSync(join(trap, 'tsconfig.json'), '{"compilerOptions":{"paths":{"*":["./bite.js"]}}}')
    writeFileSync(join(trap, 'node_modules/cpu-features/index.js'), bite)
    const gateway = await startGateway({ args: ABSENT, dir: trap })
    expect((await gateway.call('ListSandboxes')).code).toBe('OK')
    expect(gateway.log.some(line => line.message.includes('no --oidc-issuer'))).toBe(true)
    expect(await gateway.stop()).toBe(0)
    const client = await runToEnd(['local-driver', '--socket', '/run/openshell-none/x/y.sock', '--bogus'], {
      cwd: trap,
    })
    expect(client.code).toBe(2)
    expect(existsSync(marker)).toBe(false)
  })
})

/** Every way in which a text may be written down. */
const forms = (secret: string): string[] => [
  secret,
  Buffer.from(secret).toString('base64').replace(/=+$/, ''),
  Buffer.from(secret).toString('base64url'),
  Buffer.from(secret).toString('hex'),
  encodeURIComponent(secret),
  Buffer.from(secret, 'utf16le').toString('latin1'),
]
const found = (text: string, secrets: Readonly<Record<string, string>>): string[] =>
  Object.entries(secrets).flatMap(([name, secret]) => (forms(secret).some(form => text.includes(form)) ? [name] : []))
/** The last letters of canaries, which stand in no word and no id. */
const TAILS = ['~hS!', '~pC!', '~nP!', '~wS!', '_-Zq']

describe('P-09: canaries in every secret', () => {
  let issuer: FakeIssuer
  let driver: DriverProcess
  let gateway: GatewayProcess
  let metricsPort: number
  const handshake = 'canary/handshake+secret-5b1f9c0e2d~hS!'
  let levelFile: string

  beforeAll(async () => {
    const key = await signingKey('k1')
    issuer = await startIssuer(key)
    driver = await startDriver('compute-driver.ts', join(scratch, 'p09.sock'))
    metricsPort = await freePort(0, true)
    levelFile = join(scratch, 'p16-level')
    writeFileSync(levelFile, 'info')
    gateway = await startGateway({
      args: [
        ...['--compute-driver-socket', join(scratch, 'p09.sock'), '--oidc-issuer', issuer.url],
        ...['--log-level-file', levelFile],
        ...['--metrics-port', String(metricsPort), '--metrics-bind-address', '127.0.0.1'],
      ],
      env: { OPENSHELL_SSH_HANDSHAKE_SECRET: handshake },
    })
    await gateway.logged(line => line.message === 'driver connected')
  })
  afterAll(async () => {
    await gateway?.stop()
    await driver?.kill()
    await issuer?.close()
  })

  test('they stand in no line at trace, no metric, no error and no answer that is not theirs, not even their ends (P-10, P-16)', async () => {
    writeFileSync(levelFile, 'trace')
    gateway.child.kill('SIGHUP')
    await gateway.logged(line => line.message === 'reloading')
    const admin = await issuer.token({ claims: { realm_access: { roles: ['openshell-admin', 'openshell-user'] } } })
    const foreign = `${admin.slice(0, -20)}canaryTokenSignatur_-Zq`
    const secrets: Record<string, string> = {
      'handshake secret': handshake,
      'provider credential': 'canary/provider+credential-91c3~pC!',
      'new provider credential': 'canary/provider+credential-second~nP!',
      'wrong secret': 'canary/wrong+secret-77aa~wS!',
      'bearer token': admin.split('.')[2]!,
      'wrong bearer token': 'canaryTokenSignatur_-Zq',
    }
    const heard: string[] = []
    const call = async (rpc: string, request: object, options: Parameters<GatewayProcess['call']>[2]) => {
      const answer = await gateway.call(rpc, request, options)
      heard.push(JSON.stringify(answer))
      return answer
    }
    const asAdmin = { token: admin }
    const provider = (name: string, value: string) => ({
      provider: { metadata: { name }, type: 'generic', credentials: { KEY: value } },
    })
    const credential = secrets['provider credential']!
    expect((await call('CreateProvider', provider('p', credential), asAdmin)).code).toBe('OK')
    await call('CreateProvider', provider('p', credential), asAdmin)
    await call('CreateProvider', provider('bad name\n', credential), asAdmin)
    await call('CreateProvider', { provider: { type: 'generic', credentials: { [credential]: credential } } }, {})
    await call('GetProvider', { name: 'p' }, asAdmin)
    await call('ListProviders', {}, asAdmin)
    await call('UpdateProvider', provider('p', secrets['new provider credential']!), asAdmin)
    await call('UpdateProvider', provider('absent', credential), asAdmin)
    await call('ListProviders', {}, { token: foreign })
    await call('ListProviders', {}, { metadata: { authorization: `Basic ${credential}` } })
    await call('GetSandboxProviderEnvironment', { sandbox_id: 'x' }, { secret: secrets['wrong secret']! })
    await call('GetSandboxProviderEnvironment', { sandbox_id: 'x' }, { secret: handshake })

    expect((await call('CreateSandbox', { name: 'one', spec: { providers: ['p'] } }, asAdmin)).code).toBe('OK')
    const asked = driver.said.find(line => line.rpc === 'CreateSandbox')?.request?.['sandbox'] as { id: string }
    const { id } = asked
    const ready = [{ type: 'Ready', status: 'True', reason: 'Up', message: '', last_transition_time: '' }]
    await driver.tell({ do: 'status', sandbox: id, status: { conditions: ready } })
    await until('the sandbox to be ready', async () =>
      JSON.stringify(await gateway.call('GetSandbox', { name: 'one' }, asAdmin)).includes('SANDBOX_PHASE_READY'),
    )
    // These two answers are where the secret is meant to be.
    const environment = await gateway.call('GetSandboxProviderEnvironment', { sandbox_id: id }, { secret: handshake })
    expect(JSON.stringify(environment)).toContain(secrets['new provider credential']!)
    const session = await gateway.call('CreateSshSession', { sandbox_id: id }, asAdmin)
    const token = String(session.response?.['token'])
    expect(token.length).toBeGreaterThan(20)
    secrets['session token'] = token
    await fetch(`http://${gateway.address}/connect/ssh`, { headers: { 'x-sandbox-token': token } })
    await call('RevokeSshSession', { token }, asAdmin)
    await call('RevokeSshSession', { token: `${token}x` }, asAdmin)
    await call('GetSandboxLogs', { sandbox_id: id, lines: 1000 }, asAdmin)
    await fetch(`http://${gateway.address}/auth/connect?callback_port=5000&code=${encodeURIComponent(credential)}`)

    // A path that is logged at debug only.
    await fetch(`http://${gateway.address}/healthz?token=${encodeURIComponent(credential)}`)
    await gateway.logged(line => line.level === 'DEBUG')

    const metrics = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text()
    expect(found(heard.join('\n'), secrets)).toEqual([])
    expect(found(metrics, secrets)).toEqual([])
    // Audit lines name the tried method by its row, never by what was sent.
    const log = gateway.output()
    expect(log).toContain('audit')
    expect(found(log, secrets)).toEqual([])
    expect(TAILS.filter(tail => (log + metrics + heard.join()).includes(tail))).toEqual([])
    // Sessions are kept by digest (decision 18).
    expect(found(readFileSync(join(gateway.dir, 'gateway.db')).toString('latin1'), { token })).toEqual([])
  })

  test('a header value that no gRPC library takes is written down nowhere, standard error included', async () => {
    const own = await startGateway({ args: [...ABSENT, '--log-level', 'trace'], env: { GRPC_TRACE: 'all' } })
    const odd = 'canary-with-odd-bytes'
    await callLiterally(own.port, '/openshell.v1.OpenShell/Health', [
      ['authorization', `Bearer ${odd}\u00e9`],
      ['x-sandbox-secret', `${odd}\u009b31m`],
    ])
    expect(await own.stop()).toBe(0)
    await until('the end of its words', () => own.child.stderr?.readableEnded)
    expect(found(own.output(), { odd })).toEqual([])
    expect(
      own
        .output()
        .split('\n')
        .filter(line => line !== '' && !line.startsWith('{"time":')),
    ).toEqual([])
  })

  test('--help shows no value of the environment, and no refusal repeats a secret', async () => {
    const env = {
      OPENSHELL_SSH_HANDSHAKE_SECRET: handshake,
      OPENSHELL_DB_URL: 'postgres://user:canary-password@127.0.0.1:1/x',
    }
    for (const args of [['--help'], ['dev', '--help'], ['--bogus'], ['--port', 'x'], ['--log-format', 'x']]) {
      const { stdout, stderr } = await runToEnd(args, { env })
      expect(found(stdout + stderr, { handshake, password: 'canary-password' })).toEqual([])
    }
    const typed = await runToEnd([...PLAIN, ...ABSENT, '--db-url', 'postgres://user:canary-password@:0/x', '--bogus'])
    expect(found(typed.stdout + typed.stderr, { password: 'canary-password' })).toEqual([])
  })
})

/** A user without rights over other processes of theirs, whoever runs the tests. */
const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}
const canRun = process.platform === 'linux' && spawnSync(EXECUTABLE, ['--version'], user).status === 0
if (!canRun) console.log('skipped: P-08 needs Linux, and an executable where another user can run it')

test.skipIf(!canRun)('P-08 another process of the same user cannot read its environment', async () => {
  const environment = { PATH: process.env['PATH'], OPENSHELL_SSH_HANDSHAKE_SECRET: SECRET }
  const readEnvironment = (pid: number) => spawnSync('cat', [`/proc/${pid}/environ`], { ...user, encoding: 'utf8' })
  const plain = spawn('sleep', ['60'], { ...user, env: environment, stdio: 'ignore' })
  await until('a process like any other', () => readEnvironment(plain.pid!).stdout.includes(SECRET))

  const port = await freePort(0, true)
  const args = ['--port', String(port), '--bind-address', '127.0.0.1', '--disable-tls', '--db-url', 'sqlite::memory:']
  const gateway = spawn(EXECUTABLE, [...args, ...ABSENT], { ...user, env: environment, cwd: '/', stdio: 'ignore' })
  await until('the port', () => isListening(port))
  expect(readEnvironment(gateway.pid!)).toMatchObject({
    ...{ status: 1, stdout: '' },
    stderr: expect.stringContaining('Permission denied'),
  })
  for (const child of [plain, gateway]) {
    const ended = new Promise(resolve => child.once('exit', resolve))
    child.kill('SIGTERM')
    await ended
  }
})

describe('C-06: a bug that nobody caught ends it with 70 and one line, without a line of its source', () => {
  test.each([
    ['uncaughtException', "throw new TypeError('boom')", 'TypeError: boom'],
    ['unhandledRejection', "Promise.reject(new TypeError('boom'))", 'TypeError: boom'],
    ['unhandledRejection', "Promise.reject('a text that may hold anything')", 'string'],
  ])('%s: %s', async (kind, bug, error) => {
    const preload = file('bug.ts', `process.on('SIGUSR2', () => { ${bug} })`)
    const gateway = await startGateway({ args: ABSENT, env: { BUN_OPTIONS: `--preload ${preload}` } })
    expect(await gateway.stop('SIGUSR2')).toBe(70)
    await until('the end of its words', () => gateway.child.stderr?.readableEnded)
    const lines = gateway.output().trimEnd().split('\n')
    const crashes = lines.map(line => JSON.parse(line)).filter(line => line.message === 'the gateway crashed')
    expect(crashes).toEqual([
      {
        time: expect.any(String),
        level: 'ERROR',
        message: 'the gateway crashed',
        kind,
        error,
        stack: expect.any(Array),
      },
    ])
    for (const frame of crashes[0].stack) expect(frame).toMatch(/^at (\S+ )?\(?[^()]*:\d+:\d+\)?$/)
  })
})

const HOSTILE = [
  'a\nb',
  'a\r\n{"level":"INFO","message":"forged"}',
  'a\u001b[31mred',
  'a\u0000b',
  'a\u202eb',
  'a\u2066b',
  'a\u061cb',
  'a\u2028b\u2029c',
  'a\u0085b',
  '\u200bz\ufeff',
  'x'.repeat(1_000_000),
]

/** Control and direction characters that no line may hold; line ends stand between lines only. */
const UNFIT = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u2028\u2029\u202a-\u202e\u2066-\u2069]/

describe('I-01: hostile text from outside', () => {
  test.each(['json', 'text'])('leaves one fit line for each event in the %s format', async format => {
    const issuer = await startIssuer(await signingKey('k1'))
    const socket = join(scratch, `i01-${format}.sock`)
    const driver = await startDriver('compute-driver.ts', socket)
    const port = await freePort(0, true)
    const output = join(scratch, `i01-${format}.log`)
    const child = spawn(
      EXECUTABLE,
      [
        ...['--port', String(port), '--bind-address', '127.0.0.1', '--disable-tls', '--db-url', 'sqlite::memory:'],
        ...['--compute-driver-socket', socket, '--oidc-issuer', issuer.url, '--log-format', format],
        ...['--log-level', 'trace'],
      ],
      {
        cwd: scratch,
        env: { OPENSHELL_SSH_HANDSHAKE_SECRET: SECRET },
        stdio: ['ignore', openSync(output, 'w'), 'inherit'],
      },
    )
    await until('the port', () => isListening(port))
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure())
    const token = await issuer.token()
    await until('keys and driver', async () => {
      const { code } = await callUnary(client, 'CreateSandbox', { name: 'warm', spec: {} }, { token })
      return code === 'OK' || code === 'ALREADY_EXISTS'
    })
    const bare = openBare(`127.0.0.1:${port}`)
    for (const text of HOSTILE) {
      await callUnary(client, 'GetSandbox', { name: text }, { token })
      await callUnary(client, 'CreateSandbox', { name: text, labels: { [text]: text }, spec: {} }, { token })
      const sub = await issuer.token({ claims: { sub: text.slice(0, 200), azp: text.slice(0, 200) } })
      await callUnary(client, 'CreateProvider', { provider: { type: 'x' } }, { token: sub })
      await driver.behave('CreateSandbox', { mode: 'fail', code: 'INTERNAL', text: text.slice(0, 4000) })
      await callUnary(client, 'CreateSandbox', { name: 'refused', spec: {} }, { token })
      const path = encodeURI(text.slice(0, 200).toWellFormed())
      await fetch(`http://127.0.0.1:${port}/${path}`, { headers: { 'user-agent': path } }).catch(() => null)
      if (text.length < 1000) await bare.ask(`/openshell.v1.OpenShell/${path}`, { 'x-request-id': path })
    }
    client.close()
    bare.close()
    const ended = new Promise(resolve => child.once('exit', resolve))
    child.kill('SIGTERM')
    expect(await ended).toBe(0)
    await driver.kill()
    await issuer.close()

    const text = readFileSync(output, 'utf8')
    const lines = text.trimEnd().split('\n')
    expect(lines.length).toBeGreaterThan(HOSTILE.length * 4)
    expect(lines.filter(line => UNFIT.test(line))).toEqual([])
    const begins =
      format === 'json' ? /^\{"time":"\d{4}-.*\}$/ : /^\d{4}-\d\d-\d\dT[\d:.]+Z +(TRACE|DEBUG|INFO|WARN|ERROR) /
    expect(lines.filter(line => !begins.test(line))).toEqual([])
    if (format === 'json') for (const line of lines) JSON.parse(line)
    // A field is at most 8 KiB, a line a few of them.
    expect(Math.max(...lines.map(line => line.length))).toBeLessThan(64_000)
  })
})

describe('C-09: nobody reads the output', () => {
  const serve = async (level: string, more: string[] = [], stdout: 'pipe' | number = 'pipe') => {
    const port = await freePort(0, true)
    const args = ['--port', String(port), '--bind-address', '127.0.0.1', '--disable-tls', '--db-url', 'sqlite::memory:']
    const child = spawn(EXECUTABLE, [...args, ...ABSENT, '--log-level', level, ...more], {
      ...{ cwd: scratch, env: { OPENSHELL_SSH_HANDSHAKE_SECRET: SECRET } },
      stdio: ['ignore', stdout, 'pipe'],
    })
    await until('the port', () => isListening(port))
    const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure())
    return { child, client }
  }
  const stop = async (child: ChildProcess, client: Client) => {
    client.close()
    const ended = new Promise(resolve => child.once('exit', (code, signal) => resolve(code ?? signal)))
    child.kill('SIGTERM')
    return ended
  }

  test('a closed pipe ends nothing', async () => {
    const { child, client } = await serve('trace')
    child.stdout?.destroy()
    child.stderr?.destroy()
    for (let n = 0; n < 200; n++) expect((await callUnary(client, 'ListSandboxes', {})).code).toBe('OK')
    expect(await stop(child, client)).toBe(0)
  })

  test.each([
    ['goes on', [], { code: 'OK' }],
    ['is refused', ['--audit-required'], { code: 'UNAVAILABLE', details: 'the audit log cannot be written' }],
  ])('O-03 with the log on a full disk a change %s with %j, and readiness says why', async (_, flag, answer) => {
    const health = await freePort(0, true)
    const side = ['--health-port', String(health), '--health-bind-address', '127.0.0.1']
    const full = openSync('/dev/full', 'w')
    const { child, client } = await serve('info', [...flag, ...side], full)
    closeSync(full)
    expect(await callUnary(client, 'DeleteProvider', { name: 'p' })).toMatchObject(answer)
    expect((await callUnary(client, 'ListSandboxes', {})).code).toBe('OK')
    const ready = await fetch(`http://127.0.0.1:${health}/readyz`)
    expect(ready.status).toBe(503)
    expect(await ready.json()).toMatchObject({ checks: { log: { status: 'unhealthy', error: 'not writable' } } })
    expect(await stop(child, client)).toBe(0)
  })

  test('a pipe that nobody empties blocks no call, and the end comes in time', async () => {
    const { child, client } = await serve('trace')
    child.stdout?.pause()
    const took: number[] = []
    // Far more text than pipe and queue hold.
    for (let round = 0; round < 60; round++) {
      const began = performance.now()
      const answers = await Promise.all(
        Array.from({ length: 50 }, () => callUnary(client, 'GetSandbox', { name: 'x'.repeat(200) })),
      )
      took.push(performance.now() - began)
      expect(new Set(answers.map(answer => answer.code))).toEqual(new Set(['NOT_FOUND']))
    }
    expect(Math.max(...took)).toBeLessThan(5000)
    expect(await stop(child, client)).toBe(0)
  })
})
