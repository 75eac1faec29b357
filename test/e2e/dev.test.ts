import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test'
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../../src/dev/free-port.ts'
import { EXECUTABLE, until } from '../kit/gateway.ts'
import { descendantsOf, isListening, listProcesses } from '../kit/processes.ts'

setDefaultTimeout(30_000)

let dev: ChildProcess
let home: string
let said = ''
/** What `dev` tells its user to paste: `export NAME=…` first, commands after it. */
let printed: string[]
let environment: Record<string, string>
const PATH = process.env['PATH']!

interface Pasted {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs one line in a shell, as somebody who pastes it does. */
async function paste(line: string): Promise<Pasted> {
  const child = Bun.spawn(['sh', '-c', line], {
    cwd: home,
    env: environment,
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  })
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ])
  return { code, stdout, stderr }
}

const command = (words: string): string => {
  const line = printed.find(text => text.includes(words))
  if (!line) throw new Error(`dev prints no command with ${words}:\n${said}`)
  return line
}

const phaseOf = (answer: Pasted): unknown => JSON.parse(answer.stdout).sandbox.phase
const value = (label: string): string => new RegExp(`^${label} +(\\S+)`, 'm').exec(said)?.[1] ?? ''

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'dev-home-'))
  environment = { PATH, HOME: home, TMPDIR: home }
  const port = String(await freePort(0, true))
  // A process group of its own, as a terminal would give it: Ctrl-C goes to all of it.
  dev = spawn(EXECUTABLE, ['dev', '--ephemeral', '--port', port], {
    ...{ cwd: home, env: environment, detached: true },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  dev.stdout?.on('data', chunk => (said += chunk))
  dev.stderr?.on('data', chunk => (said += chunk))
  await until('dev to say what to paste', () => {
    if (dev.exitCode !== null) throw new Error(`dev ended with ${dev.exitCode}:\n${said}`)
    return said.includes('Ctrl-C ends everything.')
  })
  printed = said
    .split('\n')
    .filter(line => line.startsWith('  '))
    .map(line => line.trim())
  for (const line of printed.filter(text => text.startsWith('export '))) {
    const name = /^export (\w+)=/.exec(line)?.[1] ?? ''
    const got = await paste(`${line} && printf %s "$${name}"`)
    expect(got.code).toBe(0)
    environment[name] = got.stdout
  }
})

afterAll(() => {
  if (dev?.pid && dev.exitCode === null && dev.signalCode === null) process.kill(-dev.pid, 'SIGKILL')
  rmSync(home, { recursive: true, force: true })
})

test('row 1: the printed commands take a sandbox from PROVISIONING to READY and run a command in it', async () => {
  const created = await paste(command('call CreateSandbox'))
  expect(created.stderr).toBe('')
  expect(phaseOf(created)).toBe('SANDBOX_PHASE_PROVISIONING')
  await until(
    'the sandbox to be ready',
    async () => phaseOf(await paste(command('call GetSandbox'))) === 'SANDBOX_PHASE_READY',
  )
  expect(await paste(command('exec demo'))).toEqual({ code: 0, stdout: 'hello\n', stderr: '' })
})

test('row 1: nobody in particular is refused', async () => {
  const { OPENSHELL_TOKEN: _, ...anonymous } = environment
  const kept = environment
  environment = anonymous
  const refused = await paste(command('call GetSandbox'))
  environment = kept
  expect(refused.code).not.toBe(0)
  expect(refused.stderr).toContain('missing authorization header')
})

test('row 1: the user may not create a provider, the administrator may', async () => {
  const line = command('call CreateProvider')
  const refused = await paste(line)
  expect(refused.code).not.toBe(0)
  expect(refused.stderr).toContain("role 'openshell-admin' required")
  const adminLine = command('export OPENSHELL_TOKEN').replace('user@test', 'admin@test')
  const { stdout, code } = await paste(`${adminLine} && ${line}`)
  expect(code).toBe(0)
  expect(JSON.parse(stdout).provider.metadata.name).toBe('p')
  expect(stdout).not.toContain('"v"')
})

test('row 1: Ctrl-C leaves no process, no socket, no directory', async () => {
  const again = await paste(command('call CreateSandbox').replace('demo', 'stays'))
  expect(again.code).toBe(0)
  const state = value('state')
  const ports = [value('OpenShell gateway for development'), value('issuer')].map(url => Number(new URL(url).port))
  expect(existsSync(join(state, 'compute.sock'))).toBe(true)
  const family = new Set(descendantsOf(dev.pid!).map(row => row.pid))
  expect(family.size).toBeGreaterThan(0)

  process.kill(-dev.pid!, 'SIGINT')
  const code = await new Promise(resolve => dev.once('exit', (exit, signal) => resolve(exit ?? signal)))
  expect(code).toBe(0)
  const left = () =>
    listProcesses().filter(row => family.has(row.pid) || `${row.command} ${row.directory}`.includes(state))
  await until('all processes to be gone', () => left().length === 0).catch(() => expect(left()).toEqual([]))
  for (const port of ports) expect(await isListening(port)).toBe(false)
  expect(existsSync(state)).toBe(false)
  // What a shell leaves in a home directory it has just been given: nothing.
  expect(readdirSync(home)).toEqual([])
})
