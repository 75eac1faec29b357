/**
 * TABLE: who may sign in to `openshell-gateway dev`: the users, clients, roles and scopes of the development realm
 * (spec/deploy.md §8.2). These passwords are public knowledge; the issuer listens on loopback only (decision 7).
 */
export const REALM = {
  audience: 'openshell-cli',
  accessTokenSecs: 300,
  refreshTokenSecs: 1800,
  users: [
    { name: 'admin@test', password: 'admin', roles: ['openshell-admin', 'openshell-user'] },
    { name: 'user@test', password: 'user', roles: ['openshell-user'] },
  ],
  /** Roles of a service account. */
  defaultRoles: ['openshell-user'],
  scopes: [
    'sandbox:read',
    'sandbox:write',
    'provider:read',
    'provider:write',
    'config:read',
    'config:write',
    'inference:read',
    'inference:write',
    'openshell:all',
  ],
  cli: { id: 'openshell-cli' },
  ci: { id: 'openshell-ci', secret: 'ci-test-secret', scopes: ['openshell:all'] },
} as const

export type RealmUser = (typeof REALM.users)[number]

export const findUser = (name: string): RealmUser | undefined => REALM.users.find(user => user.name === name)
