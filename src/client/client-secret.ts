import { readSecretFile } from '../config/secret-file.ts'
import { ClientFailure } from './failure.ts'

const SECRET = 'OPENSHELL_OIDC_CLIENT_SECRET'
const SECRET_FILE = `${SECRET}_FILE`

/**
 * The secret by which a service signs in (spec/client.md §8): a variable, or the file that another one names; null =
 * there is none. Empty counts as unset. Throws a `ClientFailure` for a file that cannot be used.
 */
export function clientSecretFrom(env: Readonly<Record<string, string | undefined>>): string | null {
  const [secret, path] = [env[SECRET], env[SECRET_FILE]]
  if (secret || !path) return secret || null
  const read = readSecretFile(path)
  if (!read.ok) throw new ClientFailure('failed', `${SECRET_FILE}: ${path} ${read.reason}`)
  if (read.secret === '') throw new ClientFailure('failed', `${SECRET_FILE}: ${path} is empty`)
  return read.secret
}
