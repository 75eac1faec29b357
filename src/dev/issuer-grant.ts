import type Provider from 'oidc-provider'
import { REALM } from './realm.ts'

/** The gateway as the issuer's one resource server. */
export const RESOURCE = 'urn:openshell:gateway'

/** The scopes of the realm that a space-separated request names. */
export const realmScopes = (requested: string | undefined): string[] =>
  (requested ?? '').split(' ').filter(name => (REALM.scopes as readonly string[]).includes(name))

/** Grants what was asked for: the realm's scopes are all optional scopes of the public client. */
export async function grantAll(
  provider: Provider,
  accountId: string,
  clientId: string,
  scope: string,
): Promise<string> {
  const grant = new provider.Grant({ accountId, clientId })
  const asked = realmScopes(scope).join(' ')
  // The realm's scopes are known to the provider itself too, so they are granted in both places.
  grant.addOIDCScope(`openid offline_access profile email ${asked}`.trimEnd())
  grant.addResourceScope(RESOURCE, asked)
  return grant.save()
}
