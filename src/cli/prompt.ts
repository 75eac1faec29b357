import { createInterface } from 'node:readline/promises'
import { Writable } from 'node:stream'

/** Asks on the terminal; the answer is not shown. Null when there is no terminal to ask on, or the person left. */
export async function askHidden(question: string): Promise<string | null> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return null
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() })
  const reader = createInterface({ input: process.stdin, output: silent, terminal: true })
  const left = new Promise<null>(resolve => reader.once('close', () => resolve(null)))
  // Only now does the terminal show nothing of what is typed.
  process.stderr.write(question)
  try {
    return await Promise.race([reader.question(''), left])
  } finally {
    reader.close()
    process.stderr.write('\n')
  }
}

/** Waits for Enter, and not at all where there is no terminal; false when the person left instead. */
export async function pressEnter(text: string): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return true
  return (await askLine(text)) !== null
}

/** Asks for a line on the terminal. Null when there is none to ask on, or the person left. */
export async function askLine(question: string): Promise<string | null> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return null
  const reader = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const left = new Promise<null>(resolve => reader.once('close', () => resolve(null)))
    return await Promise.race([reader.question(question), left])
  } finally {
    reader.close()
    process.stdin.pause()
  }
}
