/**
 * What users of OpenShell do with a sandbox, by the command line tool they have (0.0.38) and the executable: a command,
 * a shell, files, a port, logs. Against `dev`, and against a gateway with client certificates and the local driver.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { freePort } from '../../src/dev/free-port.ts'
import { until } from '../kit/gateway.ts'
import { fetchUpstreamCli } from '../kit/peers.ts'
import { isListening } from '../kit/processes.ts'
import { type Mode, UpstreamWorld } from '../kit/upstream-world.ts'

setDefaultTimeout(60_000)

const cliPath = fetchUpstreamCli('0.0.38')
if (typeof cliPath !== 'string') console.log(`skipped: ${cliPath.skipped}`)

const MODES: readonly Mode[] = [
  { name: 'dev', tls: false, oidc: true, dev: true },
  { name: 'client certificates and the local driver', tls: true, oidc: false },
]

describe.skipIf(typeof cliPath !== 'string').each(MODES)('openshell 0.0.38, $name', mode => {
  let world: UpstreamWorld

  beforeAll(async () => {
    world = new UpstreamWorld(cliPath as string, mode)
    await world.start()
    await world.register()
    const creating = world.works('sandbox', 'create', '--name', 'vessel', '--no-tty', '--', 'sh', '-c', 'echo made')
    if (mode.tls) await world.supervise('vessel')
    expect(await creating).toContain('made')
  })
  afterAll(() => world?.stop())

  const digest = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex')

  test('exec: output, input, directory and exit code', async () => {
    const exec = ['sandbox', 'exec', '--name', 'vessel', '--workdir', '/tmp', '--', 'sh', '-c']
    const run = await world.cli(...exec, 'pwd; echo $0 "$1"; exit 9', 'it is', "o'clock")
    expect(run).toEqual({ code: 9, said: "/tmp\nit is o'clock\n" })
  })

  test('connect: a shell on a terminal, whose size follows the window', async () => {
    const shell = world.terminal('sandbox', 'connect', 'vessel')
    await shell.until(/[$#] $/)
    await shell.type('stty size\n')
    await shell.until(/^30 90/m)
    shell.resize(120, 40)
    await shell.type('stty size; exit\n')
    await shell.until(/^40 120/m)
    expect(await shell.exited).toBe(0)
  })

  test('upload and download: the same bytes', async () => {
    const up = join(world.home, 'up')
    mkdirSync(join(up, 'inner'), { recursive: true })
    writeFileSync(join(up, 'inner', 'big'), randomBytes(6 << 20))
    writeFileSync(join(up, 'a file'), 'small')
    await world.works('sandbox', 'upload', '--no-git-ignore', 'vessel', up, 'uploaded')
    const listed = await world.works(
      'sandbox',
      'exec',
      '--name',
      'vessel',
      '--',
      'sh',
      '-c',
      'find uploaded -type f | sort',
    )
    expect(listed.trim().split('\n')).toHaveLength(2)
    const inner = listed
      .trim()
      .split('\n')
      .find(line => line.endsWith('big'))!
    const down = join(world.home, 'down')
    mkdirSync(down)
    await world.works('sandbox', 'download', 'vessel', inner, down)
    expect(digest(join(down, 'big'))).toBe(digest(join(up, 'inner', 'big')))
  })

  test('forward: a port of the sandbox on this host', async () => {
    const port = await freePort(0, true)
    // The port is the same on both sides: another loopback address keeps them apart on one host, where the tool looks
    // whether it is free before anything listens.
    const forward = world.run('forward', 'start', `127.0.0.2:${port}`, 'vessel')
    await until('the port to be open', () => isListening(port, '127.0.0.2'))
    const server = createServer((_request, response) => response.end('from the sandbox'))
    await new Promise<void>(resolve => server.listen(port, '127.0.0.1', resolve))
    const answer = await until('the port to be forwarded', () =>
      fetch(`http://127.0.0.2:${port}/`).then(
        got => got.text(),
        () => null,
      ),
    )
    expect(answer).toBe('from the sandbox')
    forward.kill('SIGINT')
    await forward.exited
    server.close()
  })

  test('ssh-config: OpenSSH connects by it', async () => {
    const config = join(world.home, 'ssh_config')
    const said = await world.works('sandbox', 'ssh-config', 'vessel')
    writeFileSync(config, said)
    const host = /^Host (\S+)/m.exec(said)![1]!
    const ssh = Bun.spawnSync(['ssh', '-F', config, host, 'echo by ssh; exit 4'], {
      env: { PATH: process.env['PATH']!, HOME: world.home },
    })
    expect([ssh.stdout.toString(), ssh.exitCode]).toEqual(['by ssh\n', 4])
  })

  test('logs --tail: lines as they come', async () => {
    const logs = world.run('logs', 'vessel', '--tail')
    let said = ''
    const read = async () => {
      for await (const part of logs.stdout as ReadableStream<Uint8Array>) said += Buffer.from(part).toString()
    }
    void read()
    await until('a line of the past', () => said.includes('supervisor session'))
    const before = said.length
    await world.works('sandbox', 'exec', '--name', 'vessel', '--', 'true')
    await world.works('sandbox', 'upload', '--no-git-ignore', 'vessel', join(world.home, 'ssh_config'))
    await until('a new line', () => said.length > before)
    logs.kill('SIGINT')
    await logs.exited
  })

  test('delete: the sandbox is gone', async () => {
    expect(await world.works('sandbox', 'delete', 'vessel')).toContain('Deleted sandbox vessel')
    await until('the sandbox to be gone', async () => !(await world.works('sandbox', 'list')).includes('vessel'))
  })
})
