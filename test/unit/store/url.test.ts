import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { StartError } from '../../../src/base/errors.ts'
import { parseStoreUrl, redactStoreUrl } from '../../../src/store/url.ts'

const said = (url: string): string => {
  try {
    return JSON.stringify(parseStoreUrl(url))
  } catch (error) {
    if (!(error instanceof StartError) || error.exitCode !== 1) throw error
    return error.message
  }
}
const file = (path: string, more: object = {}) => ({
  kind: 'file',
  path,
  readOnly: false,
  immutable: false,
  vfs: null,
  ...more,
})

describe('database URL (spec/storage.md §1)', () => {
  test.each([
    ['sqlite:rel.db', file('rel.db')],
    ['sqlite://rel.db', file('rel.db')],
    ['sqlite:./rel.db', file('./rel.db')],
    ['sqlite:/abs/x.db', file('/abs/x.db')],
    ['sqlite:///abs/x.db', file('/abs/x.db')],
    ['  sqlite:rel.db\n', file('rel.db')],
    ['sqlite:/a%20b%3Fc.db', file('/a b?c.db')],
    ['sqlite:/100%.db', file('/100%.db')],
    ['sqlite:/%C3%A4.db', file('/ä.db')],
    ['sqlite:x.db?mode=rwc', file('x.db')],
    ['sqlite:x.db?mode=rw&cache=private', file('x.db')],
    ['sqlite:x.db?cache=shared', file('x.db')],
    ['sqlite:x.db?mode=ro', file('x.db', { readOnly: true })],
    ['sqlite:x.db?immutable=1', file('x.db', { readOnly: true, immutable: true })],
    ['sqlite:x.db?immutable=false', file('x.db')],
    ['sqlite:x.db?vfs=unix', file('x.db', { vfs: 'unix' })],
    ['sqlite::memory:', { kind: 'memory' }],
    ['sqlite://:memory:', { kind: 'memory' }],
    ['sqlite::memory:?cache=shared', { kind: 'memory' }],
    ['sqlite://?mode=memory', { kind: 'memory' }],
    ['sqlite://x.db?mode=memory', { kind: 'memory' }],
  ])('%j', (url, expected) => {
    expect(parseStoreUrl(url)).toEqual(expected as ReturnType<typeof parseStoreUrl>)
  })

  const config = 'execution error: database error: error with configuration: '
  test.each([
    ['', 'configuration error: database_url is required'],
    ['  ', 'configuration error: database_url is required'],
    ['x', 'configuration error: unsupported database URL scheme: x'],
    ['SQLITE::memory:', 'configuration error: unsupported database URL scheme: SQLITE::memory:'],
    ['sqlite3:x.db', 'configuration error: unsupported database URL scheme: sqlite3:x.db'],
    ['postgres:h', 'configuration error: unsupported database URL scheme: postgres:h'],
    ['mysql://h/d', 'configuration error: unsupported database URL scheme: mysql://h/d'],
    [
      'mysql://user:secret@h/d?password=secret',
      'configuration error: unsupported database URL scheme: mysql://***@h/d?password=…',
    ],
    ['sqlite:x.db?mode=bogus', `${config}unknown value "bogus" for \`mode\``],
    ['sqlite:x.db?mode=', `${config}unknown value "" for \`mode\``],
    ['sqlite:x.db?cache=x', `${config}unknown value "x" for \`cache\``],
    ['sqlite:x.db?immutable=2', `${config}unknown value "2" for \`immutable\``],
    ['sqlite:x.db?foo=1', `${config}unknown query parameter \`foo\` while parsing connection URL`],
    ['sqlite:x.db?constructor=1', `${config}unknown query parameter \`constructor\` while parsing connection URL`],
    ['postgres://u:p@h:port/d', `${config}invalid port number`],
    ['postgres://u:p@h:0/d', `${config}invalid port number`],
    ['postgres://u:p@h/d?sslmode=secret', `${config}unknown value "secret" for \`ssl_mode\``],
  ])('%j is refused', (url, text) => {
    expect(said(url)).toBe(text)
  })

  test.each(['sqlite:', 'sqlite://', 'sqlite:?mode=rwc', 'sqlite:/x%00.db', 'sqlite:/%ff.db'])(
    '%j names no usable file (W23)',
    url => {
      expect(said(url)).toStartWith(config)
    },
  )

  test.each([
    ['postgres://h/d', { host: 'h', port: 5432, user: null, password: null, database: 'd', sslMode: 'prefer' }],
    ['postgresql://u:p%40ss@h:6000/d%20x', { host: 'h', port: 6000, user: 'u', password: 'p@ss', database: 'd x' }],
    ['postgres://u@%2Frun%2Fpg:6000/d', { host: '/run/pg', port: 6000, user: 'u' }],
    ['postgres://u@[::1]:6000/d', { host: '::1', port: 6000 }],
    ['postgres://', { host: 'localhost', user: null, database: null }],
    ['postgres://h/d?sslmode=verify-full&sslrootcert=/ca.pem', { sslMode: 'verify-full', sslRootCert: '/ca.pem' }],
    [
      'postgres://u:p@h/d?host=/run/pg&user=v&password=q&dbname=e&port=7',
      { host: '/run/pg', user: 'v', password: 'q', database: 'e', port: 7 },
    ],
    ['postgres://h/d?statement-cache-capacity=7', { ignored: ['statement-cache-capacity'] }],
  ])('%j', (url, expected) => {
    expect(parseStoreUrl(url)).toMatchObject(expected)
  })

  test('no text shows user, password or query values (W15)', () => {
    const secret = fc.stringMatching(/^[A-Za-z0-9:%!]{8,20}$/).map(word => `hush${word}hush`)
    const scheme = fc.constantFrom('mysql://', 'Postgres://', 'postgres:', 'redis://', '', 'mysql:')
    fc.assert(
      fc.property(scheme, secret, secret, (start, user, password) => {
        for (const url of [
          `${start}${user}:${password}@h/d`,
          `${start}h/d?password=${password}`,
          `${start}${user}@h`,
        ]) {
          expect(redactStoreUrl(url)).not.toContain('hush')
          expect(said(url)).not.toContain('hush')
        }
      }),
      { numRuns: 50 },
    )
  })
})
