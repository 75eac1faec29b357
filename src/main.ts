import { osErrorText } from './base/os-error.ts'
import type { CommandIo } from './cli/command.ts'
import { CRASH_CODE, installCrashHandler, reportCrash } from './cli/crash.ts'
import { dispatch } from './cli/dispatch.ts'

/** The only `process.exit`. */
const exit = (code: number): never => process.exit(code)

/** Why something of standard output was lost; a reader that has seen enough is no error of ours. */
let lost: NodeJS.ErrnoException | null = null

/** Resolves when the text has left, or cannot. */
const write = (stream: NodeJS.WriteStream, text: string): Promise<void> =>
  new Promise(resolve => {
    stream.write(text, (error?: NodeJS.ErrnoException | null) => {
      if (error && error.code !== 'EPIPE' && stream === process.stdout) lost ??= error
      resolve()
    })
  })

for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)

const io: CommandIo = {
  out: text => write(process.stdout, text),
  err: text => write(process.stderr, text),
  isTerminal: process.stdout.isTTY === true,
  exit,
}

installCrashHandler(exit)
// Everything created from here on is ours alone (P-11).
process.umask(0o077)
// It would switch off every check of a peer's certificate (K-12).
delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']

try {
  const code = await dispatch(process.argv.slice(2), io)
  if (code !== 0 || lost === null) exit(code)
  await io.err(`error: standard output cannot be written: ${osErrorText(lost)}\n`)
  exit(1)
} catch (error) {
  reportCrash('command', error)
  exit(CRASH_CODE)
}
