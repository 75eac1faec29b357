import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { defaultName, isGatewayName, parseGatewayName } from '../../../src/client/gateway-name.ts'
import { readSmall, writePrivate } from '../../../src/client/private-files.ts'
import {
  authModeOf,
  formatRegistration,
  parseRegistration,
  type Registration,
} from '../../../src/client/registration.ts'
import { configRoot, Registry } from '../../../src/client/registry.ts'
import { formatBundle, parseBundle } from '../../../src/client/token-bundle.ts'

const MINIMAL: Registration = { name: 'g', gateway_endpoint: 'https://h:1', is_remote: true, gateway_port: 0 }

describe('metadata.json', () => {
  test('keys stand in the order of the contract, absent ones are left out, and there is no newline at the end', () => {
    const text = formatRegistration({ oidc_scopes: 'a b', auth_mode: 'oidc', ...MINIMAL, oidc_issuer: 'https://i' })
    expect(text).toBe(`{
  "name": "g",
  "gateway_endpoint": "https://h:1",
  "is_remote": true,
  "gateway_port": 0,
  "auth_mode": "oidc",
  "oidc_issuer": "https://i",
  "oidc_scopes": "a b"
}`)
  })

  test('unknown keys, __proto__ among them, survive reading and writing', () => {
    const text =
      '{"name":"g","gateway_endpoint":"https://h:1","is_remote":true,"gateway_port":0,"__proto__":{"x":1},"z":[1]}'
    expect(JSON.parse(formatRegistration(parseRegistration(text) as Registration))).toEqual(JSON.parse(text))
  })

  test('property: what is written is what is read', () => {
    const optional = fc.option(fc.string(), { nil: undefined })
    const record = fc.record({
      auth_mode: optional,
      oidc_issuer: optional,
      oidc_audience: optional,
      remote_host: optional,
    })
    fc.assert(
      fc.property(
        record,
        fc.string(),
        fc.boolean(),
        fc.integer({ min: 0, max: 65_535 }),
        (extra, name, is_remote, gateway_port) => {
          const given = Object.fromEntries(Object.entries(extra).filter(([, value]) => value !== undefined))
          const registration = { ...MINIMAL, name, is_remote, gateway_port, ...given }
          expect(parseRegistration(formatRegistration(registration))).toEqual(registration)
        },
      ),
    )
  })

  test('older spellings and null values are read', () => {
    const text = JSON.stringify({ ...MINIMAL, cf_team_domain: 't', cf_auth_url: 'u', oidc_issuer: null })
    expect(parseRegistration(text)).toEqual({ ...MINIMAL, edge_team_domain: 't', edge_auth_url: 'u' })
  })

  const BAD: readonly (readonly [string, string])[] = [
    ['', 'it is not JSON'],
    ['[]', 'it is not a JSON object'],
    ['{}', "its key 'name' is missing"],
    [JSON.stringify({ ...MINIMAL, gateway_port: 70_000 }), "its key 'gateway_port' has a wrong type"],
    [JSON.stringify({ ...MINIMAL, gateway_port: 1.5 }), "its key 'gateway_port' has a wrong type"],
    [JSON.stringify({ ...MINIMAL, oidc_scopes: ['a'] }), "its key 'oidc_scopes' has a wrong type"],
  ]
  test.each(BAD)('%p is refused with a reason', (text, reason) => {
    expect(parseRegistration(text)).toBe(reason)
  })

  test.each([
    [{}, 'mtls'],
    [{ gateway_endpoint: 'http://h:1' }, 'plaintext'],
    [{ auth_mode: 'oidc' }, 'oidc'],
    [{ auth_mode: 'later', gateway_endpoint: 'http://h:1' }, 'plaintext'],
  ] as const)('the mode of %p is %s', (extra, mode) => {
    expect(authModeOf({ ...MINIMAL, ...extra })).toBe(mode)
  })
})

describe('oidc_token.json', () => {
  const FULL = { access_token: 'a', refresh_token: 'r', expires_at: 5, issuer: 'https://i', client_id: 'c' }

  test('five keys in their order, absent ones left out', () => {
    expect(formatBundle(FULL)).toBe(JSON.stringify(FULL, null, 2))
    const { refresh_token: _r, expires_at: _e, ...least } = FULL
    expect(formatBundle(least)).toBe(JSON.stringify(least, null, 2))
    expect(parseBundle(formatBundle(least))).toEqual(least)
  })

  test.each([
    ['a float', { ...FULL, expires_at: 1.5 }],
    ['a negative time', { ...FULL, expires_at: -1 }],
    ['an empty token', { ...FULL, access_token: '' }],
    ['no issuer', { ...FULL, issuer: undefined }],
    ['a number as refresh token', { ...FULL, refresh_token: 3 }],
  ])('%s makes it no token', (_what, value) => {
    expect(parseBundle(JSON.stringify(value))).toBeNull()
  })

  test('what is no JSON is no token', () => {
    for (const text of ['', 'null', '[', '"x"']) expect(parseBundle(text)).toBeNull()
  })
})

describe('names', () => {
  test('property: a name that is accepted is one path component', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'ab./\\-_ \u0000é:'.split('')) }), text => {
        if (isGatewayName(text)) expect(join('/r', text)).toBe(`/r/${text}`)
      }),
    )
  })

  test.each(['', '.', '..', '../x', 'a/b', '/abs', 'a b', 'é', 'a\u0000', 'x'.repeat(254)])('%p is refused', text => {
    expect(() => parseGatewayName(text)).toThrow('cannot name a gateway')
  })

  test.each([
    ['https://gw.example:8080', 'gw.example'],
    ['http://127.0.0.1:8080', 'openshell'],
    ['http://localhost:1', 'openshell'],
    ['http://[::1]:1', 'openshell'],
    ['https://[2001:db8::1]:1', '2001_db8__1'],
  ])('%s is called %s', (url, name) => {
    expect(defaultName(new URL(url))).toBe(name)
  })
})

describe('the registry', () => {
  let dir: string
  let registry: Registry
  const env = () => ({ HOME: dir, OPENSHELL_SYSTEM_GATEWAY_DIR: join(dir, 'etc') })
  const user = (...parts: string[]) => join(dir, '.config/openshell', ...parts)
  const put = (path: string, text: string) => {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
  const register = (root: string, name: string, extra: object = {}) =>
    put(join(root, 'gateways', name, 'metadata.json'), JSON.stringify({ ...MINIMAL, name, ...extra }))

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'registry-'))
    registry = new Registry(env())
  })
  afterEach(() => rmSync(dir, { recursive: true, force: true }))

  test('the root follows XDG_CONFIG_HOME; empty and relative values count as unset', () => {
    expect(configRoot({ XDG_CONFIG_HOME: '/x', HOME: '/h' })).toBe('/x/openshell')
    for (const value of ['', 'relative'])
      expect(configRoot({ XDG_CONFIG_HOME: value, HOME: '/h' })).toBe('/h/.config/openshell')
    expect(() => configRoot({})).toThrow('HOME is not set')
  })

  test('without a home nothing is found and nothing is written', () => {
    const homeless = new Registry({ OPENSHELL_SYSTEM_GATEWAY_DIR: join(dir, 'etc') })
    expect([homeless.active(), homeless.find('g'), homeless.token('g'), homeless.list().entries]).toEqual([
      null,
      null,
      null,
      [],
    ])
    expect(() => homeless.setActive('g')).toThrow('HOME is not set')
  })

  test('entries of the user hide those of the machine, broken ones too; an empty directory hides nothing', () => {
    for (const name of ['a', 'b', 'c']) register(join(dir, 'etc'), name)
    register(user(), 'a', { gateway_endpoint: 'https://mine:1' })
    put(user('gateways', 'b', 'metadata.json'), 'broken')
    mkdirSync(user('gateways', 'c'), { recursive: true })
    expect(registry.find('a')?.registration.gateway_endpoint).toBe('https://mine:1')
    expect(() => registry.find('b')).toThrow('is no registration of a gateway')
    expect(registry.find('c')?.source).toBe('system')
    const { entries, problems } = registry.list()
    expect(entries.map(entry => entry.registration.name)).toEqual(['a', 'c'])
    expect(problems).toHaveLength(1)
  })

  test('an active name that cannot be one falls back to that of the machine', () => {
    put(join(dir, 'etc', 'active_gateway'), 'sys\n')
    expect(registry.active()).toBe('sys')
    put(user('active_gateway'), '../x')
    expect(registry.active()).toBe('sys')
    put(user('active_gateway'), ' mine \n')
    expect(registry.active()).toBe('mine')
  })

  test('an entry that calls itself something else inside is refused', () => {
    put(user('gateways', 'a', 'metadata.json'), JSON.stringify({ ...MINIMAL, name: '../../b' }))
    expect(() => registry.find('a')).toThrow('names another gateway inside')
  })

  test('removing takes everything of a gateway, and its being active', () => {
    registry.save(MINIMAL)
    registry.saveToken('g', { access_token: 'a', issuer: 'i', client_id: 'c' })
    registry.saveTlsFile('g', 'tls.key', 'k')
    registry.setActive('g')
    expect(registry.remove('g')).toBe(true)
    expect([existsSync(user('gateways', 'g')), registry.active()]).toEqual([false, null])
    expect(registry.remove('g')).toBe(false)
  })

  test('a token of an edge under its old name moves to the new one', () => {
    put(user('gateways', 'g', 'cf_token'), ' jwt \n')
    expect(registry.edgeToken('g')).toBe('jwt')
    expect(readFileSync(user('gateways', 'g', 'edge_token'), 'utf8')).toBe('jwt')
    expect(existsSync(user('gateways', 'g', 'cf_token'))).toBe(false)
  })

  test('storing a token ends the wish for a login that asks who signs in', () => {
    registry.askWhoNext('g')
    expect([registry.asksWho('g'), readFileSync(user('gateways', 'g', 'oidc_login_prompt_required'), 'utf8')]).toEqual([
      true,
      '1\n',
    ])
    registry.saveToken('g', { access_token: 'a', issuer: 'i', client_id: 'c' })
    expect(registry.asksWho('g')).toBe(false)
  })

  test('P-11 files are 0600 and their directory 0700 even where it was open', () => {
    mkdirSync(user('gateways', 'g'), { recursive: true })
    chmodSync(user('gateways', 'g'), 0o777)
    registry.saveToken('g', { access_token: 'a', issuer: 'i', client_id: 'c' })
    expect(statSync(user('gateways', 'g')).mode & 0o777).toBe(0o700)
    expect(statSync(user('gateways', 'g', 'oidc_token.json')).mode & 0o777).toBe(0o600)
  })

  test('P-12 a planted link is replaced, not followed; a failed write leaves no draft', () => {
    put(join(dir, 'victim'), 'untouched')
    mkdirSync(user('gateways', 'g'), { recursive: true })
    symlinkSync(join(dir, 'victim'), user('gateways', 'g', 'edge_token'))
    registry.saveEdgeToken('g', 'jwt')
    expect(readFileSync(join(dir, 'victim'), 'utf8')).toBe('untouched')
    mkdirSync(join(dir, 'taken', 'child'), { recursive: true })
    expect(() => writePrivate(join(dir, 'taken'), 'x')).toThrow('cannot be written')
    expect(readdirSync(dir).filter(name => name.endsWith('.tmp'))).toEqual([])
  })

  test('only small regular files are read', () => {
    put(join(dir, 'big'), 'x'.repeat(300_000))
    expect(() => readSmall(join(dir, 'big'))).toThrow('is larger than')
    expect(() => readSmall(dir)).toThrow('is not a regular file')
    expect(readSmall(join(dir, 'none'))).toBeNull()
    expect(readSmall(join(dir, 'big', 'below'))).toBeNull()
  })
})
