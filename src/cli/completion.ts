import type { Flag } from '../config/flags.ts'
import { type Command, type CommandRow, defineGatewayCommand, isGroup } from './command.ts'
import { COMMANDS, DEFAULT_COMMAND } from './commands.ts'
import { PROGRAM } from './version.ts'

/** A command with the words that lead to it, for the generators. */
export interface CommandEntry {
  readonly path: string
  readonly about: string
  readonly command: Command
}

/** Every command of the tables, groups opened, loaded. */
export async function allCommands(rows: readonly CommandRow[] = COMMANDS, above = ''): Promise<CommandEntry[]> {
  const entries: CommandEntry[] = []
  for (const row of rows) {
    const path = above === '' ? row.name : `${above} ${row.name}`
    const loaded = await row.load()
    if (isGroup(loaded)) entries.push(...(await allCommands(loaded.commands, path)))
    else entries.push({ path, about: row.about, command: loaded })
  }
  return entries
}

const GLOBAL = ['--help', '--version']
const long = (flag: Flag): string => `--${flag.name}`
/** Every spelling of a flag, the long one first. */
const spellings = (flag: Flag): string[] => [long(flag), ...(flag.short ? [`-${flag.short}`] : [])]
/** A shell word in single quotes. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`
const firstWords = (entries: readonly CommandEntry[]): string[] => [...new Set(entries.map(e => e.path.split(' ')[0]!))]

/** What the first argument of a command may be, where that is a list. */
const choicesOf = ({ positionals }: Command): readonly string[] =>
  positionals?.[0]?.choices ?? positionals?.[0]?.suggestions ?? []

/** Which words may follow a group's name. */
function secondWords(entries: readonly CommandEntry[], first: string): string[] {
  return entries.flatMap(e => (e.path.startsWith(`${first} `) ? [e.path.split(' ')[1]!] : []))
}

/** `case` arms that complete a flag's value; equal answers share an arm. */
function bashValues(entries: readonly CommandEntry[]): string[] {
  const flags = new Map(entries.flatMap(e => e.command.flags.map(flag => [flag.name, flag] as const)))
  const all = [...flags.values()]
  const paths = all.filter(flag => flag.kind === 'path').flatMap(spellings)
  const choices = all.filter(flag => flag.choices)
  const open = all.filter(flag => flag.kind !== 'path' && flag.kind !== 'switch' && !flag.choices).flatMap(spellings)
  const arms = choices.map(
    f => `    ${spellings(f).join('|')}) COMPREPLY=($(compgen -W "${f.choices?.join(' ')}" -- "$cur")); return ;;`,
  )
  if (paths.length > 0) arms.push(`    ${paths.join('|')}) COMPREPLY=($(compgen -f -- "$cur")); return ;;`)
  if (open.length > 0) arms.push(`    ${open.join('|')}) return ;;`)
  return arms
}

function bash(entries: readonly CommandEntry[]): string {
  const firsts = firstWords(entries)
  const groups = firsts.filter(first => secondWords(entries, first).length > 0)
  const words = entries.map(
    e =>
      `    ${quoted(e.path)}) words="${[...choicesOf(e.command), ...e.command.flags.map(long), ...GLOBAL].join(' ')}" ;;`,
  )
  const fallback = entries.find(e => e.path === DEFAULT_COMMAND)?.command.flags.map(long) ?? []
  return [
    `# bash completion for ${PROGRAM}`,
    '_openshell_gateway() {',
    `  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="\${COMP_WORDS[COMP_CWORD-1]}" path="\${COMP_WORDS[1]}" words`,
    '  case "$prev" in',
    ...bashValues(entries),
    '  esac',
    ...(groups.length > 0
      ? [`  case "$path" in ${groups.join('|')}) [ "$COMP_CWORD" -gt 2 ] && path="$path \${COMP_WORDS[2]}" ;; esac`]
      : []),
    '  [ "$COMP_CWORD" -eq 1 ] && path=',
    '  case "$path" in',
    ...words,
    ...groups.map(first => `    ${quoted(first)}) words="${secondWords(entries, first).join(' ')} --help" ;;`),
    `    '') words="${[...firsts, ...fallback, ...GLOBAL].join(' ')}" ;;`,
    `    *) words="${[...fallback, ...GLOBAL].join(' ')}" ;;`,
    '  esac',
    '  COMPREPLY=($(compgen -W "$words" -- "$cur"))',
    '}',
    `complete -F _openshell_gateway ${PROGRAM}`,
    '',
  ].join('\n')
}

/** Characters that mean something inside a zsh `_arguments` specification. */
const zshText = (text: string): string => text.replace(/[[\]:\\]/g, c => `\\${c}`)

/** The `_arguments` specifications of a flag, one for each spelling. */
function zshFlag(flag: Flag): string[] {
  const repeat = flag.repeatable ? '*' : ''
  const about = `[${zshText(flag.help)}]`
  if (flag.kind === 'switch') return spellings(flag).map(name => quoted(`${repeat}${name}${about}`))
  const action = flag.choices ? `(${flag.choices.join(' ')})` : flag.kind === 'path' ? '_files' : ''
  // A long flag takes its value as the next word or behind "=", a short one as the next word.
  return spellings(flag).map(name =>
    quoted(`${repeat}${name}${name.startsWith('--') ? '=' : ''}${about}:${flag.name}:${action}`),
  )
}

/** What follows the words of one command. */
function zshArguments(command: Command): string {
  const [first, ...others] = command.positionals ?? []
  const choices = choicesOf(command)
  const positionals = [
    ...(first ? [`1:${first.name}:${choices.length > 0 ? `(${choices.join(' ')})` : ''}`] : []),
    ...(others.length > 0 ? ['*:argument:'] : []),
  ]
  const specs = [...positionals.map(quoted), ...command.flags.flatMap(zshFlag), ...GLOBAL.map(quoted)]
  return `_arguments ${specs.join(' \\\n      ')}`
}

/** Names with what they do, as `_describe` takes them. */
const zshNames = (rows: readonly (readonly [string, string])[]): string =>
  rows.map(([name, about]) => quoted(`${name}:${zshText(about)}`)).join(' ')

function zsh(entries: readonly CommandEntry[]): string {
  const groups = firstWords(entries).filter(first => secondWords(entries, first).length > 0)
  const fallback = entries.find(e => e.path === DEFAULT_COMMAND)!.command
  const below = (group: string) =>
    entries.flatMap(e => (e.path.startsWith(`${group} `) ? [[e.path.split(' ')[1]!, e.about] as const] : []))
  return [
    `#compdef ${PROGRAM}`,
    '_openshell_gateway() {',
    '  local -a commands',
    '  local at="$words[2]" depth=1',
    '  [[ "$at" == -* ]] && at= depth=0',
    '  if (( CURRENT == 2 && depth )); then',
    `    commands=(${zshNames(COMMANDS.map(row => [row.name, row.about]))})`,
    '    _describe command commands',
    '    return',
    '  fi',
    ...groups.flatMap(group => [
      `  if [[ "$at" == ${group} ]]; then`,
      '    if (( CURRENT == 3 )); then',
      `      commands=(${zshNames(below(group))})`,
      '      _describe command commands',
      '      return',
      '    fi',
      '    at="$at $words[3]" depth=2',
      '  fi',
    ]),
    // `_arguments` counts from the last word of the command.
    '  shift $depth words',
    '  (( CURRENT -= depth ))',
    '  case "$at" in',
    ...entries.map(e => `    ${quoted(e.path)}) ${zshArguments(e.command)} ;;`),
    `    *) ${zshArguments(fallback)} ;;`,
    '  esac',
    '}',
    'compdef _openshell_gateway openshell-gateway',
    '',
  ].join('\n')
}

function fishFlag(condition: string, flag: Flag): string {
  const value =
    flag.kind === 'switch'
      ? ''
      : flag.choices
        ? ` -x -a ${quoted(flag.choices.join(' '))}`
        : flag.kind === 'path'
          ? ' -r -F'
          : ' -x'
  const short = flag.short ? ` -s ${flag.short}` : ''
  return `complete -c ${PROGRAM} -n ${quoted(condition)} -l ${flag.name}${short}${value} -d ${quoted(flag.help)}`
}

function fish(entries: readonly CommandEntry[]): string {
  const firsts = firstWords(entries)
  const seen = (words: readonly string[]) => `__fish_seen_subcommand_from ${words.join(' ')}`
  const none = `not ${seen(firsts)}`
  const offer = (condition: string, name: string, about: string) =>
    `complete -c ${PROGRAM} -n ${quoted(condition)} -a ${name} -d ${quoted(about)}`
  const lines = [`complete -c ${PROGRAM} -f`, ...COMMANDS.map(row => offer(none, row.name, row.about))]
  for (const { path, about, command } of entries) {
    const [first = '', second] = path.split(' ')
    if (second !== undefined)
      lines.push(offer(`${seen([first])}; and not ${seen(secondWords(entries, first))}`, second, about))
    const here = second === undefined ? seen([first]) : `${seen([first])}; and ${seen([second])}`
    const condition = path === DEFAULT_COMMAND ? `${none}; or ${here}` : here
    for (const choice of choicesOf(command)) lines.push(`complete -c ${PROGRAM} -n ${quoted(here)} -a ${choice}`)
    for (const flag of command.flags) lines.push(fishFlag(condition, flag))
  }
  return [`# fish completion for ${PROGRAM}`, ...lines, ''].join('\n')
}

const SHELLS = { bash, zsh, fish } as const
type Shell = keyof typeof SHELLS

/** The completion script of a shell, made from the tables of flags and commands. */
export async function renderCompletion(shell: Shell): Promise<string> {
  return SHELLS[shell](await allCommands())
}

export const command = defineGatewayCommand({
  flags: [],
  positionals: [{ name: 'shell', help: 'Which shell', choices: Object.keys(SHELLS) }],
  async run(values, io) {
    await io.out(await renderCompletion(values.positionals[0] as Shell))
    return 0
  },
})
