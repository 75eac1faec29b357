import type { ArgsDef } from 'citty'
import type { Positional } from '../config/arguments.ts'
import { type Flag, flagLabel } from '../config/flags.ts'
import { type Command, type CommandGroup, type CommandRow, isGroup } from './command.ts'
import { ABOUT, COMMANDS } from './commands.ts'
import { PROGRAM } from './version.ts'

/** What the help text is about. */
export interface HelpSubject {
  /** Words behind the program's name; empty for the program itself. */
  readonly path: readonly string[]
  readonly about: string
  readonly command: Command | CommandGroup
}

export interface HelpStyle {
  /** `--help` shows variables and defaults, `-h` does not. */
  readonly long: boolean
  readonly colour: boolean
}

/** The variable and the default of a flag, never the value a variable has now and nothing of a secret (W-1). */
export function describeFlag(flag: Flag, long: boolean): string {
  if (!long) return flag.help
  const notes = [
    ...(flag.env === null ? [] : [`[env: ${flag.env}]`]),
    ...(flag.default === null || flag.secret ? [] : [`[default: ${flag.default}]`]),
    ...(flag.choices ? [`[possible values: ${flag.choices.join(', ')}]`] : []),
  ]
  return [flag.help, ...notes].join(' ')
}

const describePositional = ({ help, choices }: Positional): string =>
  choices ? `${help}: ${choices.join(', ')}` : help

/** The arguments that need no explanation of their own; flags are listed by group below them. */
function argsOf(command: Command): ArgsDef {
  const args: ArgsDef = {}
  for (const positional of command.positionals ?? [])
    args[positional.name] = {
      type: 'positional',
      description: describePositional(positional),
      required: !positional.optional,
    }
  args['help'] = { type: 'boolean', alias: 'h', description: 'Print this help; -h leaves out variables and defaults' }
  args['version'] = { type: 'boolean', alias: 'V', description: 'Print the version' }
  return args
}

/** Flags under the headings of their groups, two lines each: name, then meaning. */
function flagSections(flags: readonly Flag[], style: HelpStyle): string[] {
  const groups = [...new Set(flags.map(flag => flag.group))]
  const heading = (text: string) => (style.colour ? `\u001b[4m\u001b[1m${text}\u001b[22m\u001b[24m` : text)
  return groups.flatMap(group => [
    '',
    heading(group.toUpperCase()),
    ...flags
      .filter(flag => flag.group === group)
      .flatMap(flag => ['', `  ${flagLabel(flag)}`, `      ${describeFlag(flag, style.long)}`]),
  ])
}

const namesOf = (rows: readonly CommandRow[]) =>
  Object.fromEntries(rows.map(row => [row.name, { meta: { name: row.name, description: row.about } }]))

const withoutColour = (text: string): string => text.replace(/\u001b\[\d+m/g, '')

/** The help of a command; that of the program itself lists the commands too. */
export async function renderHelp(subject: HelpSubject, style: HelpStyle): Promise<string> {
  const { defineCommand, renderUsage } = await import('citty')
  const { command, path } = subject
  const rows = isGroup(command) ? command.commands : path.length === 0 ? COMMANDS : []
  const described = defineCommand({
    meta: { name: [PROGRAM, ...path].join(' '), description: path.length === 0 ? ABOUT : subject.about },
    args: isGroup(command) ? {} : argsOf(command),
    ...(rows.length > 0 ? { subCommands: namesOf(rows) } : {}),
  })
  const usage = await renderUsage(described)
  const lines = (style.colour ? usage : withoutColour(usage)).trimEnd().split('\n')
  const sections = isGroup(command) ? [] : flagSections(command.flags, style)
  return `${[...lines, ...sections].map(line => line.trimEnd()).join('\n')}\n`
}
