import { expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseClaimPath, rolesOf } from '../../../src/auth/claims.ts'
import { command as addCommand } from '../../../src/cli/gateway-add.ts'
import { FLAGS } from '../../../src/config/flags.ts'
import { REALM } from '../../../src/dev/realm.ts'

const DEPLOY = join(import.meta.dir, '../../../deploy')

interface Scope {
  readonly name: string
  readonly protocolMappers: readonly {
    readonly protocolMapper: string
    readonly config: Readonly<Record<string, string>>
  }[]
}
interface Client {
  readonly clientId: string
  readonly publicClient: boolean
  readonly secret?: string
  readonly attributes?: Readonly<Record<string, string>>
  readonly defaultClientScopes: readonly string[]
  readonly optionalClientScopes: readonly string[]
}
interface Realm {
  readonly bruteForceProtected: boolean
  readonly roles: { readonly realm: readonly { readonly name: string }[] }
  readonly clientScopes: readonly Scope[]
  readonly clients: readonly Client[]
  readonly users: readonly {
    readonly username: string
    readonly realmRoles: readonly string[]
    readonly credentials: readonly { readonly value: string }[]
  }[]
}

const realm = JSON.parse(readFileSync(join(DEPLOY, 'keycloak/realm.json'), 'utf8')) as Realm
const client = (id: string) => realm.clients.find(each => each.clientId === id)!
const defaultOf = (name: string) => FLAGS.find(flag => flag.name === name)!.default

test('the realm has the users, roles, clients and scopes of the issuer in `dev`', () => {
  const users = realm.users.map(({ username, realmRoles, credentials }) => ({
    name: username,
    password: credentials[0]!.value,
    roles: realmRoles,
  }))
  expect(users).toEqual(REALM.users.map(user => ({ ...user, roles: [...user.roles] })))
  expect(realm.roles.realm.map(role => role.name)).toEqual([
    defaultOf('oidc-admin-role')!,
    defaultOf('oidc-user-role')!,
  ])
  expect(client(REALM.cli.id).optionalClientScopes).toEqual([...REALM.scopes])
  expect(client(REALM.ci.id).secret).toBe(REALM.ci.secret)
  expect(client(REALM.ci.id).defaultClientScopes).toEqual(expect.arrayContaining([...REALM.ci.scopes]))
})

test('tokens of both clients carry the audience that the gateway expects by default', () => {
  const audience = (scope: Scope | undefined) =>
    scope?.protocolMappers.find(mapper => mapper.protocolMapper === 'oidc-audience-mapper')
  for (const { defaultClientScopes } of realm.clients) {
    const mappers = defaultClientScopes
      .map(name => audience(realm.clientScopes.find(scope => scope.name === name)))
      .filter(Boolean)
    expect(mappers.map(mapper => mapper!.config['included.client.audience'])).toEqual([defaultOf('oidc-audience')!])
    expect(mappers[0]!.config['access.token.claim']).toBe('true')
  }
})

test('every scope that a client asks for is there; a public client must use PKCE; guessing passwords is slowed down', () => {
  const names = new Set(realm.clientScopes.map(scope => scope.name))
  for (const { defaultClientScopes, optionalClientScopes } of realm.clients)
    for (const name of [...defaultClientScopes, ...optionalClientScopes]) expect(names).toContain(name)
  expect(client('openshell-cli')).toMatchObject({
    publicClient: true,
    attributes: { 'pkce.code.challenge.method': 'S256' },
  })
  expect(realm.bruteForceProtected).toBe(true)
})

const guide = readFileSync(join(DEPLOY, 'identity-providers.md'), 'utf8')

test('the guide to identity providers names only flags that exist', () => {
  const flags = new Set<string>([...FLAGS, ...addCommand.flags].map(flag => flag.name))
  const named = [...guide.matchAll(/--((?:oidc|callback)-[a-z-]+)/g)].map(match => match[1]!)
  expect(named.length).toBeGreaterThan(20)
  expect(named.filter(name => !flags.has(name))).toEqual([])
})

test('the claim path given for each provider finds the roles in the token shown for it', () => {
  const sections = guide.split(/^## /m).filter(section => section.includes('```json'))
  expect(sections.length).toBe(5)
  for (const section of sections) {
    const claims = JSON.parse(/```json\n([\s\S]+?)```/.exec(section)![1]!)
    const path = parseClaimPath(/^--oidc-roles-claim (\S+)/m.exec(section)?.[1] ?? defaultOf('oidc-roles-claim')!)
    if (!path.ok) throw new Error(path.message)
    const roles = rolesOf(claims, path.path)
    expect(roles.ok && roles.values.join()).toMatch(/openshell-user/)
    const audience = /^--oidc-audience (\S+)/m.exec(section)?.[1] ?? defaultOf('oidc-audience')
    expect([claims.aud].flat()).toContain(audience)
    expect(claims.iss).toBe(/^--oidc-issuer (\S+)/m.exec(section)![1]!)
  }
})
