/**
 * Makes the executable: `bun build.ts` for this machine into dist/openshell-gateway,
 * `--target linux-x64-musl|linux-arm64|darwin-arm64|linux-x64` for another one.
 * An exit code of the compiler proves nothing (platform.md §2), so the produced file must answer `--version` and a
 * Health call before this ends with 0.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Client, credentials } from '@grpc/grpc-js'
import { codec } from './src/wire/codec.ts'

const ROOT = import.meta.dir
const DIST = join(ROOT, 'dist')
export const EXECUTABLE = join(DIST, 'openshell-gateway')

/** Platform name → what the compiler calls it. */
export const TARGETS = {
  'linux-x64': 'bun-linux-x64',
  'linux-x64-musl': 'bun-linux-x64-musl',
  'linux-arm64': 'bun-linux-arm64',
  'darwin-arm64': 'bun-darwin-arm64',
} as const
export type Platform = keyof typeof TARGETS

const START_MS = 20_000

/** `X.Y.Z` of the nearest tag, or `X.Y.(Z+1)-dev.N+g<sha>` behind it; the package's version where there is no git (spec/gateway.md §1). */
export function stampVersion(packageVersion: string): string {
  const described = spawnSync('git', ['describe', '--tags', '--long', '--match', 'v[0-9]*'], {
    cwd: ROOT,
    encoding: 'utf8',
  })
  const match = /^v(\d+)\.(\d+)\.(\d+)-(\d+)-(g[0-9a-f]+)$/.exec(described.stdout?.trim() ?? '')
  if (!match) return packageVersion
  const [, major, minor, patch, commits, sha] = match
  return commits === '0' ? `${major}.${minor}.${patch}` : `${major}.${minor}.${Number(patch) + 1}-dev.${commits}+${sha}`
}

/** Compiles one executable. Throws with the compiler's words when it fails. */
export function compile(outfile: string, version: string, platform?: Platform): void {
  const flags = [
    '--compile',
    '--minify',
    '--bytecode',
    '--format=esm',
    '--sourcemap',
    '--no-compile-autoload-dotenv',
    '--no-compile-autoload-bunfig',
  ]
  const target = platform ? [`--target=${TARGETS[platform]}`] : []
  const define = ['--define', `OPENSHELL_GATEWAY_VERSION=${JSON.stringify(version)}`]
  const args = ['build', ...flags, ...target, ...define, 'src/main.ts', '--outfile', outfile]
  const built = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' })
  if (built.status !== 0 || built.stderr.includes('Failed to generate bytecode'))
    throw new Error(`the compiler failed:\n${built.stdout}${built.stderr}`)
  rmSync(join(ROOT, 'main.js.map'), { force: true })
}

/** Runs the executable as a user would: its version, then a gateway that answers Health. Resolves to milliseconds from start to the answer. */
export async function prove(executable: string, version: string): Promise<number> {
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
  const startedMs = performance.now()
  const child = spawn(
    executable,
    [...flags, '--compute-driver-socket', join(DIST, 'none.sock'), '--log-format', 'json'],
    {
      env: { PATH: process.env['PATH'], OPENSHELL_SSH_HANDSHAKE_SECRET: 'only-for-this-check-of-the-build' },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  try {
    await callHealth(await listeningAddress(child.stdout))
    return performance.now() - startedMs
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

if (import.meta.main) {
  const { version: packageVersion } = (await Bun.file(join(ROOT, 'package.json')).json()) as { version: string }
  const version = stampVersion(packageVersion)
  const wanted = process.argv.indexOf('--target')
  const platform = wanted > 0 ? (process.argv[wanted + 1] as Platform) : undefined
  if (platform !== undefined && !(platform in TARGETS)) {
    console.error(`--target must be one of ${Object.keys(TARGETS).join(', ')}`)
    process.exit(2)
  }
  mkdirSync(DIST, { recursive: true })
  const outfile = platform ? `${EXECUTABLE}-${platform}` : EXECUTABLE
  compile(outfile, version, platform)
  if (platform) console.log(`${outfile} (${version})`)
  else console.log(`${outfile} (${version}), first Health after ${(await prove(outfile, version)).toFixed(0)} ms`)
}
