/**
 * Client commands where something is in the way: an output or a disk that is full, no home, a person who leaves, an
 * issuer whose words cannot be used (spec/client.md §4, §9, §18).
 */
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type ServerHttp2Stream } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { codec } from '../../src/wire/codec.ts'
import { type ClientHome, createClientHome } from '../kit/client-home.ts'
import { EXECUTABLE, until } from '../kit/gateway.ts'
import { offerDeviceGrant, startTokenIssuer, type TokenIssuer } from '../kit/token-issuer.ts'

setDefaultTimeout(30_000)

let issuer: TokenIssuer
let home: ClientHome
beforeEach(() => {
  home = createClientHome()
  issuer = startTokenIssuer()
})
afterEach(() => {
  issuer.stop()
  home[Symbol.dispose]()
})

const SECRET = { OPENSHELL_OIDC_CLIENT_SECRET: 'a secret' }
const bundlePath = ['gateways', 'g', 'oidc_token.json'] as const
const registration = () =>
  JSON.stringify({
    ...{ name: 'g', gateway_endpoint: 'http://127.0.0.1:1', is_remote: false, gateway_port: 0 },
    ...{ auth_mode: 'oidc', oidc_issuer: issuer.url },
  })
const register = () => {
  home.write(registration(), 'gateways', 'g', 'metadata.json')
  home.write('g', 'active_gateway')
}
const store = (more: object) =>
  home.write(JSON.stringify({ access_token: 'old', issuer: issuer.url, client_id: 'c', ...more }), ...bundlePath)
const answerToken = (token: string, more: object = {}) => {
  issuer.answer = path =>
    path === '/token' ? Response.json({ access_token: token, token_type: 'Bearer', expires_in: 300, ...more }) : null
}
/** Runs a command through a shell line in which `"$@"` is the executable with its arguments. */
async function runIn(line: string, args: readonly string[], env: Record<string, string> = {}) {
  const child = Bun.spawn(['bash', '-c', line, 'bash', EXECUTABLE, ...args], {
    env: { PATH: process.env['PATH']!, ...home.env, ...env },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const [stdout, stderr] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()])
  return { code: await child.exited, stdout, stderr }
}

describe('a full disk', () => {
  test('that takes half of a new token leaves the old file whole, and the new token serves the command', async () => {
    register()
    store({ expires_at: 1, refresh_token: 'refresh-0' })
    const before = home.read(...bundlePath)
    const token = 'a'.repeat(6000)
    answerToken(token, { refresh_token: 'next' })
    const { code, stdout, stderr } = await runIn('ulimit -f 4; exec "$@"', ['token'])
    expect([code, stdout]).toEqual([0, `${token}\n`])
    expect(stderr).toMatch(
      /^warning: a new token serves this command only: \S+oidc_token.json cannot be written: .*\n$/,
    )
    expect(home.read(...bundlePath)).toBe(before)
  })

  test('ends a sign-in with a sentence, and leaves nothing behind', async () => {
    answerToken('a'.repeat(6000))
    const args = ['gateway', 'add', 'http://127.0.0.1:1', '--name', 'g', '--oidc-issuer', issuer.url]
    const { code, stderr } = await runIn('ulimit -f 4; exec "$@"', args, SECRET)
    expect(code).toBe(1)
    expect(stderr).toMatch(/^error: \S+oidc_token.json cannot be written: .*\n$/)
    expect(existsSync(home.path('gateways', 'g'))).toBe(false)
  })

  test('leaves no half of a set of certificates', async () => {
    const names = Array.from({ length: 20 }, (_, at) => [
      '--server-san',
      `a-long-name-of-a-gateway-${at}.example`,
    ]).flat()
    const folder = join(home.dir, 'certs')
    const args = ['generate-certs', '--output-dir', folder, ...names]
    const { code, stderr } = await runIn('ulimit -f 1; exec "$@"', args)
    expect([code, stderr]).toEqual([
      1,
      expect.stringMatching(/^error: \S+server\/tls.crt cannot be written: File too large.*\n$/),
    ])
    expect(readdirSync(folder, { recursive: true }).filter(name => /tls|ca|tmp/.test(String(name)))).toEqual([])
    expect(await runIn('exec "$@"', args)).toMatchObject({ code: 0 })
  })

  test('leaves the unit that install --force was to replace', async () => {
    const args = ['install', '--systemd', '--root', home.dir, '--executable', '/usr/bin/openshell-gateway']
    expect(await runIn('exec "$@"', args)).toMatchObject({ code: 0 })
    const unit = join(home.dir, 'etc/systemd/system/openshell-gateway.service')
    writeFileSync(unit, 'mine')
    expect(await runIn('ulimit -f 2; exec "$@"', [...args, '--force'])).toMatchObject({
      ...{ code: 1, stderr: expect.stringContaining(`cannot write ${unit}: File too large`) },
    })
    expect(readFileSync(unit, 'utf8')).toBe('mine')
  })

  test.each([[['man']], [['--help']], [['completion', 'bash']], [['gateway', 'list', '-o', 'json']]])(
    'behind standard output is exit 1 and a sentence: %p',
    async args => {
      expect(await runIn('exec "$@" >/dev/full', args)).toEqual({
        code: 1,
        stdout: '',
        stderr: 'error: standard output cannot be written: No space left on device (os error 28)\n',
      })
    },
  )

  test('is not the same as a reader that has seen enough', async () => {
    expect(await runIn('set -o pipefail; "$@" | head -n 1', ['man'])).toMatchObject({ code: 0, stderr: '' })
  })
})

describe('a service with a secret', () => {
  const inSystem = () => {
    mkdirSync(join(home.dir, 'etc', 'gateways', 'g'), { recursive: true })
    writeFileSync(join(home.dir, 'etc', 'gateways', 'g', 'metadata.json'), registration())
    writeFileSync(join(home.dir, 'etc', 'active_gateway'), 'g')
  }

  test('uses a gateway of the whole machine at once, and keeps the token in its own home', async () => {
    inSystem()
    expect(await home.run(['token'], SECRET)).toMatchObject({ code: 0, stdout: 'access-1\n', stderr: '' })
    expect(await home.run(['token'], SECRET)).toMatchObject({ code: 0, stdout: 'access-1\n' })
    expect(statSync(home.path('gateways', 'g')).mode & 0o777).toBe(0o700)
  })

  test('may have it in a file; one that cannot be used is a sentence', async () => {
    inSystem()
    const file = join(home.dir, 'secret')
    writeFileSync(file, 'of the file\n')
    const env = (path: string) => ({ OPENSHELL_OIDC_CLIENT_SECRET_FILE: path })
    expect(await home.run(['token'], env(file))).toMatchObject({ code: 0, stdout: 'access-1\n', stderr: '' })
    expect(issuer.requests[0]?.get('client_secret')).toBe('of the file')
    for (const [path, why] of [
      ['/nope', 'cannot be read: No such file or directory (os error 2)'],
      ['/dev/zero', 'is not a regular file'],
    ] as const)
      expect(await home.run(['gateway', 'login'], env(path))).toMatchObject({
        ...{ code: 1, stderr: `error: OPENSHELL_OIDC_CLIENT_SECRET_FILE: ${path} ${why}\n` },
      })
  })

  test.each([
    ['no home', { HOME: undefined, XDG_CONFIG_HOME: undefined }],
    ['a home where nothing can be made', { XDG_CONFIG_HOME: '/dev/null' }],
  ])('needs no place to keep it: %s', async (_where, env) => {
    inSystem()
    expect(await home.run(['token'], { ...SECRET, ...env })).toMatchObject({
      ...{ code: 0, stdout: 'access-1\n', stderr: '', files: ['etc'] },
    })
  })
})

test('K-13 a proxy is not asked for what is on this machine', async () => {
  const proxy = { HTTP_PROXY: 'http://127.0.0.1:1', HTTPS_PROXY: 'http://127.0.0.1:1' }
  const add = ['gateway', 'add', 'http://127.0.0.1:1', '--name', 'g', '--oidc-issuer', issuer.url]
  expect(await home.run(add, { ...SECRET, ...proxy })).toMatchObject({ code: 0 })
  const ready = Bun.serve({ hostname: '127.0.0.1', port: 0, fetch: () => new Response('ready') })
  const health = { ...proxy, OPENSHELL_HEALTH_PORT: String(ready.port) }
  expect(await home.run(['health'], health)).toMatchObject({ code: 0 })
  await ready.stop(true)
})

describe('what an issuer says', () => {
  const add = ['gateway', 'add', 'http://127.0.0.1:1', '--name', 'g', '--oidc-issuer']

  test.each(['a\nb', 'a😀b', 'a b'])('as a token that no call could carry is refused: %j', async token => {
    answerToken(token)
    expect(await home.run([...add, issuer.url], SECRET)).toMatchObject({
      code: 4,
      stderr: `error: the issuer ${issuer.url} gave a token with characters no token has\n`,
    })
    register()
    store({ access_token: token })
    expect(await home.run(['call', 'ListSandboxes'])).toMatchObject({ code: 3 })
  })

  test('of a life longer than any is taken for a very long one', async () => {
    answerToken('long', { expires_in: 1e300 })
    expect(await home.run([...add, issuer.url], SECRET)).toMatchObject({ code: 0 })
    expect(await home.run(['token'])).toMatchObject({ code: 0, stdout: 'long\n' })
  })

  test('to a person cannot steer the terminal', async () => {
    offerDeviceGrant(issuer, {
      ...{ device_code: 'd', user_code: '\u001b[2JXX', verification_uri: 'http://x/\u001b[31m' },
      ...{ expires_in: 60, interval: 0.01 },
    })
    const { code, stderr } = await home.run([...add, issuer.url], { OPENSHELL_NO_BROWSER: '1' })
    expect([code, stderr.includes('\u001b')]).toEqual([0, false])
    expect(stderr).toContain('confirm the code:  \\u{1b}[2JXX\n')
  })
})

const script = Bun.which('script')
if (!script) console.log('skipped: leaving a sign-in at a terminal needs script(1) of util-linux')

test.skipIf(!script)('Ctrl-C instead of Enter ends a sign-in at an edge, and opens no browser', async () => {
  const opened = join(home.dir, 'opened')
  writeFileSync(join(home.dir, 'browser'), `#!/bin/sh\n: > ${opened}\n`)
  chmodSync(join(home.dir, 'browser'), 0o755)
  const child = Bun.spawn([script!, '-qec', `${EXECUTABLE} gateway add https://127.0.0.1:1 --name g`, '/dev/null'], {
    env: { PATH: process.env['PATH']!, TERM: 'dumb', ...home.env, BROWSER: join(home.dir, 'browser') },
    stdin: 'pipe',
    stdout: 'pipe',
  })
  let said = ''
  const reading = (async () => {
    for await (const chunk of child.stdout) said += new TextDecoder().decode(chunk)
  })()
  await until('the question', () => said.includes('Press Enter'))
  child.stdin.write('\u0003')
  await child.stdin.flush()
  expect(await child.exited).toBe(6)
  await reading
  expect(said).toContain('the sign-in was given up')
  expect([existsSync(opened), existsSync(home.path())]).toEqual([false, false])
})

describe('what is no gateway', () => {
  /** Speaks HTTP/2 on a port of its own and answers every call in the same way. */
  async function answering(answer: (stream: ServerHttp2Stream) => void): Promise<{ url: string } & AsyncDisposable> {
    const server = createServer()
    server.on('stream', answer)
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    return {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      [Symbol.asyncDispose]: () => new Promise(resolve => server.close(() => resolve())),
    }
  }
  const commands = ['call Health', 'gateway status', 'health', 'ssh-proxy box']

  test.each(commands)('but a proxy without one is told by its status: %s', async command => {
    await using proxy = await answering(stream => {
      stream.respond({ ':status': 502, 'content-type': 'text/html' })
      stream.end('<html>'.repeat(1000))
    })
    const { code, stdout, stderr } = await home.run([...command.split(' '), '--gateway-endpoint', proxy.url])
    expect(stdout + stderr).toContain('HTTP status 502')
    expect(code).toBe(command === 'health' ? 1 : 5)
  })

  test('but answers with controls of a terminal prints them as JSON escapes', async () => {
    const answer = codec('openshell.v1.HealthResponse').encode({ version: 'a\u009b2J\u202eb' })
    await using odd = await answering(stream => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
      stream.end(Buffer.concat([Buffer.from([0, 0, 0, 0, answer.length]), answer]))
    })
    const { stdout } = await home.run(['call', 'Health', '--gateway-endpoint', odd.url])
    expect(stdout).toBe('{"version":"a\\u009b2J\\u202eb"}\n')
    const well = await home.run(['health', '--gateway-endpoint', odd.url])
    expect(well.stdout).toBe('healthy a\\u{9b}2J\\u{202e}b\n')
  })

  test.each(commands)('but answers in bytes that mean nothing is one sentence: %s', async command => {
    await using odd = await answering(stream => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
      stream.end(Buffer.from([0, 0, 0, 0, 3, 255, 255, 255]))
    })
    const { code, stdout, stderr } = await home.run([...command.split(' '), '--gateway-endpoint', odd.url])
    expect([1, 5]).toContain(code)
    expect(stderr).not.toContain('crashed')
    expect((stdout + stderr).match(/is no openshell|connection lost/g)).toHaveLength(1)
  })
})

describe('directories that are there', () => {
  test('keep their mode when certificates are written into them', async () => {
    const folder = join(home.dir, 'shared')
    mkdirSync(folder)
    chmodSync(folder, 0o755)
    expect(await home.run(['generate-certs', '--output-dir', folder])).toMatchObject({ code: 0 })
    const modes = ['', 'server', 'server/tls.key'].map(path => (statSync(join(folder, path)).mode & 0o777).toString(8))
    expect(modes).toEqual(['755', '700', '600'])
  })

  test.each([
    ['dev', []],
    ['local-driver', ['--socket', '/run/openshell-none/x.sock']],
  ])('but cannot hold the state of %s are one sentence', async (command, more) => {
    const { code, stdout, stderr } = await home.run([command, '--state-dir', '/dev/null', ...more])
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(/^Error: nothing can be kept in \/dev\/null: .*; name another with --state-dir\n$/)
  })
})

test.each([['OPENSHELL_BIND_ADDRESS'], ['OPENSHELL_HEALTH_BIND_ADDRESS']])(
  'health asks the health port at the address that %s gives it',
  async variable => {
    const server = Bun.serve({ hostname: '127.0.0.2', port: 0, fetch: () => new Response('ready') })
    const env = { OPENSHELL_HEALTH_PORT: String(server.port), [variable]: '127.0.0.2' }
    expect(await home.run(['health'], env)).toMatchObject({ code: 0, stdout: 'healthy ready\n' })
    expect(await home.run(['health'], { ...env, [variable]: '127.0.0.3' })).toMatchObject({ code: 1 })
    await server.stop(true)
  },
)

test('health reads no more of an answer than it shows, and waits no longer than five seconds for it', async () => {
  const endless = new ReadableStream({ pull: controller => controller.enqueue(new Uint8Array(65_536).fill(120)) })
  const silent = new ReadableStream({ start: controller => controller.enqueue(new Uint8Array([120])) })
  const bodies: Readonly<Record<string, () => ReadableStream>> = { big: () => endless, slow: () => silent }
  let now = 'big'
  const server = Bun.serve({ hostname: '127.0.0.1', port: 0, fetch: () => new Response(bodies[now]!()) })
  const args = ['health', '--endpoint', `http://127.0.0.1:${server.port}/readyz`]
  expect(await home.run(args)).toMatchObject({ code: 0, stdout: 'healthy too large\n' })
  now = 'slow'
  expect(await home.run(args)).toMatchObject({ code: 1, stderr: `error: ${args[2]} does not answer\n` })
  await server.stop(true)
})

test('dev takes a relative state directory, and its lines can be pasted anywhere', async () => {
  const child = Bun.spawn([EXECUTABLE, 'dev', '--port', '0', '--state-dir', 'here'], {
    cwd: home.dir,
    env: { PATH: process.env['PATH']!, ...home.env },
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: Bun.file(join(home.dir, 'said')),
  })
  const said = () => readFileSync(join(home.dir, 'said'), 'utf8')
  await until('the lines to paste', () => said().includes('Ctrl-C ends everything.'))
  const second = await home.run(['dev', '--state-dir', join(home.dir, 'here')])
  expect([second.code, second.stderr]).toEqual([
    1,
    expect.stringMatching(/^Error: another dev runs on .*--ephemeral\n$/),
  ])
  child.kill('SIGINT')
  expect(await child.exited).toBe(0)
  expect(said()).toContain(`state                               ${join(home.dir, 'here')}\n`)
  expect(said()).toContain(`  ${EXECUTABLE} exec demo -- echo hello\n`)
})
