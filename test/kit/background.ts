/** A process that runs beside a test; what it says is kept for the message of a test that fails. */
export interface Background {
  readonly child: Bun.Subprocess<'ignore', 'pipe', 'pipe'>
  /** `wait`, which fails as soon as the process ends; a failure shows what the process said. */
  during<T>(wait: Promise<T>): Promise<T>
}

/** Starts a process in an environment of its own. */
export function startBackground(command: readonly string[], env: Record<string, string>): Background {
  const child = Bun.spawn([...command], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  const keep = async (stream: ReadableStream<Uint8Array>) => {
    for await (const part of stream) said += Buffer.from(part).toString()
  }
  const heard = Promise.all([keep(child.stdout), keep(child.stderr)])
  return {
    child,
    async during(wait) {
      const ended = heard.then(async () => {
        throw new Error(`it ended with ${child.signalCode ?? (await child.exited)}`)
      })
      try {
        return await Promise.race([wait, ended])
      } catch (error) {
        throw new Error(`${(error as Error).message}; ${command.slice(0, 2).join(' ')} said: ${said || 'nothing'}`)
      }
    },
  }
}
