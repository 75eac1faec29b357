import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { claimAt, parseClaimPath, rolesOf, scopesOf } from '../../../src/auth/claims.ts'
import { findJsonFlaw } from '../../../src/auth/json-scan.ts'

const path = (text: string) => {
  const read = parseClaimPath(text)
  if (!read.ok) throw new Error(read.message)
  return read.path
}
const roles = (claims: Record<string, unknown>, at: string) => rolesOf(claims, path(at))
const scopes = (claims: Record<string, unknown>, at = 'scope') => scopesOf(claims, path(at))
const some = (...values: string[]) => ({ ok: true as const, values })

describe('paths (spec/auth.md §6.5, J-31)', () => {
  test('names joined by dots, or a JSON Pointer for names that hold dots', () => {
    expect(path('realm_access.roles')).toEqual(['realm_access', 'roles'])
    expect(path('/realm_access/roles')).toEqual(['realm_access', 'roles'])
    expect(path('/https:~1~1openshell.test~1roles')).toEqual(['https://openshell.test/roles'])
    expect(path('/a~01')).toEqual(['a~1'])
    expect(path('')).toEqual([''])
  })

  test.each(['a..b', '.a', 'a.', '/a//b', '/a~2', Array(50).fill('a').join('.')])('%p is refused', text => {
    expect(parseClaimPath(text).ok).toBe(false)
  })

  test('only own members of plain objects: no prototype, no length, no index', () => {
    for (const text of ['constructor.name', 'length', '__proto__', 'toString', 'list.0', 'list.length', 'text.length'])
      expect(claimAt({ list: ['x'], text: 'abc' }, path(text))).toBeUndefined()
    expect(claimAt({ a: { 0: { roles: 1 } } }, path('a.0.roles'))).toBe(1)
    expect(claimAt({ '': 5 }, path(''))).toBe(5)
  })

  test('claims with a field of their own are out of reach, the other registered ones are not', () => {
    for (const name of ['sub', 'preferred_username', 'email']) expect(claimAt({ [name]: 'x' }, [name])).toBeUndefined()
    expect(roles({ aud: ['openshell-cli', 'openshell-user'] }, 'aud')).toEqual(some('openshell-cli', 'openshell-user'))
  })
})

describe('roles and scopes (spec/auth.md §9.3)', () => {
  test('roles at the paths of known providers; a missing claim is no role', () => {
    expect(roles({ realm_access: { roles: ['a', 'b'] } }, 'realm_access.roles')).toEqual(some('a', 'b'))
    expect(roles({ roles: ['a'] }, 'roles')).toEqual(some('a'))
    expect(roles({ groups: ['a'] }, 'groups')).toEqual(some('a'))
    expect(roles({}, 'realm_access.roles')).toEqual(some())
    expect(roles({ realm_access: { roles: [1, 'a', null, ['b']] } }, 'realm_access.roles')).toEqual(some('a'))
    expect(roles({ roles: 'a  b' }, 'roles')).toEqual(some('a', 'b'))
  })

  test('scopes keep their order, without the standard ones', () => {
    expect(scopes({ scope: 'openid sandbox:read sandbox:write' })).toEqual(some('sandbox:read', 'sandbox:write'))
    expect(scopes({ scp: ['sandbox:read', 'openid'] }, 'scp')).toEqual(some('sandbox:read'))
    expect(scopes({ scope: 'openid profile email offline_access' })).toEqual(some())
    expect(scopes({})).toEqual(some())
    expect(scopes({ scope: 'openid' })).toEqual(some())
  })

  test('J-30 too many or too long is a refusal, not a cut', () => {
    expect(roles({ roles: Array(1025).fill('a') }, 'roles').ok).toBe(false)
    expect(roles({ roles: ['é'.repeat(129)] }, 'roles').ok).toBe(false)
    expect(roles({ roles: Array(100_000).fill('a') }, 'roles').ok).toBe(false)
  })

  test('J-29 no value of a claim makes reading throw, and only texts come out', () => {
    fc.assert(
      fc.property(
        fc.object({ maxDepth: 4 }),
        fc.array(fc.string(), { minLength: 1, maxLength: 4 }),
        (claims, names) => {
          for (const list of [rolesOf(claims, names), scopesOf(claims, names)])
            if (list.ok) expect(list.values.every(value => typeof value === 'string')).toBe(true)
        },
      ),
      { numRuns: 200 },
    )
  })
})

describe('flaws of a JSON text (J-27, J-42)', () => {
  test.each([
    ['{"a":1,"a":2}', 'duplicate'],
    ['{"a":1,"\\u0061":2}', 'duplicate'],
    ['{"x":{"a":1,"b":[{"c":1,"c":2}]}}', 'duplicate'],
    ['{"a":"\\ud800"}', 'surrogate'],
    ['{"a":{"a":{"a":1}},"b":["a","a"],"c":"a"}', null],
    ['{"a":"{\\"a\\":1,\\"a\\":2}"}', null],
    ['{"a":"\\ud83d\\ude00"}', null],
    [`${'['.repeat(33)}`, 'deep'],
    [`${'['.repeat(32)}${']'.repeat(32)}`, null],
    ['{"a', null],
    ['"\\', null],
    ['}}]],,::', null],
  ] as const)('%p: %p', (text, flaw) => {
    expect(findJsonFlaw(text, 32)).toBe(flaw)
  })

  test('what JSON.stringify writes has no flaw, and a repeated member always has', () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue({ maxDepth: 4 }), { minKeys: 1 }),
        object => {
          const text = JSON.stringify(object)
          expect(findJsonFlaw(text, 32)).toBeNull()
          const name = JSON.stringify(Object.keys(object)[0])
          expect(findJsonFlaw(`${text.slice(0, -1)},${name}:1}`, 32)).toBe('duplicate')
        },
      ),
      { numRuns: 200 },
    )
  })

  test('no text makes the scan throw', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom('{', '}', '[', ']', '"', '\\', ',', ':', 'a', 'u') }),
        text => void findJsonFlaw(text, 8),
      ),
      { numRuns: 300 },
    )
  })
})
