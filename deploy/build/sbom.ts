import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Source } from './source.ts'

/** A row of `packages` in bun.lock: name@version, registry, what it needs, digest. */
type LockRow = readonly [
  id: string,
  registry: string,
  needs: { readonly dependencies?: Record<string, string>; readonly optionalDependencies?: Record<string, string> },
  integrity: string,
]

/** What is read of bun.lock. */
export interface LockFile {
  readonly workspaces: Readonly<Record<string, { readonly dependencies?: Record<string, string> }>>
  readonly packages: Readonly<Record<string, LockRow>>
}

/** A package that is compiled into the executable. */
export interface Ingredient {
  /** Its place in the lock file: `a/b` is the `b` that only `a` sees. */
  readonly place: string
  readonly name: string
  readonly version: string
  /** Lower-case hex; null when the lock file has another digest. */
  readonly sha512: string | null
  /** Places of what it needs. */
  readonly needs: readonly string[]
  /** Named by our own manifest. */
  readonly isDirect: boolean
}

/** Bun's lock file is JSON with trailing commas. */
export const parseLock = (text: string): LockFile => Bun.JSONC.parse(text) as LockFile

/** The place of `name` as seen from `from`: nearest first, as module resolution does. */
function resolvePlace(lock: LockFile, from: string, name: string): string | null {
  for (let at = from; at !== ''; at = at.includes('/') ? at.slice(0, at.lastIndexOf('/')) : '') {
    const place = `${at}/${name}`
    if (lock.packages[place]) return place
  }
  return lock.packages[name] ? name : null
}

const directDependencies = (lock: LockFile): Readonly<Record<string, string>> => lock.workspaces['']?.dependencies ?? {}

function ingredientAt(lock: LockFile, place: string): Ingredient {
  const [id, , needs, integrity] = lock.packages[place]!
  const cut = id.lastIndexOf('@')
  const digest = /^sha512-(.+)$/.exec(integrity)?.[1]
  const places = Object.keys({ ...needs.dependencies, ...needs.optionalDependencies }).map(name =>
    resolvePlace(lock, place, name),
  )
  return {
    place,
    name: id.slice(0, cut),
    version: id.slice(cut + 1),
    sha512: digest ? Buffer.from(digest, 'base64').toString('hex') : null,
    needs: places.filter(found => found !== null).sort(),
    isDirect: place in directDependencies(lock),
  }
}

/** Everything that production dependencies reach, sorted by place. Pure. */
export function ingredients(lock: LockFile): readonly Ingredient[] {
  const found = new Map<string, Ingredient>()
  const wanted = Object.keys(directDependencies(lock))
  while (wanted.length > 0) {
    const place = wanted.pop()!
    if (found.has(place) || !lock.packages[place]) continue
    const ingredient = ingredientAt(lock, place)
    found.set(place, ingredient)
    wanted.push(...ingredient.needs)
  }
  return [...found.values()].sort((a, b) => (a.place < b.place ? -1 : 1))
}

/** Licence of a package: what it says in its own manifest, and the text that comes with it. */
export interface Licence {
  readonly id: string | null
  readonly text: string | null
}

interface Manifest {
  readonly license?: unknown
  readonly licenses?: readonly { readonly type?: unknown }[]
}

const LICENCE_FILE = /^(licen[cs]e|copying)([.-].*)?$/i

/** Reads the licence of an installed package; `place` `a/b` lies in a's own node_modules. */
export function readLicence(modules: string, { place, name }: Ingredient): Licence {
  const outer = place === name ? '' : place.slice(0, -name.length - 1)
  const folder = [...(outer ? [join(modules, outer, 'node_modules', name)] : []), join(modules, name)].find(path =>
    existsSync(join(path, 'package.json')),
  )
  if (!folder) return { id: null, text: null }
  const { license, licenses } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest
  // The plural is how older packages say it.
  const id = license ?? licenses?.[0]?.type
  const file = readdirSync(folder).find(entry => LICENCE_FILE.test(entry))
  return {
    id: typeof id === 'string' ? id : null,
    text: file ? readFileSync(join(folder, file), 'utf8').trim() : null,
  }
}

/** A package's address for scanners (package URL). */
const purl = ({ name, version }: Pick<Ingredient, 'name' | 'version'>): string =>
  `pkg:npm/${name.replace('@', '%40')}@${version}`

const SPDX_ID = /^[A-Za-z0-9.+-]+$/

const licensesOf = (id: string | null) =>
  id === null ? {} : { licenses: [SPDX_ID.test(id) ? { license: { id } } : { expression: id }] }

/** A random-looking number that the content determines, so that two builds are equal. */
function serialNumber(content: string): string {
  const hex = createHash('sha256').update(content).digest('hex')
  return `urn:uuid:${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

/** The bill of materials in CycloneDX 1.6: every package inside the executable, and the runtime around them. */
export function billOfMaterials(
  source: Source,
  runtimeVersion: string,
  found: readonly (Ingredient & { readonly licence: Licence })[],
) {
  const self = { ref: `openshell-gateway@${source.version}`, bun: `bun@${runtimeVersion}` }
  const references = new Map(found.map(item => [item.place, `${purl(item)}#${item.place}`]))
  const components = found.map(item => ({
    type: 'library',
    'bom-ref': references.get(item.place)!,
    name: item.name,
    version: item.version,
    purl: purl(item),
    ...(item.sha512 === null ? {} : { hashes: [{ alg: 'SHA-512', content: item.sha512 }] }),
    ...licensesOf(item.licence.id),
  }))
  const refs = (places: readonly string[]) => places.map(place => references.get(place)!)
  const dependencies = [
    {
      ref: self.ref,
      dependsOn: [self.bun, ...refs(found.filter(item => item.isDirect).map(item => item.place))],
    },
    { ref: self.bun, dependsOn: [] as string[] },
    ...found.map(item => ({ ref: references.get(item.place)!, dependsOn: refs(item.needs) })),
  ]
  const runtime = {
    type: 'platform',
    'bom-ref': self.bun,
    name: 'bun',
    version: runtimeVersion,
    purl: `pkg:npm/bun@${runtimeVersion}`,
    ...licensesOf('MIT'),
  }
  return {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    serialNumber: serialNumber(JSON.stringify([source.version, source.revision, components])),
    version: 1,
    metadata: {
      timestamp: new Date(source.timeSecs * 1000).toISOString(),
      component: {
        type: 'application',
        'bom-ref': self.ref,
        name: 'openshell-gateway',
        version: source.version,
        ...licensesOf('Apache-2.0'),
      },
    },
    components: [runtime, ...components],
    dependencies,
  }
}

/** Names, versions and licence texts of everything inside, for people. */
export function notices(found: readonly (Ingredient & { readonly licence: Licence })[]): string {
  const parts = found.map(({ name, version, licence }) =>
    [
      `${name} ${version}${licence.id === null ? '' : ` (${licence.id})`}`,
      '',
      licence.text ?? 'No licence text comes with the package.',
    ].join('\n'),
  )
  const head = 'The executable contains these packages, and Bun (MIT, https://bun.sh), under their own licences.'
  return `${[head, ...parts].join(`\n\n${'-'.repeat(78)}\n\n`)}\n`
}
