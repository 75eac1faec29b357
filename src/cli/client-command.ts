import { GRPC_CODES } from '../base/errors.ts'
import { CLIENT_EXITS, ClientFailure } from '../client/failure.ts'
import { CallFailed } from '../client/grpc-stream.ts'
import { printable } from '../config/problems.ts'
import type { CommandIo } from './command.ts'

const CODE_NAMES: ReadonlyMap<number, string> = new Map(Object.entries(GRPC_CODES).map(([name, code]) => [code, name]))
const LINE_CHARS = 4096

/** `UNAUTHENTICATED` for 16. */
export const codeName = (code: number): string => CODE_NAMES.get(code) ?? 'UNKNOWN'

const exitOf = (code: number): number => {
  if (code === GRPC_CODES.UNAUTHENTICATED) return CLIENT_EXITS['sign-in'].code
  return code === GRPC_CODES.UNAVAILABLE ? CLIENT_EXITS.unreachable.code : CLIENT_EXITS.failed.code
}

const visibleLines = (text: string): string[] =>
  text
    .slice(0, LINE_CHARS)
    .split(/\r?\n/)
    .map(line => (line.match(/.{1,100}/gsu) ?? []).map(printable).join(''))

/** Text from outside for one line of a terminal, however long it may be. */
export const oneLine = (text: string): string => visibleLines(text).join(' ')

/** The same for several lines, with words of others among ours. */
export const manyLines = (text: string): string => visibleLines(text).join('\n')

/**
 * Runs the body of a client command: what ends it early becomes one line on standard error and the exit code of
 * `CLIENT_EXITS`. A refused call reads `error: CODE: text`. Anything else thrown is a bug.
 */
export async function runClient(io: CommandIo, body: () => Promise<number>): Promise<number> {
  try {
    return await body()
  } catch (error) {
    if (error instanceof CallFailed) {
      await io.err(`error: ${codeName(error.code)}: ${oneLine(error.message)}\n`)
      return exitOf(error.code)
    }
    if (!(error instanceof ClientFailure)) throw error
    await io.err(`error: ${oneLine(error.message)}\n`)
    return error.exitCode
  }
}
