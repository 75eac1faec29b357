import { expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { Glob } from 'bun'

/** From left to right; a module may use its own folder and whatever stands to the right (design §2). */
const ORDER = [
  'main',
  'cli',
  'gateway',
  'net',
  'rpc',
  'dev',
  'client',
  'services',
  'live',
  'drivers',
  'store',
  'auth',
  'domain',
  'wire',
  'limits',
  'base',
]
/** Configuration is data handed down by cli and gateway. */
const CONFIG_USERS = new Set(['cli', 'main', 'gateway', 'config', 'dev', 'client'])
const NO_OBSERVE = new Set(['base', 'domain', 'wire', 'limits'])

const SRC = join(import.meta.dir, '../../../src')
const rank = (folder: string): number => ORDER.indexOf(folder)
const folderOf = (file: string): string => file.split('/')[0]!.replace(/\.ts$/, '')

/** What a file needs at run time: `import type` and `import { type … }` alone are no dependency. */
function imports(file: string): string[] {
  const text = readFileSync(join(SRC, file), 'utf8')
  const found: string[] = []
  for (const match of text.matchAll(/^(?:import|export)\s+(?!type\b)([^'"]*?)\s*(?:from\s+)?'(\.[^']+)'/gms)) {
    const names = match[1]!.replace(/\bfrom$/, '').trim()
    const members = /^\{(.*)\}$/s
      .exec(names)?.[1]
      ?.split(',')
      .map(name => name.trim())
      .filter(Boolean)
    if (members && members.length > 0 && members.every(name => name.startsWith('type '))) continue
    found.push(relative(SRC, join(SRC, dirname(file), match[2]!)))
  }
  return found
}

const files = [...new Glob('**/*.ts').scanSync(SRC)].sort()
const graph = new Map(files.map(file => [file, imports(file).filter(target => target.endsWith('.ts'))]))

function breach(file: string, target: string): string | null {
  const [from, to] = [folderOf(file), folderOf(target)]
  if (from === to) return null
  if (to === 'observe') return NO_OBSERVE.has(from) ? 'may not log' : null
  if (to === 'config') return CONFIG_USERS.has(from) ? null : 'gets its configuration handed in'
  if (from === 'observe' || from === 'config') return rank(to) >= rank('wire') || to === 'auth' ? null : 'stands below'
  return rank(to) > rank(from) ? null : 'points left'
}

test('modules import only from their own folder or to the right', () => {
  const breaches = [...graph].flatMap(([file, targets]) =>
    targets.flatMap(target => {
      const why = breach(file, target)
      return why ? [`${file} → ${target}: ${why}`] : []
    }),
  )
  expect(breaches).toEqual([])
})

test('no module needs itself', () => {
  const done = new Set<string>()
  const cycles: string[] = []
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) {
      cycles.push([...path.slice(path.indexOf(file)), file].join(' → '))
      return
    }
    if (done.has(file)) return
    for (const target of graph.get(file) ?? []) visit(target, [...path, file])
    done.add(file)
  }
  for (const file of files) visit(file, [])
  expect(cycles).toEqual([])
})
