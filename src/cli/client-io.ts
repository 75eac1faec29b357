import { systemClock } from '../base/clock.ts'
import { visibleJson } from '../base/unprintable.ts'
import { parseGatewayName } from '../client/gateway-name.ts'
import type { LoginTools } from '../client/login.ts'
import type { Entry, Registry } from '../client/registry.ts'
import { activeName, namedEntry } from '../client/target.ts'
import type { RawValues } from '../config/read.ts'
import { manyLines, oneLine } from './client-command.ts'
import type { CommandIo } from './command.ts'
import { pressEnter } from './prompt.ts'

/** What signing in from a terminal needs. */
export const loginTools = (io: CommandIo, env: NodeJS.ProcessEnv = process.env): LoginTools => ({
  env,
  nowMs: systemClock.nowMs,
  say: text => io.err(`${manyLines(text)}\n`),
  // A timer that keeps the process alive: nothing else may be going on.
  pause: ms => new Promise(resolve => setTimeout(resolve, ms)),
  untilEnter: () => pressEnter('Press Enter to open the browser… '),
})

/** The name that a positional, the flag, the variable or the active file gives (spec/client.md §3). Throws a `ClientFailure`. */
export const chosenName = (
  values: Pick<RawValues<'gateway'>, 'positionals' | 'optional'>,
  registry: Registry,
): string => {
  const given = values.positionals[0] ?? values.optional('gateway')
  return given === null ? activeName(registry) : parseGatewayName(given)
}

/** The gateway of that name. Throws a `ClientFailure`. */
export const chosenEntry = (
  values: Pick<RawValues<'gateway'>, 'positionals' | 'optional'>,
  registry: Registry,
): Entry => namedEntry(registry, chosenName(values, registry))

/** Columns of equal width, two spaces apart. */
export function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const shown = rows.map(row => row.map(oneLine))
  const widths = head.map((title, at) => Math.max(title.length, ...shown.map(row => (row[at] ?? '').length)))
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, at) => cell.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd()
  return `${[head, ...shown].map(line).join('\n')}\n`
}

/** `Name:  value` lines, values under each other. */
export function renderFields(fields: readonly (readonly [string, string])[]): string {
  const width = Math.max(...fields.map(([name]) => name.length)) + 1
  return fields.map(([name, value]) => `  ${`${name}:`.padEnd(width)}  ${oneLine(value)}\n`).join('')
}

/** JSON for programs. */
export const renderJson = (value: unknown): string => `${visibleJson(value, 2)}\n`
