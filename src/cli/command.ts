import type { Positional } from '../config/arguments.ts'
import type { Flag } from '../config/flags.ts'
import type { RawValues } from '../config/read.ts'

/** How a command talks to whoever started it. */
export interface CommandIo {
  /** Standard output; resolves when the text has left. */
  out(text: string): Promise<void>
  /** Standard error; resolves when the text has left. */
  err(text: string): Promise<void>
  /** Whether standard output is a terminal. */
  readonly isTerminal: boolean
  /** Ends the process at once; for what cannot end by returning, such as a second signal. */
  exit(code: number): never
}

/**
 * A command: what it takes, and what it does. `run` gets values that were read strictly (unknown flags, repetitions and
 * missing values never reach it) and resolves to the exit code of design.md §5. A `StartError` it throws is printed as
 * one line; anything else it throws is a bug and ends the process with 70.
 */
export interface Command<Name extends string = string> {
  readonly flags: readonly Flag[]
  readonly positionals?: readonly Positional[]
  run(values: RawValues<Name>, io: CommandIo): Promise<number>
}

/** A command that only groups others: `gateway add`, `gateway list`. */
export interface CommandGroup {
  readonly commands: readonly CommandRow[]
}

/** A row of the table of commands. `load` imports the module, so that a command pays only for itself. */
export interface CommandRow {
  readonly name: string
  readonly about: string
  /** A second spelling that help does not show. */
  readonly hiddenAlias?: string
  load(): Promise<Command | CommandGroup>
}

export const isGroup = (loaded: Command | CommandGroup): loaded is CommandGroup => 'commands' in loaded

/** Gives a command the types of its own flag table; the table is where the names come from. */
export const defineGatewayCommand = <const Flags extends readonly Flag[]>(command: {
  readonly flags: Flags
  readonly positionals?: readonly Positional[]
  run(values: RawValues<Flags[number]['name']>, io: CommandIo): Promise<number>
}): Command => command as Command
