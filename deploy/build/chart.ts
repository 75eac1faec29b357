import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import type { Source } from './source.ts'
import { type TarEntry, writeTar } from './tar.ts'

/** Every file below `folder` as an entry below `prefix`. */
function filesBelow(folder: string, prefix: string): TarEntry[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((found): TarEntry[] => {
    const [inside, path] = [join(folder, found.name), `${prefix}/${found.name}`]
    if (found.isDirectory()) return filesBelow(inside, path)
    return [{ path, kind: 'file', mode: 0o644, content: readFileSync(inside) }]
  })
}

/** `Chart.yaml` with the version of this build: charts and images of one release belong together. */
export const stampChart = (text: string, version: string): string =>
  text
    .replace(/^version: .*$/m, () => `version: ${version}`)
    .replace(/^appVersion: .*$/m, () => `appVersion: "${version.replaceAll('+', '-')}"`)

/** The chart as `helm install` takes it from a file: name and bytes. */
export function packageChart(folder: string, source: Source): [string, Uint8Array] {
  const entries = filesBelow(folder, 'openshell').map(entry => {
    if (entry.path !== 'openshell/Chart.yaml') return entry
    const text = Buffer.from(entry.content ?? []).toString('utf8')
    return { ...entry, content: Buffer.from(stampChart(text, source.version)) }
  })
  return [`openshell-chart-${source.version}.tgz`, gzipSync(writeTar(entries, source.timeSecs))]
}
