/** TABLE of the errors a connect(2) to a Unix socket can meet, with the words and numbers operators know (spec/sandbox.md §16). */
const WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'No such file or directory (os error 2)',
  EACCES: 'Permission denied (os error 13)',
  ENOTDIR: 'Not a directory (os error 20)',
  EMFILE: 'Too many open files (os error 24)',
  ENOTSOCK: 'Socket operation on non-socket (os error 88)',
  ECONNRESET: 'Connection reset by peer (os error 104)',
  ECONNREFUSED: 'Connection refused (os error 111)',
  EPIPE: 'Broken pipe (os error 32)',
}

/** The system error inside the text of a failed connect, in the words of the table; null when there is none. */
export function osErrorWords(text: string): string | null {
  for (const [code, words] of Object.entries(WORDS)) if (text.includes(code)) return words
  return null
}
