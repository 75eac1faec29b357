import { spawn } from 'node:child_process'

type Env = Readonly<Record<string, string | undefined>>

/** Programs that open a URL, by platform. */
const OPENERS: Readonly<Record<string, readonly string[]>> = {
  darwin: ['open'],
  win32: ['rundll32', 'url.dll,FileProtocolHandler'],
}
const DEFAULT_OPENER = ['xdg-open']

/** Whether the person asked for no browser. */
export const isBrowserOff = (env: Env): boolean => ['1', 'true'].includes(env['OPENSHELL_NO_BROWSER'] ?? '')

/**
 * Opens a URL in the browser of the desktop, or in the program that `BROWSER` names, with `%s` where the URL belongs or
 * behind its words; whether that could be started.
 * What becomes of the page is not known.
 */
export function openBrowser(url: string, env: Env): Promise<boolean> {
  const named = env['BROWSER']?.split(':')[0]?.trim()
  const [program = '', ...given] = named ? named.split(/\s+/) : (OPENERS[process.platform] ?? DEFAULT_OPENER)
  const args = given.includes('%s') ? given.map(word => (word === '%s' ? url : word)) : [...given, url]
  return new Promise(resolve => {
    const child = spawn(program, args, { detached: true, stdio: 'ignore' })
    child.once('error', () => resolve(false))
    child.once('spawn', () => {
      child.unref()
      resolve(true)
    })
  })
}
