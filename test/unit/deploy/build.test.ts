import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import type { Base } from '../../../deploy/build/base-files.ts'
import { parseLog, releaseNotes } from '../../../deploy/build/notes.ts'
import { imageLayout } from '../../../deploy/build/oci.ts'
import { checksumLines, stampInstaller } from '../../../deploy/build/release.ts'
import { billOfMaterials, ingredients, type LockFile, notices, parseLock } from '../../../deploy/build/sbom.ts'
import { type TarEntry, writeTar } from '../../../deploy/build/tar.ts'

const ROOT = join(import.meta.dir, '../../..')
const SOURCE = { version: '1.2.3', revision: 'a1b2', timeSecs: 1_700_000_000 }
let scratch: string
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'build-test-'))
})
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const file = (path: string, text: string, mode = 0o644): TarEntry => ({
  path,
  kind: 'file',
  mode,
  content: Buffer.from(text),
})

describe('archives', () => {
  const long = `${'d'.repeat(90)}/${'f'.repeat(90)}`
  const entries: TarEntry[] = [
    file('b', 'x'.repeat(513), 0o755),
    { path: 'a', kind: 'directory', mode: 0o700, owner: 65532 },
    { path: 'c', kind: 'link', mode: 0o777, target: 'b' },
    file(long, 'deep'),
  ]

  test('tar lists what was put in: modes, owners, links, sizes, one time, sorted', () => {
    const listed = Bun.spawnSync(['tar', '--list', '--verbose', '--numeric-owner', '--utc', '--file', '-'], {
      stdin: writeTar(entries, 1_700_000_000),
    })
    expect(
      listed.stdout
        .toString()
        .trim()
        .split('\n')
        .map(line => line.replace(/ +/g, ' ')),
    ).toEqual([
      'drwx------ 65532/65532 0 2023-11-14 22:13 a/',
      '-rwxr-xr-x 0/0 513 2023-11-14 22:13 b',
      'lrwxrwxrwx 0/0 0 2023-11-14 22:13 c -> b',
      `-rw-r--r-- 0/0 4 2023-11-14 22:13 ${long}`,
    ])
  })

  test('the order of the entries changes nothing; a path that does not fit is refused', () => {
    expect(writeTar(entries.toReversed(), 5)).toEqual(writeTar(entries, 5))
    expect(() => writeTar([file('f'.repeat(101), '')], 0)).toThrow('does not fit')
  })
})

describe('the image', () => {
  const base: Base = { entries: [file('lib/libc.so.6', 'libc')], packages: [{ name: 'libc6', version: '2.36' }] }
  const layout = () => {
    const executable = join(scratch, 'executable')
    writeFileSync(executable, 'not really')
    return imageLayout({ ...SOURCE, executable, architecture: 'amd64', base, texts: { LICENSE: 'text' } })
  }

  test('equal parts give equal bytes, and every digest is that of its blob', () => {
    const [one, two] = [layout(), layout()]
    expect([...one]).toEqual([...two])
    for (const [path, bytes] of one)
      if (path.startsWith('blobs/')) expect(path).toBe(`blobs/sha256/${Bun.SHA256.hash(bytes, 'hex')}`)
  })

  test('says what it is, what it was made from and how it is asked for its health', () => {
    const files = layout()
    const json = (path: string) => JSON.parse(Buffer.from(files.get(path)!).toString())
    const blob = (digest: string) => json(`blobs/${digest.replace(':', '/')}`)
    const [entry] = json('index.json').manifests
    expect(entry.platform).toEqual({ architecture: 'amd64', os: 'linux' })
    const { config } = blob(blob(entry.digest).config.digest)
    expect(config.Labels['org.opencontainers.image.revision']).toBe('a1b2')
    expect(config.Labels['io.openshell.base-packages']).toBe('libc6=2.36')
    expect(config.Healthcheck.Test).toEqual(['CMD', '/usr/local/bin/openshell-gateway', 'health'])
  })
})

test('what the image recipe copies is what the build context holds', () => {
  const recipe = readFileSync(join(ROOT, 'deploy/container/Containerfile'), 'utf8')
  const copied = [...recipe.matchAll(/^COPY (.+)$/gm)].flatMap(([, words]) =>
    words!
      .split(' ')
      .filter(word => !word.startsWith('--'))
      .slice(0, -1),
  )
  const allowed = readFileSync(join(ROOT, '.dockerignore'), 'utf8').matchAll(/^!(.+)$/gm)
  expect(copied.map(path => path.replace(/\/$/, '')).sort()).toEqual([...allowed].map(match => match[1]!).sort())
})

describe('the bill of materials', () => {
  const lock: LockFile = {
    workspaces: { '': { dependencies: { a: '1' } } },
    packages: {
      a: ['a@1.0.0', '', { dependencies: { b: '^1' } }, `sha512-${Buffer.from('digest').toString('base64')}`],
      b: ['b@2.0.0', '', {}, ''],
      'a/b': ['b@1.0.0', '', { dependencies: { c: '*' } }, ''],
      c: ['@s/c@3.0.0', '', { dependencies: { a: '*' } }, ''],
      tool: ['tool@1.0.0', '', {}, ''],
    },
  }

  test('holds what production code reaches, at the version it sees, and nothing else', () => {
    expect(ingredients(lock).map(({ place, name, version, needs }) => [place, name, version, needs])).toEqual([
      ['a', 'a', '1.0.0', ['a/b']],
      ['a/b', 'b', '1.0.0', ['c']],
      ['c', '@s/c', '3.0.0', ['a']],
    ])
  })

  test('names each package by its address, digest and licence, and who needs it', () => {
    const found = ingredients(lock).map(item => ({ ...item, licence: { id: 'MIT', text: 'words' } }))
    const bill = billOfMaterials(SOURCE, '9.9.9', found)
    expect(bill.components.map(component => component.purl)).toEqual([
      'pkg:npm/bun@9.9.9',
      'pkg:npm/a@1.0.0',
      'pkg:npm/b@1.0.0',
      'pkg:npm/%40s/c@3.0.0',
    ])
    expect(bill.components[1]).toMatchObject({
      hashes: [{ alg: 'SHA-512', content: Buffer.from('digest').toString('hex') }],
      licenses: [{ license: { id: 'MIT' } }],
    })
    const references = new Set([
      bill.metadata.component['bom-ref'],
      ...bill.components.map(component => component['bom-ref']),
    ])
    for (const { ref, dependsOn } of bill.dependencies)
      for (const name of [ref, ...dependsOn]) expect(references).toContain(name)
    expect(notices(found)).toContain('@s/c 3.0.0 (MIT)\n\nwords')
  })

  test("of this lock file has the gateway's libraries and none of its tools", () => {
    const names = new Set(ingredients(parseLock(readFileSync(join(ROOT, 'bun.lock'), 'utf8'))).map(item => item.name))
    expect(names).toContain('@grpc/grpc-js')
    expect(names).toContain('protobufjs')
    for (const tool of ['typescript', '@biomejs/biome', 'knip', 'fast-check']) expect(names).not.toContain(tool)
  })
})

describe('P-13: what is installed', () => {
  const lock = parseLock(readFileSync(join(ROOT, 'bun.lock'), 'utf8'))
  const wanted = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))

  test('is named by exact versions, and the lock file agrees', () => {
    const pins = Object.entries({ ...wanted.dependencies, ...wanted.devDependencies })
    for (const [name, version] of pins)
      expect([name, version]).toEqual([name, expect.stringMatching(/^\d+\.\d+\.\d+$/)])
    expect(lock.workspaces['']?.dependencies).toEqual(wanted.dependencies)
  })

  test('comes from the registry, each package with the digest that it must have', () => {
    for (const [place, [resolved, registry, , digest]] of Object.entries(lock.packages)) {
      expect([place, resolved]).toEqual([place, expect.stringMatching(/^(@[\w.-]+\/)?[\w.-]+@\d+\.\d+\.\d+[\w.+-]*$/)])
      expect([place, registry, digest]).toEqual([place, '', expect.stringMatching(/^sha512-[\w+/]{86}==$/)])
    }
  })

  test('runs no script of its own, and nothing is installed but by the lock file', () => {
    // An empty list, not an absent one: the package manager has a list of packages that it trusts.
    expect(wanted.trustedDependencies).toEqual([])
    const texts = [...Object.values<string>(wanted.scripts), readFileSync(join(ROOT, '.ci/run'), 'utf8')]
    const installs = texts.flatMap(text => [...text.matchAll(/bun install[^&|;\n]*/g)].map(match => match[0]))
    expect(installs.length).toBeGreaterThan(0)
    for (const install of installs) expect(install).toContain('--frozen-lockfile')
  })
})

test('release notes group commits by what they mean to an operator, breaking ones first', () => {
  const log = [
    'feat(auth): tokens\x1f\x1e\n',
    'fix: a leak\x1fwhy\x1e\n',
    'test: more\x1f\x1e\n',
    'perf(store)!: faster\x1f\x1e\n',
    'feat: new\x1fBREAKING CHANGE: set the flag\n\x1e\n',
    'not conventional\x1f\x1e\n',
  ].join('')
  expect(releaseNotes('2.0.0', parseLog(log))).toBe(
    [
      '# openshell-gateway 2.0.0',
      '',
      '## Needs attention',
      '',
      '- **store**: faster',
      '- set the flag',
      '',
      '## Added',
      '',
      '- **auth**: tokens',
      '- new',
      '',
      '## Fixed',
      '',
      '- a leak',
      '',
      '## Faster',
      '',
      '- **store**: faster',
      '',
    ].join('\n'),
  )
})

describe('install.sh', () => {
  const NAMES = [
    'x86_64-unknown-linux-gnu',
    'x86_64-unknown-linux-musl',
    'aarch64-unknown-linux-gnu',
    'aarch64-apple-darwin',
  ].map(triple => `openshell-gateway-${triple}.tar.gz`)
  const archive = gzipSync(writeTar([file('openshell-gateway', '#!/bin/sh\necho it runs\n', 0o755)], 0))
  const template = readFileSync(join(ROOT, 'deploy/install.sh'), 'utf8')

  /** A folder as a release leaves it; `bytes` is what really lies there. */
  function release(name: string, bytes: Uint8Array): string {
    const folder = join(scratch, name)
    mkdirSync(folder)
    const sums = checksumLines(new Map(NAMES.map(each => [each, archive])))
    writeFileSync(join(folder, 'install.sh'), stampInstaller(template, '1.2.3', 'https://download.test/x/', sums))
    chmodSync(join(folder, 'install.sh'), 0o755)
    for (const each of NAMES) writeFileSync(join(folder, each), bytes)
    return folder
  }
  const run = (script: string, env: Record<string, string> = {}) => {
    const home = mkdtempSync(join(scratch, 'home-'))
    const done = Bun.spawnSync(['sh', script], {
      env: { PATH: process.env['PATH']!, HOME: home, ...env },
      stderr: 'pipe',
    })
    return {
      code: done.exitCode,
      said: done.stdout.toString() + done.stderr.toString(),
      installed: join(home, '.local/bin/openshell-gateway'),
    }
  }

  test('installs the executable whose sum is the one it knows', () => {
    const { code, said, installed } = run(join(release('good', archive), 'install.sh'))
    expect(said).toContain('installed openshell-gateway 1.2.3')
    expect(code).toBe(0)
    expect(Bun.spawnSync([installed]).stdout.toString()).toBe('it runs\n')
  })

  test('downloads from the named place when the files are elsewhere', () => {
    const folder = release('remote', archive)
    const script = join(scratch, 'alone.sh')
    writeFileSync(script, readFileSync(join(folder, 'install.sh')))
    expect(run(script, { OPENSHELL_DOWNLOAD_URL: `file://${folder}` }).code).toBe(0)
  })

  test('installs nothing of a file that was changed', async () => {
    const { code, said, installed } = run(join(release('bad', gzipSync('something else')), 'install.sh'))
    expect(code).toBe(1)
    expect(said).toContain('is not the file of this release')
    expect(await Bun.file(installed).exists()).toBe(false)
  })

  test('cannot be stamped with text that would leave its quotes', () => {
    expect(() => stampInstaller(template, "1'; rm -rf /", '', '')).toThrow('quotes')
  })
})
