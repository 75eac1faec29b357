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
  const paths = all.filter(flag => flag.kind === 'path').map(long)
  const choices = all.filter(flag => flag.choices)
  const open = all.filter(flag => flag.kind !== 'path' && flag.kind !== 'switch' && !flag.choices).map(long)
  const arms = choices.map(
    f => `    ${long(f)}) COMPREPLY=($(compgen -W "${f.choices?.join(' ')}" -- "$cur")); return ;;`,
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

function zshFlag(flag: Flag): string {
  const repeat = flag.repeatable ? '*' : ''
  if (flag.kind === 'switch') return quoted(`${repeat}${long(flag)}[${zshText(flag.help)}]`)
  const action = flag.choices ? `(${flag.choices.join(' ')})` : flag.kind === 'path' ? '_files' : ''
  return quoted(`${repeat}${long(flag)}=[${zshText(flag.help)}]:${flag.name}:${action}`)
}

function zsh(entries: readonly CommandEntry[]): string {
  const describe = entries.map(e => quoted(`${e.path.split(' ')[0]}:${zshText(e.about)}`))
  const arms = entries.map(
    e =>
      `    ${quoted(e.path)}) _arguments ${[
        ...choicesOf(e.command)
          .slice(0, 1)
          .map(() => quoted(`2:value:(${choicesOf(e.command).join(' ')})`)),
        ...e.command.flags.map(zshFlag),
        ...GLOBAL.map(quoted),
      ].join(' \\\n      ')} ;;`,
  )
  const groups = firstWords(entries).filter(first => secondWords(entries, first).length > 0)
  const fallback = entries.find(e => e.path === DEFAULT_COMMAND)?.command.flags ?? []
  return [
    `#compdef ${PROGRAM}`,
    '_openshell_gateway() {',
    `  local -a commands=(${[...new Set(describe)].join(' ')})`,
    '  local path_words="$words[2]"',
    ...groups.map(
      first => `  [[ "$words[2]" == ${quoted(first)} && $CURRENT -gt 3 ]] && path_words="$words[2] $words[3]"`,
    ),
    '  if (( CURRENT == 2 )) && [[ "$words[2]" != -* ]]; then _describe command commands; return; fi',
    '  case "$path_words" in',
    ...arms,
    ...groups.map(first => `    ${quoted(first)}) compadd -- ${secondWords(entries, first).join(' ')} ;;`),
    `    *) _arguments ${[...fallback.map(zshFlag), ...GLOBAL.map(quoted)].join(' \\\n      ')} ;;`,
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
  return `complete -c ${PROGRAM} -n ${quoted(condition)} -l ${flag.name}${value} -d ${quoted(flag.help)}`
}

function fish(entries: readonly CommandEntry[]): string {
  const firsts = firstWords(entries)
  const none = `not __fish_seen_subcommand_from ${firsts.join(' ')}`
  const lines = [`complete -c ${PROGRAM} -f`]
  for (const entry of entries) {
    const [first = '', second] = entry.path.split(' ')
    const about = quoted(entry.about)
    if (second === undefined) lines.push(`complete -c ${PROGRAM} -n ${quoted(none)} -a ${first} -d ${about}`)
    else
      lines.push(`complete -c ${PROGRAM} -n ${quoted(`__fish_seen_subcommand_from ${first}`)} -a ${second} -d ${about}`)
    const seen = entry.path
      .split(' ')
      .map(word => `__fish_seen_subcommand_from ${word}`)
      .join('; and ')
    const condition = entry.path === DEFAULT_COMMAND ? `${none}; or ${seen}` : seen
    for (const choice of choicesOf(entry.command)) lines.push(`complete -c ${PROGRAM} -n ${quoted(seen)} -a ${choice}`)
    for (const flag of entry.command.flags) lines.push(fishFlag(condition, flag))
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
