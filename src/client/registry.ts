import { accessSync, constants, existsSync, readdirSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { ClientFailure } from './failure.ts'
import { isGatewayName } from './gateway-name.ts'
import { makePrivateFolder, readSmall, removePath, writePrivateInOwn } from './private-files.ts'
import { formatRegistration, parseRegistration, type Registration } from './registration.ts'
import { formatBundle, isTokenText, parseBundle, type TokenBundle } from './token-bundle.ts'

type Env = Readonly<Record<string, string | undefined>>

/** A registration and where it stands. */
export interface Entry {
  readonly registration: Registration
  readonly source: 'user' | 'system'
}

const SYSTEM_ROOT = '/etc/openshell'
const TOKEN = 'oidc_token.json'
const EDGE_TOKEN = 'edge_token'
const OLD_EDGE_TOKEN = 'cf_token'
const TOKEN_FILES = [TOKEN, EDGE_TOKEN, OLD_EDGE_TOKEN]
const ACTIVE = 'active_gateway'
const PROMPT_MARKER = 'oidc_login_prompt_required'

/** `$XDG_CONFIG_HOME/openshell`, else `$HOME/.config/openshell`; empty and relative values count as unset. Throws a `ClientFailure`. */
export function configRoot(env: Env): string {
  const xdg = env['XDG_CONFIG_HOME'] ?? ''
  if (isAbsolute(xdg)) return join(xdg, 'openshell')
  const home = env['HOME'] ?? ''
  if (!isAbsolute(home)) throw new ClientFailure('failed', 'HOME is not set')
  return join(home, '.config', 'openshell')
}

function ownRoot(env: Env): string | null {
  try {
    return configRoot(env)
  } catch {
    return null
  }
}

function systemRoot(env: Env): string {
  const given = env['OPENSHELL_SYSTEM_GATEWAY_DIR'] ?? ''
  return isAbsolute(given) ? given : SYSTEM_ROOT
}

/**
 * The gateways of this user and of this machine, in the files that the `openshell` command uses too (spec/client.md
 * §4). Entries of the user hide those of the machine; only the user's are ever written. Every method throws a
 * `ClientFailure` when a file is in the way.
 */
export class Registry {
  readonly #env: Env
  readonly #system: string
  /** Null where there is no home, as in containers: nothing of a user's is there, and nothing can be written. */
  readonly #own: string | null

  constructor(env: Env) {
    this.#env = env
    this.#own = ownRoot(env)
    this.#system = systemRoot(env)
  }

  /** The user's root, for writing. */
  get #root(): string {
    return this.#own ?? configRoot(this.#env)
  }

  /** The roots that are looked at, the user's first. */
  #roots(): string[] {
    return this.#own === null ? [this.#system] : [this.#own, this.#system]
  }

  /** The user's directory of a gateway. */
  directory(name: string): string {
    if (!isGatewayName(name)) throw new ClientFailure('failed', `'${name}' cannot name a gateway`)
    return join(this.#root, 'gateways', name)
  }

  /** Where a file of the user's gateway stands, for reading; null = there is no home. */
  #file(name: string, ...file: string[]): string | null {
    return this.#own === null ? null : join(this.directory(name), ...file)
  }

  #read(name: string, file: string): string | null {
    const path = this.#file(name, file)
    return path === null ? null : readSmall(path)
  }

  #metadata(root: string, name: string): string {
    return join(root, 'gateways', name, 'metadata.json')
  }

  /** A gateway by name; null when there is none. A file that cannot be understood is a failure, not an absence. */
  find(name: string): Entry | null {
    if (!isGatewayName(name)) return null
    for (const root of this.#roots()) {
      const source = root === this.#own ? 'user' : 'system'
      const path = this.#metadata(root, name)
      const text = readSmall(path)
      if (text === null) continue
      const read = parseRegistration(text)
      const fault = typeof read === 'string' ? read : read.name === name ? null : 'it names another gateway inside'
      if (fault !== null) throw new ClientFailure('failed', `${path} is no registration of a gateway: ${fault}`)
      return { registration: read as Registration, source }
    }
    return null
  }

  /** Every gateway, by name; what is wrong with files that had to be left out. */
  list(): { readonly entries: readonly Entry[]; readonly problems: readonly string[] } {
    const names = new Set(this.#roots().flatMap(root => namesIn(join(root, 'gateways'))))
    const entries: Entry[] = []
    const problems: string[] = []
    for (const name of [...names].filter(isGatewayName).sort()) {
      try {
        const entry = this.find(name)
        if (entry) entries.push(entry)
      } catch (error) {
        if (!(error instanceof ClientFailure)) throw error
        problems.push(error.message)
      }
    }
    return { entries, problems }
  }

  /** The name of the active gateway: the user's choice, else the machine's; null = none. */
  active(): string | null {
    for (const root of this.#roots()) {
      const name = readSmall(join(root, ACTIVE))?.trim() ?? ''
      if (isGatewayName(name)) return name
    }
    return null
  }

  /** What the user's active file says, for putting it back. */
  ownActive(): string | null {
    return this.#own === null ? null : readSmall(join(this.#own, ACTIVE))
  }

  /** Null takes the choice back. */
  setActive(name: string | null): void {
    const path = join(this.#root, ACTIVE)
    if (name === null) removePath(path)
    else writePrivateInOwn(path, name)
  }

  /** Whether the user has anything kept for a gateway of this name. */
  hasDirectory(name: string): boolean {
    return existsSync(this.directory(name))
  }

  /** Keeps `ca.crt`, `tls.crt` or `tls.key` of a gateway. */
  saveTlsFile(name: string, file: string, text: string): void {
    writePrivateInOwn(join(this.directory(name), 'mtls', file), text)
  }

  save(registration: Registration): void {
    this.directory(registration.name)
    writePrivateInOwn(this.#metadata(this.#root, registration.name), formatRegistration(registration))
  }

  /** Forgets a gateway of this user with its tokens and certificates; false when there was none. */
  remove(name: string): boolean {
    const directory = this.directory(name)
    const isThere = existsSync(directory)
    removePath(directory)
    if (isThere && this.ownActive()?.trim() === name) this.setActive(null)
    return isThere
  }

  /** Where the lock of a gateway's token stands; its directory is made. */
  lockPath(name: string): string {
    makePrivateFolder(this.directory(name))
    return join(this.directory(name), `${TOKEN}.lock`)
  }

  /** Whether a token of this gateway can be stored: not without a home, nor in one that cannot be written. */
  canKeepToken(name: string): boolean {
    try {
      makePrivateFolder(this.directory(name))
      accessSync(this.directory(name), constants.W_OK)
      return true
    } catch {
      return false
    }
  }

  token(name: string): TokenBundle | null {
    const text = this.#read(name, TOKEN)
    return text === null ? null : parseBundle(text)
  }

  /** Also ends the wish for a login that asks who signs in. */
  saveToken(name: string, bundle: TokenBundle): void {
    writePrivateInOwn(join(this.directory(name), TOKEN), formatBundle(bundle))
    removePath(join(this.directory(name), PROMPT_MARKER))
  }

  /** The token of an edge; one kept under its old name moves (spec/client.md §4.6). */
  edgeToken(name: string): string | null {
    const kept = this.#read(name, EDGE_TOKEN)?.trim()
    if (kept !== undefined) return isTokenText(kept) ? kept : null
    const old = this.#read(name, OLD_EDGE_TOKEN)?.trim() ?? ''
    if (!isTokenText(old)) return null
    this.saveEdgeToken(name, old)
    removePath(join(this.directory(name), OLD_EDGE_TOKEN))
    return old
  }

  saveEdgeToken(name: string, token: string): void {
    writePrivateInOwn(join(this.directory(name), EDGE_TOKEN), token)
  }

  /** Whether a file with a token is there, readable or not. */
  hasTokens(name: string): boolean {
    return TOKEN_FILES.some(file => existsSync(join(this.directory(name), file)))
  }

  /** Removes every token of a gateway. */
  forgetTokens(name: string): void {
    for (const file of TOKEN_FILES) removePath(join(this.directory(name), file))
  }

  /** After a logout the next browser login asks who signs in, even when the browser still knows someone. */
  askWhoNext(name: string): void {
    writePrivateInOwn(join(this.directory(name), PROMPT_MARKER), '1\n')
  }

  asksWho(name: string): boolean {
    return existsSync(join(this.directory(name), PROMPT_MARKER))
  }

  /** The TLS files of a gateway, as far as they are there. */
  tlsFiles(name: string): { readonly ca: string | null; readonly cert: string | null; readonly key: string | null } {
    const path = (file: string) => {
      const full = this.#file(name, 'mtls', file)
      return full !== null && existsSync(full) ? full : null
    }
    return { ca: path('ca.crt'), cert: path('tls.crt'), key: path('tls.key') }
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter(item => item.isDirectory() || item.isSymbolicLink())
      .map(item => item.name)
  } catch {
    return []
  }
}
