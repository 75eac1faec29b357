/** The command line that runs this program again: the executable, or the runtime and the entry file when run from source. */
export function selfCommand(): readonly [string, ...string[]] {
  return Bun.main.startsWith('/$bunfs/') || Bun.main.startsWith('B:/~BUN/')
    ? [process.execPath]
    : [process.execPath, Bun.main]
}
