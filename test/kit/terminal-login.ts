import { EXECUTABLE, until } from './gateway.ts'

/** A sign-in that waits for its browser. */
export interface TerminalLogin {
  /** The address it asks its person to open. */
  address(): Promise<string>
  said(): string
  readonly child: Bun.Subprocess
  /** Exit code, and all that it said on standard error. */
  ended(): Promise<{ readonly code: number; readonly said: string }>
}

/** Starts a command that signs in; the browser it opens does nothing. */
export function beginLogin(
  env: Readonly<Record<string, string>>,
  args: readonly string[],
  more: Readonly<Record<string, string>> = {},
): TerminalLogin {
  const child = Bun.spawn([EXECUTABLE, ...args], {
    env: { PATH: process.env['PATH']!, ...env, BROWSER: '/bin/true', ...more },
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'pipe',
  })
  let said = ''
  const reading = (async () => {
    for await (const chunk of child.stderr) said += new TextDecoder().decode(chunk)
  })()
  return {
    child,
    said: () => said,
    address: () => until('the address', () => /^ {2}(http\S+)$/m.exec(said)?.[1]),
    async ended() {
      const code = await child.exited
      await reading
      return { code, said }
    },
  }
}
