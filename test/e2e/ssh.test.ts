import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type DataPlane, startDataPlane, until } from '../kit/data-plane.ts'

setDefaultTimeout(30_000)

const MAIN = join(import.meta.dir, '../../src/main.ts')
let plane: DataPlane
let dir: string
let scratch: string

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'ssh-test-'))
  plane = await startDataPlane()
  await plane.addSandbox('s1')
  ;({ dir } = await plane.supervise('s1'))
})
afterAll(async () => {
  await plane.stop()
  rmSync(scratch, { recursive: true, force: true })
})

const options = () => [
  '-o',
  `ProxyCommand=${process.execPath} ${MAIN} ssh-proxy --gateway-endpoint ${plane.url} s1`,
  ...['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR', 'User=sandbox'].flatMap(o => [
    '-o',
    o,
  ]),
]
const run = async (command: string[], input?: string) => {
  const child = Bun.spawn(command, { stdin: Buffer.from(input ?? ''), stdout: 'pipe', stderr: 'pipe' })
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ])
  return { stdout, stderr, code }
}
const digest = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex')

test('OpenSSH runs a command, with its exit code and its input', async () => {
  expect(await run(['ssh', ...options(), 'sandbox', 'cat; pwd; exit 3'], 'hello\n')).toEqual({
    stdout: `hello\n${dir}\n`,
    stderr: '',
    code: 3,
  })
})

test('a shell on a terminal has the size of the terminal', async () => {
  const { stdout } = await run([
    'script',
    '-qec',
    `stty rows 33 cols 101; ssh -tt ${options()
      .map(o => `'${o}'`)
      .join(' ')} sandbox 'stty size; tty'`,
    '/dev/null',
  ])
  expect(stdout).toContain('33 101')
  expect(stdout).toContain('/dev/pts/')
})

test.each([
  ['sftp', []],
  ['the old protocol', ['-O']],
])('scp copies both ways byte for byte (%s)', async (_name, flags) => {
  const file = join(scratch, 'up')
  writeFileSync(file, randomBytes(8 << 20))
  expect((await run(['scp', ...flags, ...options(), file, 'sandbox:copied'])).code).toBe(0)
  expect(digest(join(dir, 'copied'))).toBe(digest(file))
  expect((await run(['scp', ...flags, ...options(), 'sandbox:copied', join(scratch, 'down')])).code).toBe(0)
  expect(digest(join(scratch, 'down'))).toBe(digest(file))
})

test('sftp lists, renames, links and removes', async () => {
  const { stdout, code } = await run(
    ['sftp', ...options(), '-b', '-', 'sandbox'],
    'mkdir d\nput /etc/hostname d/a\nrename d/a d/b\nln -s b d/l\nls -l d\nrm d/l\nrm d/b\nrmdir d\npwd\n',
  )
  expect(code).toBe(0)
  expect(stdout).toContain('d/b')
  expect(stdout).toContain(`Remote working directory: ${dir}`)
})

test('a port of the sandbox is reached through the tunnel; another host is not', async () => {
  const server = createServer(socket => socket.end('from inside')).listen(0, '127.0.0.1')
  const { port } = server.address() as { port: number }
  expect((await run(['ssh', ...options(), '-W', `127.0.0.1:${port}`, 'sandbox'])).stdout).toBe('from inside')
  expect((await run(['ssh', ...options(), '-W', '192.0.2.1:80', 'sandbox'])).code).not.toBe(0)
  server.close()
})

test('nothing is left when the tunnels are over', async () => {
  await until(() => plane.tunnels.open === 0 && plane.relays.running === 0)
  expect(plane.relays.pending).toBe(0)
  expect(plane.bugs).toEqual([])
})
