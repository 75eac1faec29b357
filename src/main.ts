import type { CommandIo } from './cli/command.ts'
import { CRASH_CODE, installCrashHandler, reportCrash } from './cli/crash.ts'
import { dispatch } from './cli/dispatch.ts'

/** The only `process.exit`. */
const exit = (code: number): never => process.exit(code)

/** Resolves when the text has left, or cannot: a reader that is gone is no error of ours. */
const write = (stream: NodeJS.WriteStream, text: string): Promise<void> =>
  new Promise(resolve => {
    stream.write(text, () => resolve())
  })

for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)

const io: CommandIo = {
  out: text => write(process.stdout, text),
  err: text => write(process.stderr, text),
  isTerminal: process.stdout.isTTY === true && !process.env['NO_COLOR'],
  exit,
}

installCrashHandler(exit)
// Everything created from here on is ours alone (P-11).
process.umask(0o077)
// It would switch off every check of a peer's certificate (K-12).
delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']

try {
  exit(await dispatch(process.argv.slice(2), io))
} catch (error) {
  reportCrash('command', error)
  exit(CRASH_CODE)
}
