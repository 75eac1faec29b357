import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { packageChart } from './chart.ts'
import { compile, type Platform, prove, TARGETS } from './executable.ts'
import { compiledIn, licenceTexts } from './licences.ts'
import { LOG_FORMAT, parseLog, releaseNotes } from './notes.ts'
import { billOfMaterials } from './sbom.ts'
import { git, ROOT, type Source } from './source.ts'
import { writeTar } from './tar.ts'

/** Name of the file that holds the executable of a platform (spec/deploy.md §11). */
const archiveName = (platform: Platform): string => `openshell-gateway-${TARGETS[platform].triple}.tar.gz`

const CHECKSUMS = 'openshell-gateway-checksums-sha256.txt'
const ownPlatform = `${process.platform}-${process.arch}`

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Lines of `sha256sum`. */
export const checksumLines = (files: ReadonlyMap<string, Uint8Array>): string =>
  [...files].map(([name, bytes]) => `${sha256(bytes)}  ${name}\n`).join('')

/** The installer with version, place of download and sums written into it. */
export function stampInstaller(template: string, version: string, url: string, sums: string): string {
  if (/['\\\n]/.test(version + url))
    throw new Error('version and URL must not contain quotes, backslashes or line breaks')
  return template
    .replace('@VERSION@', () => version)
    .replace('@URL@', () => url.replace(/\/+$/, ''))
    .replace('@SUMS@', () => sums.trimEnd())
}

/** Compiles one platform; runs it when this machine can. Resolves to the compressed archive with one file in it. */
async function buildArchive(platform: Platform, source: Source, scratch: string): Promise<Uint8Array> {
  const executable = join(scratch, `openshell-gateway-${platform}`)
  compile(executable, source.version, platform)
  if (platform === ownPlatform) await prove(executable, source.version)
  const content = readFileSync(executable)
  return gzipSync(writeTar([{ path: 'openshell-gateway', kind: 'file', mode: 0o755, content }], source.timeSecs))
}

/** The commits since the last tag before this one, or all of them. */
function notesOf(version: string): string {
  const tag = git('describe', '--tags', '--abbrev=0', '--match', 'v[0-9]*', 'HEAD^')
  const log = git('log', `--format=${LOG_FORMAT}`, ...(tag === null ? [] : [`${tag}..HEAD`]))
  return releaseNotes(version, parseLog(log ?? ''))
}

/** What goes along with the executables: bill of materials, licences, manual page, chart, notes. */
async function companions(source: Source): Promise<[string, Uint8Array][]> {
  const bill = billOfMaterials(source, Bun.version, compiledIn())
  const { renderManPage } = await import('../../src/cli/man.ts')
  const texts: readonly (readonly [string, string])[] = [
    [`openshell-gateway-${source.version}.cdx.json`, `${JSON.stringify(bill, null, 2)}\n`],
    ...Object.entries(licenceTexts()),
    ['openshell-gateway.8', renderManPage(source.version)],
    ['RELEASE-NOTES.md', notesOf(source.version)],
  ]
  return [
    ...texts.map(([name, text]): [string, Uint8Array] => [name, Buffer.from(text)]),
    packageChart(join(ROOT, 'deploy/helm/openshell'), source),
  ]
}

/**
 * Writes every file of a release into an emptied `folder`: the executables of all platforms, their bill of materials,
 * notices, manual page, chart, notes, checksums of them all, and an installer that knows those sums. `url` is where the
 * files will be; null = the installer takes them from its own directory. Resolves to the paths.
 */
export async function writeRelease(source: Source, folder: string, url: string | null): Promise<string[]> {
  rmSync(folder, { recursive: true, force: true })
  const scratch = join(folder, '.scratch')
  mkdirSync(scratch, { recursive: true })
  const files = new Map<string, Uint8Array>()
  for (const platform of Object.keys(TARGETS) as Platform[])
    files.set(archiveName(platform), await buildArchive(platform, source, scratch))
  for (const [name, bytes] of await companions(source)) files.set(name, bytes)
  rmSync(scratch, { recursive: true })

  const sums = checksumLines(files)
  const installer = stampInstaller(
    readFileSync(join(ROOT, 'deploy/install.sh'), 'utf8'),
    source.version,
    url ?? '',
    sums,
  )
  for (const [name, bytes] of files) writeFileSync(join(folder, name), bytes)
  writeFileSync(join(folder, CHECKSUMS), sums)
  writeFileSync(join(folder, 'install.sh'), installer)
  chmodSync(join(folder, 'install.sh'), 0o755)
  return [...files.keys(), CHECKSUMS, 'install.sh'].map(name => join(folder, name))
}
