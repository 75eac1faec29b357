import { StartError } from '../base/errors.ts'
import { nearestName } from '../config/nearest.ts'
import { formatUsageProblems, formatViolations, printable } from '../config/problems.ts'
import { readCommand } from '../config/read.ts'
import { type Command, type CommandGroup, type CommandIo, type CommandRow, isGroup } from './command.ts'
import { ABOUT, COMMANDS, DEFAULT_COMMAND, INTERNAL_COMMANDS } from './commands.ts'
import { type HelpSubject, renderHelp } from './help.ts'
import { versionLine } from './version.ts'

interface Found extends HelpSubject {
  readonly rest: readonly string[]
}

type Lookup = { readonly found: Found } | { readonly unknown: string; readonly near: string | null }

const findRow = (rows: readonly CommandRow[], word: string) =>
  rows.find(row => row.name === word || row.hiddenAlias === word)

/** Follows the leading words of argv down the tables of commands. */
async function lookUp(argv: readonly string[]): Promise<Lookup> {
  let rows: readonly CommandRow[] = [...COMMANDS, ...INTERNAL_COMMANDS]
  const path: string[] = []
  let found: Found | null = null
  let rest = argv
  for (;;) {
    const word = rest[0]
    if (word === undefined || word.startsWith('-')) break
    const row = findRow(rows, word)
    if (!row)
      return {
        unknown: word,
        near: nearestName(
          word,
          rows.map(other => other.name),
        ),
      }
    rest = rest.slice(1)
    const loaded: Command | CommandGroup = await row.load()
    path.push(row.name)
    found = { path: [...path], about: row.about, command: loaded, rest }
    if (!isGroup(loaded)) break
    rows = loaded.commands
  }
  if (found) return { found }
  const fallback = await findRow(COMMANDS, DEFAULT_COMMAND)!.load()
  return { found: { path: [], about: ABOUT, command: fallback, rest: argv } }
}

const wantsHelp = (argv: readonly string[]): boolean => argv.length === 0 || argv[0] === '--help' || argv[0] === '-h'

async function printHelp(subject: HelpSubject, long: boolean, io: CommandIo): Promise<number> {
  const { NO_COLOR: isPlain, TERM: terminal } = process.env
  await io.out(await renderHelp(subject, { long, colour: io.isTerminal && !isPlain && terminal !== 'dumb' }))
  return 0
}

async function refuseWord(word: string, near: string | null, io: CommandIo): Promise<number> {
  const tip = near === null ? {} : { tip: `a similar command exists: '${near}'` }
  await io.err(formatUsageProblems([{ text: `unexpected argument '${printable(word)}' found`, ...tip }]))
  return 2
}

async function runCommand(found: Found, command: Command, io: CommandIo): Promise<number> {
  const read = readCommand({ flags: command.flags, positionals: command.positionals ?? [] }, found.rest)
  switch (read.kind) {
    case 'help':
      return printHelp(found, read.long, io)
    case 'version':
      await io.out(versionLine())
      return 0
    case 'refused':
      await io.err(formatUsageProblems(read.problems) + read.warnings.map(line => `warning: ${line}\n`).join(''))
      return 2
    case 'values':
      return command.run(read.values, io)
  }
}

/**
 * Runs what a command line asks for and resolves to the exit code: 0, 1 could not start, 2 wrong command line
 * (design.md §5). A line that begins with a flag runs the gateway, as the reference does.
 */
export async function dispatch(argv: readonly string[], io: CommandIo): Promise<number> {
  const asked = argv[0] === 'help' ? argv.slice(1) : argv
  const lookup = await lookUp(asked)
  if ('unknown' in lookup) return refuseWord(lookup.unknown, lookup.near, io)
  const { found } = lookup
  if (argv[0] === 'help') return printHelp(found, true, io)
  if (isGroup(found.command)) {
    if (wantsHelp(found.rest)) return printHelp(found, found.rest[0] !== '-h', io)
    return refuseWord(found.rest[0]!, null, io)
  }
  try {
    return await runCommand(found, found.command, io)
  } catch (error) {
    if (!(error instanceof StartError)) throw error
    await io.err(formatViolations([{ exit: error.exitCode, text: error.message }]))
    return error.exitCode
  }
}
