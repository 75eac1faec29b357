import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { type Ended, runToEnd } from './run-to-end.ts'

/** A user of the client commands, with a home of its own. */
export interface ClientHome extends Disposable {
  readonly dir: string
  /** Where the user's registry is. */
  path(...parts: string[]): string
  read(...parts: string[]): string
  write(text: string, ...parts: string[]): void
  readonly env: Record<string, string>
  /** Runs a command of the executable to its end. */
  run(args: readonly string[], env?: Record<string, string | undefined>, timeoutMs?: number): Promise<Ended>
}

/** `BROWSER` for a sign-in without a window, and what it shall do (`scripted-browser.ts`). */
export const scripted = (script: string, out?: string): Record<string, string> => ({
  BROWSER: `${process.execPath} ${join(import.meta.dir, 'scripted-browser.ts')}`,
  SCRIPT: script,
  ...(out === undefined ? {} : { SCRIPT_OUT: out }),
})

export function createClientHome(): ClientHome {
  const dir = mkdtempSync(join(tmpdir(), 'client-'))
  const env = { HOME: dir, XDG_CONFIG_HOME: join(dir, 'config'), OPENSHELL_SYSTEM_GATEWAY_DIR: join(dir, 'etc') }
  const path = (...parts: string[]) => join(dir, 'config', 'openshell', ...parts)
  return {
    dir,
    path,
    env,
    read: (...parts) => readFileSync(path(...parts), 'utf8'),
    write(text, ...parts) {
      mkdirSync(dirname(path(...parts)), { recursive: true })
      writeFileSync(path(...parts), text)
    },
    run: (args, more = {}, timeoutMs = 20_000) =>
      runToEnd(args, {
        cwd: dir,
        env: { ...env, OPENSHELL_SSH_HANDSHAKE_SECRET: undefined, ...more },
        timeoutMs,
      }),
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  }
}
