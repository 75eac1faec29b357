/** Whether this is the compiled executable; its files live in a file system of its own. */
export const isCompiled = (): boolean => Bun.main.startsWith('/$bunfs/') || Bun.main.startsWith('B:/~BUN/')

/** The command line that runs this program again: the executable, or the runtime and the entry file when run from source. */
export function selfCommand(): readonly [string, ...string[]] {
  return isCompiled() ? [process.execPath] : [process.execPath, Bun.main]
}
