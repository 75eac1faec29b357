import { StartError } from '../base/errors.ts'

/** A database URL, taken apart (spec/storage.md §1). */
export type StoreTarget = SqliteFileTarget | { readonly kind: 'memory' } | PostgresTarget

export interface SqliteFileTarget {
  readonly kind: 'file'
  /** As given: relative to the working directory, or absolute; percent-decoded. */
  readonly path: string
  /** `mode=ro` or `immutable=1`: opened and read, every write fails. */
  readonly readOnly: boolean
  readonly immutable: boolean
  /** SQLite's operating-system layer by name; null = its default. */
  readonly vfs: string | null
}

export const SSL_MODES = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const

export interface PostgresTarget {
  readonly kind: 'postgres'
  /** Host name or address, or the directory of a Unix socket when it starts with `/`. */
  readonly host: string
  readonly port: number
  readonly user: string | null
  readonly password: string | null
  readonly database: string | null
  readonly sslMode: (typeof SSL_MODES)[number]
  /** PEM files; null = not given. */
  readonly sslRootCert: string | null
  readonly sslCert: string | null
  readonly sslKey: string | null
  readonly applicationName: string | null
  /** Parameters that were given and have no effect here. */
  readonly ignored: readonly string[]
}

/** Takes a database URL apart; throws `StartError` with the texts of spec/storage.md §1. No text holds a user or password (W15). */
export function parseStoreUrl(text: string): StoreTarget {
  const url = text.trim()
  if (url === '') throw new StartError('configuration error: database_url is required')
  if (url.startsWith('sqlite:')) return parseSqlite(url)
  const postgres = /^postgres(?:ql)?:\/\/(.*)$/s.exec(url)
  if (postgres) return parsePostgres(postgres[1]!)
  throw new StartError(`configuration error: unsupported database URL scheme: ${redactStoreUrl(url)}`)
}

/** The URL without user, password and query values, for logs and errors (W15). */
export function redactStoreUrl(url: string): string {
  const trimmed = url.trim()
  const query = trimmed.indexOf('?')
  const head = query < 0 ? trimmed : trimmed.slice(0, query)
  const names = query < 0 ? [] : [...new URLSearchParams(trimmed.slice(query + 1)).keys()]
  const at = head.lastIndexOf('@')
  const scheme = /^[A-Za-z][A-Za-z0-9+.-]*:\/\//.exec(head)?.[0] ?? ''
  const shown = at < 0 || head.startsWith('sqlite:') ? head : `${scheme.length <= at ? scheme : ''}***${head.slice(at)}`
  return names.length === 0 ? shown : `${shown}?${names.map(name => `${name}=…`).join('&')}`
}

const misconfigured = (text: string) =>
  new StartError(`execution error: database error: error with configuration: ${text}`)

const BOOLEANS: Readonly<Record<string, boolean>> = { true: true, '1': true, false: false, '0': false }

/** The parameters of a SQLite URL and their values; anything else is refused. */
const SQLITE_VALUES: Readonly<Record<string, (value: string) => boolean>> = {
  mode: value => ['ro', 'rw', 'rwc', 'memory'].includes(value),
  cache: value => ['private', 'shared'].includes(value),
  immutable: value => Object.hasOwn(BOOLEANS, value),
  vfs: () => true,
}

function parseSqlite(url: string): StoreTarget {
  const rest = url.slice('sqlite:'.length).replace(/^\/\//, '')
  const mark = rest.indexOf('?')
  const values = new Map(new URLSearchParams(mark < 0 ? '' : rest.slice(mark + 1)))
  for (const [name, value] of values) {
    if (!Object.hasOwn(SQLITE_VALUES, name))
      throw misconfigured(`unknown query parameter \`${name}\` while parsing connection URL`)
    if (!SQLITE_VALUES[name]!(value)) throw misconfigured(`unknown value ${JSON.stringify(value)} for \`${name}\``)
  }
  const path = percentDecode(mark < 0 ? rest : rest.slice(0, mark))
  if (url.includes(':memory:') || values.get('mode') === 'memory') return { kind: 'memory' }
  if (path === '') throw misconfigured('the database URL names no file (sqlite:/path/to/file.db, or sqlite::memory:)')
  if (path.includes('\0')) throw misconfigured('the database path holds a NUL character')
  const immutable = BOOLEANS[values.get('immutable') ?? 'false'] === true
  return {
    kind: 'file',
    path,
    readOnly: immutable || values.get('mode') === 'ro',
    immutable,
    vfs: values.get('vfs') ?? null,
  }
}

/** Decodes `%XX` as UTF-8; a `%` without two hexadecimal digits stands for itself. */
function percentDecode(text: string): string {
  const bytes = Buffer.from(text, 'utf8')
    .toString('latin1')
    .replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(bytes, 'latin1'))
  } catch (cause) {
    throw new StartError(
      'execution error: database error: error with configuration: the database URL is not UTF-8',
      1,
      { cause },
    )
  }
}

const POSTGRES_PARAMETERS = new Set([
  ...['sslmode', 'ssl-mode', 'sslrootcert', 'ssl-root-cert', 'ssl-ca', 'sslcert', 'ssl-cert', 'sslkey', 'ssl-key'],
  ...['host', 'hostaddr', 'port', 'dbname', 'user', 'password', 'application_name'],
])

function parsePostgres(rest: string): PostgresTarget {
  const parts = /^(?:([^/?]*)@)?(\[[^\]]*\]|[^:/?]*)(?::([^/?]*))?(?:\/([^?]*))?(?:\?(.*))?$/s.exec(rest)
  if (!parts) throw misconfigured('invalid PostgreSQL URL')
  const [, userinfo, host = '', port, database, query = ''] = parts
  const given = new URLSearchParams(query)
  const value = (...names: string[]) => names.map(name => given.get(name)).find(text => text !== null) ?? null
  const colon = userinfo?.indexOf(':') ?? -1
  const user = userinfo === undefined ? '' : colon < 0 ? userinfo : userinfo.slice(0, colon)
  const password = userinfo === undefined || colon < 0 ? null : percentDecode(userinfo.slice(colon + 1))
  return {
    kind: 'postgres',
    host: value('host', 'hostaddr') ?? (percentDecode(host.replace(/^\[|\]$/g, '')) || 'localhost'),
    port: parsePort(value('port') ?? port ?? ''),
    user: value('user') ?? (percentDecode(user) || null),
    password: value('password') ?? password,
    database: value('dbname') ?? (percentDecode(database ?? '') || null),
    sslMode: parseSslMode(value('sslmode', 'ssl-mode') ?? 'prefer'),
    sslRootCert: value('sslrootcert', 'ssl-root-cert', 'ssl-ca'),
    sslCert: value('sslcert', 'ssl-cert'),
    sslKey: value('sslkey', 'ssl-key'),
    applicationName: value('application_name'),
    ignored: [...new Set(given.keys())].filter(name => !POSTGRES_PARAMETERS.has(name)),
  }
}

function parsePort(text: string): number {
  if (text === '') return 5432
  if (!/^\d{1,5}$/.test(text) || Number(text) < 1 || Number(text) > 65_535) throw misconfigured('invalid port number')
  return Number(text)
}

function parseSslMode(text: string): PostgresTarget['sslMode'] {
  const mode = SSL_MODES.find(known => known === text)
  if (!mode) throw misconfigured(`unknown value ${JSON.stringify(text)} for \`ssl_mode\``)
  return mode
}
