import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TarEntry } from './tar.ts'

/** Processor names of the platforms that have an image, as Debian and as containers call them: the same words. */
export type Architecture = 'amd64' | 'arm64'

/** A package whose files are in the image. */
export interface BasePackage {
  readonly name: string
  readonly version: string
}

/** What lies under the executable in the image. */
export interface Base {
  readonly entries: readonly TarEntry[]
  readonly packages: readonly BasePackage[]
}

/** The user that the image runs as: `nonroot` of distroless images. */
export const NONROOT = 65532

/** TABLE What distroless *base* holds of Debian, less OpenSSL: the executable brings its own cryptography. */
const PACKAGES = ['base-files', 'ca-certificates', 'libc6', 'netbase', 'tzdata'] as const

/** Files of the packages that a running gateway can use; the rest is for people and compilers. */
const WANTED = [
  /^(usr\/)?lib(64)?\/[^/]*ld-linux[^/]*$/,
  /^(usr\/)?lib\/[^/]+-linux-gnu\/[^/]+\.so(\.\d+)*$/,
  /^etc\/(debian_version|os-release|protocols|services|rpc|ethertypes)$/,
  /^usr\/lib\/os-release$/,
  /^usr\/share\/doc\/[^/]+\/copyright$/,
  /^usr\/share\/zoneinfo\//,
]
const CERTIFICATES = 'usr/share/ca-certificates/mozilla'

function run(command: string, args: readonly string[], cwd?: string): string {
  const done = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 1 << 26 })
  if (done.status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${done.error?.message ?? done.stderr}`)
  return done.stdout
}

/** Options that let apt fetch for another processor without touching this machine's own lists. */
function aptFor(architecture: Architecture, scratch: string): string[] {
  for (const name of ['lists/partial', 'cache/archives/partial']) mkdirSync(join(scratch, name), { recursive: true })
  const options = [
    `APT::Architecture=${architecture}`,
    `APT::Architectures=${architecture}`,
    `Dir::State::lists=${join(scratch, 'lists')}`,
    `Dir::Cache=${join(scratch, 'cache')}`,
    'APT::Sandbox::User=root',
    'Acquire::Languages=none',
    'Acquire::Retries=3',
  ]
  return options.flatMap(option => ['-o', option])
}

/** Downloads the packages by apt, which checks their signatures, and unpacks them into `<scratch>/root`. */
function fetchPackages(architecture: Architecture, scratch: string): BasePackage[] {
  const apt = aptFor(architecture, scratch)
  run('apt-get', [...apt, '--quiet', 'update'])
  const debs = join(scratch, 'debs')
  mkdirSync(debs)
  run('apt-get', [...apt, '--quiet', 'download', ...PACKAGES], debs)
  return readdirSync(debs)
    .sort()
    .map(file => {
      const path = join(debs, file)
      run('dpkg-deb', ['--extract', path, join(scratch, 'root')])
      const field = (name: string) => run('dpkg-deb', ['--field', path, name]).trim()
      return { name: field('Package'), version: field('Version') }
    })
}

/** Every wanted file below `root`; directories are added by `withDirectories`. */
function collect(root: string, path = ''): TarEntry[] {
  return readdirSync(join(root, path), { withFileTypes: true }).flatMap((found): TarEntry[] => {
    const inside = path === '' ? found.name : `${path}/${found.name}`
    if (found.isDirectory()) return collect(root, inside)
    if (!WANTED.some(pattern => pattern.test(inside))) return []
    if (found.isSymbolicLink())
      return [{ path: inside, kind: 'link', mode: 0o777, target: readlinkSync(join(root, inside)) }]
    const mode = /\/ld-linux|\/libc\.so/.test(inside) ? 0o755 : 0o644
    return [{ path: inside, kind: 'file', mode, content: readFileSync(join(root, inside)) }]
  })
}

const text = (path: string, content: string): TarEntry => ({
  path,
  kind: 'file',
  mode: 0o644,
  content: Buffer.from(content),
})

/** The roots that Debian trusts, in the one file that programs look for. */
function certificates(root: string): TarEntry {
  const folder = join(root, CERTIFICATES)
  const files = readdirSync(folder).filter(name => name.endsWith('.crt'))
  return text(
    'etc/ssl/certs/ca-certificates.crt',
    files
      .sort()
      .map(name => readFileSync(join(folder, name), 'utf8'))
      .join(''),
  )
}

const USERS = [
  ['root', 0, '/root'],
  ['nobody', 65534, '/nonexistent'],
  ['nonroot', NONROOT, '/home/nonroot'],
] as const

/** Users, name service and the directories that are there from the start. */
const FIXED: readonly TarEntry[] = [
  text('etc/passwd', USERS.map(([name, id, home]) => `${name}:x:${id}:${id}:${name}:${home}:/sbin/nologin\n`).join('')),
  text('etc/group', USERS.map(([name, id]) => `${name}:x:${id}:\n`).join('')),
  text(
    'etc/nsswitch.conf',
    'passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n',
  ),
  { path: 'home/nonroot', kind: 'directory', mode: 0o700, owner: NONROOT },
  { path: 'tmp', kind: 'directory', mode: 0o1777 },
  ...['dev', 'proc', 'run', 'sys'].map((path): TarEntry => ({ path, kind: 'directory', mode: 0o755 })),
]

/** Adds the directories that the paths need, owned by root. */
export function withDirectories(entries: readonly TarEntry[]): TarEntry[] {
  const known = new Map(entries.map(entry => [entry.path, entry]))
  for (const { path } of entries)
    for (let cut = path.lastIndexOf('/'); cut > 0; cut = path.lastIndexOf('/', cut - 1)) {
      const parent = path.slice(0, cut)
      if (!known.has(parent)) known.set(parent, { path: parent, kind: 'directory', mode: 0o755 })
    }
  return [...known.values()]
}

/** The files that the executable needs around it, from Debian's packages. Needs apt-get and dpkg-deb, no container engine. */
export function readBase(architecture: Architecture): Base {
  const scratch = mkdtempSync(join(tmpdir(), 'image-base-'))
  try {
    const packages = fetchPackages(architecture, scratch)
    const root = join(scratch, 'root')
    return { packages, entries: withDirectories([...collect(root), certificates(root), ...FIXED]) }
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}
