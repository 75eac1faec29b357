import { expect, test } from 'bun:test'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { COMMANDS } from '../../../src/cli/commands.ts'
import { FLAGS } from '../../../src/config/flags.ts'

const DEPLOY = join(import.meta.dir, '../../../deploy')
const texts = [
  'README.md',
  'identity-providers.md',
  'container/Containerfile',
  'systemd/openshell-gateway.service',
  'systemd/openshell-gateway.user.service',
]
const all = texts.map(name => readFileSync(join(DEPLOY, name), 'utf8')).join('\n')

test('variables, commands and files that the deployment texts name exist', () => {
  const variables = new Set<string | null>([
    ...FLAGS.map(flag => flag.env),
    'OPENSHELL_INSTALL_DIR',
    'OPENSHELL_DOWNLOAD_URL',
  ])
  expect([...all.matchAll(/\bOPENSHELL_[A-Z_]+/g)].map(match => match[0]).filter(name => !variables.has(name))).toEqual(
    [],
  )
  const commands = new Set(COMMANDS.map(command => command.name))
  const named = [...all.matchAll(/(?:^|[\s`/"])openshell-gateway (?:")?([a-z][a-z-]+)/gm)].map(match => match[1]!)
  expect(named.length).toBeGreaterThan(5)
  expect(named.filter(name => !commands.has(name))).toEqual([])
  for (const file of ['container/Containerfile', 'helm/openshell', 'identity-providers.md', 'keycloak/realm.json']) {
    expect(all).toContain(file)
    expect(existsSync(join(DEPLOY, file))).toBe(true)
  }
})

test('values of the chart that the text sets are values of the chart', () => {
  const values = Bun.YAML.parse(readFileSync(join(DEPLOY, 'helm/openshell/values.yaml'), 'utf8'))
  for (const [, path] of all.matchAll(/--set ([a-zA-Z.]+)=/g))
    expect(
      path!.split('.').reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], values),
    ).toBeDefined()
})
