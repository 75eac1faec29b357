/**
 * Makes what is shipped, into dist/:
 * `bun build.ts`                    the executable for this machine, started once to prove that it serves
 * `bun build.ts --target PLATFORM`  the executable for another one, see TARGETS
 * `bun build.ts --oci`              images of it as oci-archives for both processors; needs apt-get, no container engine
 * `bun build.ts --order`            records again which functions lie together in executables; before a release
 * `bun build.ts --release`          everything a release holds; `--url` is where its files will be downloaded from
 * An exit code of the compiler proves nothing (platform.md §2), so every file is looked at, and run where it can be.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { consola } from 'consola'
import { type Architecture, readBase } from './deploy/build/base-files.ts'
import { BYTECODE_ORDER, recordBytecodeOrder } from './deploy/build/bytecode-order.ts'
import { compile, type Platform, prove, TARGETS } from './deploy/build/executable.ts'
import { licenceTexts, NOTICES } from './deploy/build/licences.ts'
import { writeImage } from './deploy/build/oci.ts'
import { writeRelease } from './deploy/build/release.ts'
import { ROOT, readSource, type Source } from './deploy/build/source.ts'

const DIST = join(ROOT, 'dist')
const EXECUTABLE = join(DIST, 'openshell-gateway')

/** Processors that have an image, and the platform whose executable is in it. */
const IMAGES: Readonly<Record<Architecture, Platform>> = { amd64: 'linux-x64', arm64: 'linux-arm64' }

function refuse(message: string): never {
  consola.error(message)
  process.exit(2)
}

function readArguments() {
  try {
    const { values } = parseArgs({
      options: {
        target: { type: 'string' },
        order: { type: 'boolean' },
        oci: { type: 'boolean' },
        release: { type: 'boolean' },
        url: { type: 'string' },
      },
    })
    return values
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error))
  }
}

function isPlatform(name: string): name is Platform {
  return name in TARGETS
}

function buildFor(platform: Platform, { version }: Source): string {
  const outfile = `${EXECUTABLE}-${platform}`
  compile(outfile, version, platform)
  return outfile
}

async function buildHere({ version }: Source): Promise<void> {
  compile(EXECUTABLE, version)
  await prove(EXECUTABLE, version)
  // For the image recipe.
  writeFileSync(join(DIST, NOTICES), licenceTexts()[NOTICES])
  consola.success(`${EXECUTABLE} (${version}) answers --version and Health`)
}

/** One archive for each processor; resolves to their paths. */
function buildImages(source: Source): string[] {
  const texts = licenceTexts()
  return (Object.keys(IMAGES) as Architecture[]).map(architecture => {
    const executable = buildFor(IMAGES[architecture], source)
    const outfile = `${EXECUTABLE}-oci-${architecture}.tar`
    writeImage({ ...source, executable, architecture, base: readBase(architecture), texts }, outfile)
    return outfile
  })
}

if (import.meta.main) {
  const wanted = readArguments()
  const source = readSource()
  const { target } = wanted
  mkdirSync(DIST, { recursive: true })
  if (target !== undefined && !isPlatform(target)) refuse(`--target must be one of ${Object.keys(TARGETS).join(', ')}`)
  if (target) consola.success(`${buildFor(target, source)} (${source.version})`)
  else if (wanted.order) {
    compile(EXECUTABLE, source.version)
    await recordBytecodeOrder(EXECUTABLE)
    consola.success(BYTECODE_ORDER)
  } else if (wanted.oci) for (const image of buildImages(source)) consola.success(image)
  else if (wanted.release)
    for (const file of await writeRelease(source, join(DIST, 'release'), wanted.url ?? null)) consola.success(file)
  else await buildHere(source)
}
