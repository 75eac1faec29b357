import { ClientFailure } from './failure.ts'
import { isLoopback } from './issuer-http.ts'

/** The name that every fall-back of the `openshell` command resolves to (spec/client.md §15.1). */
export const LOCAL_NAME = 'openshell'

const NAME = /^[A-Za-z0-9._-]{1,253}$/

/** Whether a text may name a gateway: one path component of letters, digits, dots, dashes and underscores. */
export const isGatewayName = (text: string): boolean => NAME.test(text) && text !== '.' && text !== '..'

/** A name given by a person. Throws a `ClientFailure`. */
export function parseGatewayName(text: string): string {
  if (!isGatewayName(text))
    throw new ClientFailure('usage', `'${text}' cannot name a gateway: use letters, digits, '.', '-' and '_'`)
  return text
}

/** The name of a gateway that was given none: `openshell` on this machine, else its host, colons of IPv6 replaced. */
export const defaultName = (endpoint: URL): string =>
  isLoopback(endpoint) ? LOCAL_NAME : endpoint.hostname.replace(/^\[|\]$/g, '').replaceAll(/[^A-Za-z0-9._-]/g, '_')
