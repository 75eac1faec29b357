import { expect, test } from 'bun:test'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { CLIENT_FLAGS } from '../../../src/cli/client-flags.ts'
import { CLIENT_VARIABLES } from '../../../src/cli/client-texts.ts'
import { COMMANDS } from '../../../src/cli/commands.ts'
import { allCommands } from '../../../src/cli/completion.ts'
import { FLAGS } from '../../../src/config/flags.ts'

const DEPLOY = join(import.meta.dir, '../../../deploy')
const texts = [
  '../README.md',
  '../SECURITY.md',
  '../CONTRIBUTING.md',
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
    ...CLIENT_FLAGS.map(flag => flag.env),
    ...CLIENT_VARIABLES.map(([name]) => name),
    'OPENSHELL_INSTALL_DIR',
    'OPENSHELL_DOWNLOAD_URL',
    'OPENSHELL_PEERS',
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

/** Flags of other programs in the texts, by program. */
const FOREIGN: Readonly<Record<string, string>> = {
  'every command': 'help',
  'build.ts': 'oci release target url',
  podman: 'build-arg cap-drop env file input memory publish read-only secret security-opt tag volume',
  Containerfile: 'chmod chown interval retries start-period',
  'kubectl and helm': 'from-literal namespace set',
  'systemctl, chown, kc.sh': 'import-realm now reference',
}

test('flags that the texts name are flags of a command, or of a program that is not ours', async () => {
  const own = new Set((await allCommands()).flatMap(entry => entry.command.flags.map(flag => flag.name)))
  const foreign = new Set(Object.values(FOREIGN).flatMap(flags => flags.split(' ')))
  const named = new Set(
    [...all.matchAll(/(?<![\w`-])--([a-z][a-z-]+)|(?<=`)--([a-z][a-z-]+)/g)].map(m => (m[1] ?? m[2])!),
  )
  expect([...named].filter(name => !own.has(name) && !foreign.has(name))).toEqual([])
  expect([...foreign].filter(name => !named.has(name))).toEqual([])
})

test('values of the chart that the text sets are values of the chart', () => {
  const values = Bun.YAML.parse(readFileSync(join(DEPLOY, 'helm/openshell/values.yaml'), 'utf8'))
  for (const [, path] of all.matchAll(/--set ([a-zA-Z.]+)=/g))
    expect(
      path!.split('.').reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], values),
    ).toBeDefined()
})
