import { spawn, spawnSync } from 'node:child_process'
import { closeSync, openSync, readSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { Client, credentials } from '@grpc/grpc-js'
import { codec } from '../../src/wire/codec.ts'
import { BYTECODE_ORDER } from './bytecode-order.ts'
import { ROOT } from './source.ts'

/** TABLE Platform name → what the compiler calls it, the name of its release file, and how its executables begin. */
export const TARGETS = {
  'linux-x64': { compiler: 'bun-linux-x64', triple: 'x86_64-unknown-linux-gnu', begins: elf(0x3e) },
  'linux-x64-musl': { compiler: 'bun-linux-x64-musl', triple: 'x86_64-unknown-linux-musl', begins: elf(0x3e) },
  'linux-arm64': { compiler: 'bun-linux-arm64', triple: 'aarch64-unknown-linux-gnu', begins: elf(0xb7) },
  'darwin-arm64': { compiler: 'bun-darwin-arm64', triple: 'aarch64-apple-darwin', begins: /^cffaedfe0c000001/ },
} as const
export type Platform = keyof typeof TARGETS

/** Hex of a 64-bit little-endian ELF header for one machine. */
function elf(machine: number): RegExp {
  return new RegExp(`^7f454c460201.{20}0[23]00${machine.toString(16)}00`)
}

const START_MS = 20_000

/** Compiles one executable. Throws with the compiler's words when it fails. */
export function compile(outfile: string, version: string, platform?: Platform): void {
  const flags = [
    '--compile',
    '--minify',
    '--bytecode',
    `--bytecode-order=${BYTECODE_ORDER}`,
    '--format=esm',
    '--sourcemap',
    '--no-compile-autoload-dotenv',
    '--no-compile-autoload-bunfig',
    // Native add-ons would be written to a guessable name in the temporary directory and loaded from there (P-12).
    '--external',
    '*.node',
  ]
  const target = platform ? [`--target=${TARGETS[platform].compiler}`] : []
  const define = ['--define', `OPENSHELL_GATEWAY_VERSION=${JSON.stringify(version)}`]
  const args = ['build', ...flags, ...target, ...define, 'src/main.ts', '--outfile', outfile]
  const built = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' })
  if (built.status !== 0 || built.stderr.includes('Failed to generate bytecode'))
    throw new Error(`the compiler failed:\n${built.stdout}${built.stderr}`)
  rmSync(join(ROOT, 'main.js.map'), { force: true })
  if (platform) requirePlatform(outfile, platform)
}

/** An executable for another machine cannot be run here, but it says in its first bytes what it is for. */
function requirePlatform(file: string, platform: Platform): void {
  const head = Buffer.alloc(20)
  const descriptor = openSync(file, 'r')
  try {
    readSync(descriptor, head, 0, head.length, 0)
  } finally {
    closeSync(descriptor)
  }
  if (!TARGETS[platform].begins.test(head.toString('hex')))
    throw new Error(`${basename(file)} is no executable for ${platform}`)
}

/** Runs the executable as a user would: its version, then a gateway that answers Health. Throws when it does not. */
export async function prove(executable: string, version: string): Promise<void> {
  const said = spawnSync(executable, ['--version'], { encoding: 'utf8', timeout: START_MS })
  if (said.stdout !== `openshell-gateway ${version}\n`)
    throw new Error(`--version said ${JSON.stringify(said.stdout + said.stderr)}`)
  const flags = [
    '--port',
    '0',
    '--bind-address',
    '127.0.0.1',
    '--disable-tls',
    '--db-url',
    'sqlite::memory:',
    '--drivers',
    'external',
  ]
  const child = spawn(
    executable,
    [...flags, '--compute-driver-socket', '/nonexistent/driver.sock', '--log-format', 'json'],
    {
      env: { PATH: process.env['PATH'], OPENSHELL_SSH_HANDSHAKE_SECRET: 'only-for-this-check-of-the-build' },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  try {
    await callHealth(await listeningAddress(child.stdout))
  } finally {
    child.kill('SIGKILL')
  }
}

async function listeningAddress(stdout: NodeJS.ReadableStream): Promise<string> {
  const late = setTimeout(() => stdout.emit('end'), START_MS)
  try {
    for await (const line of createInterface({ input: stdout })) {
      const entry = JSON.parse(line) as { message: string; address?: string }
      if (entry.message === 'Server listening' && entry.address) return entry.address
    }
  } finally {
    clearTimeout(late)
  }
  throw new Error('the executable never listened')
}

function callHealth(address: string): Promise<void> {
  const response = codec('openshell.v1.HealthResponse')
  const client = new Client(address, credentials.createInsecure())
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      '/openshell.v1.OpenShell/Health',
      () => Buffer.alloc(0),
      bytes => response.decode(bytes),
      null,
      { deadline: Date.now() + START_MS },
      error => {
        client.close()
        if (error) reject(error)
        else resolve()
      },
    )
  })
}
