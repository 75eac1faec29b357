import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** The top of the source tree. */
export const ROOT = join(import.meta.dir, '..', '..')

/** Trimmed output of git, or null where there is no git or no answer. */
export function git(...args: readonly string[]): string | null {
  const done = spawnSync('git', args, { cwd: ROOT, encoding: 'utf8', maxBuffer: 1 << 26 })
  return done.status === 0 ? done.stdout.trim() : null
}

/** `X.Y.Z` of the nearest tag, or `X.Y.(Z+1)-dev.N+g<sha>` behind it; the package's version where there is no git (spec/gateway.md §1). */
export function stampVersion(packageVersion: string): string {
  const described = git('describe', '--tags', '--long', '--match', 'v[0-9]*')
  const match = /^v(\d+)\.(\d+)\.(\d+)-(\d+)-(g[0-9a-f]+)$/.exec(described ?? '')
  if (!match) return packageVersion
  const [, major, minor, patch, commits, sha] = match
  return commits === '0' ? `${major}.${minor}.${patch}` : `${major}.${minor}.${Number(patch) + 1}-dev.${commits}+${sha}`
}

/** What a build is made from: everything that would make two builds differ. */
export interface Source {
  readonly version: string
  /** Commit; null outside a repository. */
  readonly revision: string | null
  /** Seconds since the epoch that built files carry: SOURCE_DATE_EPOCH, else the time of the commit, else 0. */
  readonly timeSecs: number
}

/** The state of the source tree. */
export function readSource(): Source {
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
  const time = process.env['SOURCE_DATE_EPOCH'] || git('log', '-1', '--format=%ct')
  return { version: stampVersion(manifest.version), revision: git('rev-parse', 'HEAD'), timeSecs: Number(time ?? 0) }
}
