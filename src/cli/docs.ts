/**
 * `bun run docs`: rewrites the sections of README.md between `<!-- NAME -->` and `<!-- /NAME -->` and the environment
 * file of the units from the tables in code. With `--check` it changes nothing and ends with 1 when one is stale.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { METHODS } from '../auth/methods.ts'
import { FLAG_GROUPS, FLAGS, type Flag } from '../config/flags.ts'
import { CLIENT_FLAGS } from './client-flags.ts'
import { CLIENT_VARIABLES } from './client-texts.ts'
import { COMMANDS } from './commands.ts'
import { renderEnvironmentFile } from './environment-file.ts'
import { EXIT_CODES } from './exit-codes.ts'

const ROOT = join(import.meta.dir, '..', '..')

const cell = (text: string): string => text.replaceAll('|', '\\|')
const code = (text: string | null): string => (text === null || text === '' ? '' : `\`${cell(text)}\``)
const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] => [
  row(head),
  row(head.map(() => '---')),
  ...rows.map(row),
]

const meaningOf = (flag: Flag): string => (flag.choices ? `${flag.help}: ${flag.choices.join(', ')}` : flag.help)
const flagRow = (flag: Flag): string[] => [
  code(`--${flag.name}`),
  code(flag.env),
  code(flag.default),
  cell(meaningOf(flag)),
]

/** The flags, one table for each group. */
export function flagsSection(): string {
  const groups = FLAG_GROUPS.map(group => {
    const rows = FLAGS.filter((flag: Flag) => flag.group === group).map(flagRow)
    return [`**${group}**`, '', ...table(['Flag', 'Variable', 'Default', 'Meaning'], rows)].join('\n')
  })
  return groups.join('\n\n')
}

/** Who may call which RPC. */
export function methodsSection(): string {
  const rows = [...METHODS.values()]
    .filter(method => method.rpc !== null)
    .map(method => [code(method.name), method.class, method.role ?? '', code(method.scope)])
  return table(['RPC', 'Caller proves itself by', 'Role', 'Scope'], rows).join('\n')
}

/** The commands of the executable. */
export const commandsSection = (): string =>
  table(
    ['Command', 'What it does'],
    COMMANDS.map(({ name, about }) => [code(name), cell(about)]),
  ).join('\n')

/** What the exit codes mean. */
export const exitsSection = (): string =>
  table(
    ['Code', 'Gateway', 'Client commands'],
    EXIT_CODES.map(({ code: number, gateway, client }) => [String(number), cell(gateway ?? ''), cell(client ?? '')]),
  ).join('\n')

/** Variables of the client commands, with the flag that goes before each where there is one. */
export const clientSection = (): string =>
  table(
    ['Variable', 'Flag', 'Meaning'],
    [
      ...CLIENT_FLAGS.map(flag => [code(flag.env), code(`--${flag.name}`), cell(flag.help)]),
      ...CLIENT_VARIABLES.map(([name, meaning]) => [code(name), '', cell(meaning.replace(/\.$/, ''))]),
    ],
  ).join('\n')

const SECTIONS: Readonly<Record<string, () => string>> = {
  commands: commandsSection,
  exits: exitsSection,
  client: clientSection,
  flags: flagsSection,
  methods: methodsSection,
}

/** The text with every marked section written anew; sections without markers are left out. */
export function renderReadme(text: string): string {
  let result = text
  for (const [name, render] of Object.entries(SECTIONS)) {
    const begin = `<!-- ${name} -->`
    const end = `<!-- /${name} -->`
    const from = result.indexOf(begin)
    const to = result.indexOf(end)
    if (from < 0 || to < from) continue
    result = `${result.slice(0, from + begin.length)}\n\n${render()}\n\n${result.slice(to)}`
  }
  return result
}

/** Every file that is made from tables, with what it should hold now. */
const GENERATED: Readonly<Record<string, (now: string) => string>> = {
  'README.md': renderReadme,
  'deploy/systemd/gateway.env': renderEnvironmentFile,
}

if (import.meta.main) {
  for (const [name, render] of Object.entries(GENERATED)) {
    const path = join(ROOT, name)
    const before = existsSync(path) ? readFileSync(path, 'utf8') : ''
    const after = render(before)
    if (!process.argv.includes('--check')) writeFileSync(path, after)
    else if (before !== after) {
      process.stderr.write(`${name} is stale: run \`bun run docs\`\n`)
      process.exitCode = 1
    }
  }
}
