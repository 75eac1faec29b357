import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { spawnSync } from 'node:child_process'
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials } from '@grpc/grpc-js'
import { readBase } from '../../deploy/build/base-files.ts'
import { licenceTexts } from '../../deploy/build/licences.ts'
import { imageLayout } from '../../deploy/build/oci.ts'
import { callUnary, EXECUTABLE, until } from '../kit/gateway.ts'

setDefaultTimeout(120_000)

const MEMORY_BYTES = 128 * 1024 * 1024
const IMAGE_BYTES = 150_000_000
const NONROOT = 65532

const missing = ['apt-get', 'dpkg-deb', 'unshare', 'chroot'].filter(tool => Bun.which(tool) === null)
const isAble = missing.length === 0 && process.getuid?.() === 0
if (!isAble) console.log(`skipped: the container image, because ${missing.join(', ') || 'root'} is missing`)

interface ImageConfig {
  readonly config: {
    readonly User: string
    readonly Entrypoint: string[]
    readonly Cmd: string[]
    readonly Env: string[]
  }
}

/** A memory cgroup of 128 MiB for the processes that join it; null where none can be made. */
function makeMemoryGroup(): { readonly join: string; readonly peakBytes: () => number; remove(): boolean } | null {
  const name = `openshell-test-${process.pid}`
  const [old, unified] = [`/sys/fs/cgroup/memory/${name}`, `/sys/fs/cgroup/${name}`]
  const isOld = existsSync('/sys/fs/cgroup/memory/memory.limit_in_bytes')
  const group = isOld ? old : unified
  try {
    mkdirSync(group)
    writeFileSync(join(group, isOld ? 'memory.limit_in_bytes' : 'memory.max'), String(MEMORY_BYTES))
  } catch {
    return null
  }
  return {
    join: join(group, 'cgroup.procs'),
    peakBytes: () => Number(readFileSync(join(group, isOld ? 'memory.max_usage_in_bytes' : 'memory.peak'), 'utf8')),
    remove: () => spawnSync('rmdir', [group]).status === 0,
  }
}

describe.skipIf(!isAble)('the container image', () => {
  let scratch: string
  let layout: Map<string, Uint8Array>
  let image: ImageConfig
  const blob = (digest: string) => layout.get(`blobs/${digest.replace(':', '/')}`)!
  const json = (bytes: Uint8Array) => JSON.parse(Buffer.from(bytes).toString('utf8'))
  const parts = () => {
    const architecture = process.arch === 'arm64' ? ('arm64' as const) : ('amd64' as const)
    const base = readBase(architecture)
    return {
      executable: EXECUTABLE,
      architecture,
      base,
      version: '1.2.3',
      revision: null,
      timeSecs: 1_700_000_000,
      texts: licenceTexts(),
    }
  }

  beforeAll(() => {
    scratch = mkdtempSync(join(tmpdir(), 'image-test-'))
    layout = imageLayout(parts())
    const manifest = json(blob(json(layout.get('index.json')!).manifests[0].digest))
    image = json(blob(manifest.config.digest))
    mkdirSync(join(scratch, 'root'))
    for (const layer of manifest.layers)
      spawnSync('tar', ['--extract', '--gzip', '--same-permissions', '-C', join(scratch, 'root')], {
        input: blob(layer.digest),
      })
  })
  afterAll(() => rmSync(scratch, { recursive: true, force: true }))

  test('runs as a numbered user without a shell, with the entry point of the reference, and is small enough', () => {
    expect(image.config.User).toBe('65532:65532')
    expect([...image.config.Entrypoint, ...image.config.Cmd]).toEqual([
      '/usr/local/bin/openshell-gateway',
      '--port',
      '8080',
    ])
    expect(['bin/sh', 'usr/bin/sh', 'bin/bash'].some(shell => existsSync(join(scratch, 'root', shell)))).toBe(false)
    const bytes = [...layout.values()].reduce((total, { length }) => total + length, 0)
    expect(bytes).toBeLessThan(IMAGE_BYTES)
    expect(
      Number(spawnSync('du', ['-sb', join(scratch, 'root')], { encoding: 'utf8' }).stdout.split('\t')[0]),
    ).toBeLessThan(IMAGE_BYTES)
  })

  test('holds our licence, and those of what is compiled in', () => {
    const folder = join(scratch, 'root/usr/share/doc/openshell-gateway')
    expect(readFileSync(join(folder, 'LICENSE'), 'utf8')).toContain('Apache License')
    expect(readFileSync(join(folder, 'THIRD-PARTY-NOTICES.txt'), 'utf8')).toContain('\n@grpc/grpc-js 1.')
  })

  test('serves as nobody special, on a root file system that cannot be written, in 128 MiB (P-07)', async () => {
    const [root, state] = [join(scratch, 'root'), join(scratch, 'state')]
    mkdirSync(state)
    chownSync(state, NONROOT, NONROOT)
    const memory = makeMemoryGroup()
    if (memory === null) console.log('not limited: the memory of the container, because no memory cgroup can be made')
    const script = [
      'set -eu',
      memory ? `echo $$ > ${memory.join}` : ':',
      `mount --bind ${root} ${root}`,
      `mount -t proc proc ${root}/proc`,
      `mount --bind ${state} ${root}/var/openshell`,
      `mount -o remount,bind,ro ${root}`,
      `exec setpriv --no-new-privs chroot --userspec=${NONROOT}:${NONROOT} ${root} "$@"`,
    ].join('\n')
    const [entry, ...rest] = [...image.config.Entrypoint, ...image.config.Cmd]
    const flags = [
      '--bind-address',
      '127.0.0.1',
      '--disable-tls',
      '--log-format',
      'json',
      '--compute-driver-socket',
      '/run/c.sock',
    ]
    const args = rest.map(word => (word === '8080' ? '0' : word))
    const run = (...words: string[]) =>
      Bun.spawn(['unshare', '--mount', 'sh', '-c', script, 'sh', ...words], {
        env: {
          ...Object.fromEntries(image.config.Env.map(line => line.split('=') as [string, string])),
          OPENSHELL_SSH_HANDSHAKE_SECRET: 'a-secret-for-this-test-alone',
        },
        stdout: 'pipe',
        stderr: 'inherit',
      })
    const gateway = run(entry!, ...args, ...flags, '--db-url', 'sqlite:/var/openshell/openshell.db')
    try {
      const address = await listeningAddress(gateway.stdout)
      const client = new Client(address, credentials.createInsecure())
      const provider = { type: 'generic', metadata: { name: 'p' }, credentials: { KEY: 'value' } }
      expect((await callUnary(client, 'CreateProvider', { provider })).code).toBe('OK')
      await Promise.all(Array.from({ length: 500 }, () => callUnary(client, 'ListProviders', {})))
      client.close()
      const health = run(entry!, 'health', '--endpoint', `http://${address}`)
      expect(await health.exited).toBe(0)
    } finally {
      gateway.kill('SIGTERM')
    }
    expect(await gateway.exited).toBe(0)
    expect(readdirSync(state)).toContain('openshell.db')
    expect((statSync(join(state, 'openshell.db')).mode & 0o777).toString(8)).toBe('600')
    if (memory) expect(memory.peakBytes()).toBeLessThanOrEqual(MEMORY_BYTES)
    if (memory) await until('the memory group to be empty', () => memory.remove())
  })
})

async function listeningAddress(output: ReadableStream<Uint8Array>): Promise<string> {
  let text = ''
  for await (const chunk of output as unknown as AsyncIterable<Uint8Array>) {
    text += Buffer.from(chunk).toString('utf8')
    const address = /"Server listening".*?"address":"([^"]+)"/.exec(text)?.[1]
    if (address) return address
  }
  throw new Error(`the gateway never listened: ${text}`)
}
