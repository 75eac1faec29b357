import { parseClaimPath } from '../auth/claims.ts'
import { StartError } from '../base/errors.ts'
import { type Config, parseConfig } from '../config/config.ts'
import type { FlagName } from '../config/flags.ts'
import { exitCodeOf, formatViolations, printable, type Violation } from '../config/problems.ts'
import type { RawValues } from '../config/read.ts'
import { readSecretFile, type SecretFile } from '../config/secret-file.ts'
import { refuseSocketPath } from '../drivers/socket-path.ts'
import { parseStoreUrl } from '../store/url.ts'

/** A configuration, or the text for stderr that names every fault in it and the warnings that may explain them. */
export type JudgedConfig =
  | { readonly ok: true; readonly config: Config; readonly warnings: readonly string[] }
  | { readonly ok: false; readonly text: string; readonly exitCode: 1 | 2 }

/** The store's own reading of a database URL, as a sentence. */
function refuseStoreUrl(url: string): string | null {
  try {
    parseStoreUrl(url)
    return null
  } catch (error) {
    if (error instanceof StartError) return error.message
    throw error
  }
}

function refuseClaimPath(path: string): string | null {
  const parsed = parseClaimPath(path)
  return parsed.ok ? null : parsed.message
}

const SECRET_FILE = 'ssh-handshake-secret-file'

/** The secret file that counts; the secret itself on the command line beats a variable that names a file. */
function secretFileOf(raw: RawValues<FlagName>): SecretFile | null {
  const path = raw.optional(SECRET_FILE)
  const beaten = raw.source('ssh-handshake-secret') === 'flag' && raw.source(SECRET_FILE) === 'variable'
  return path === null || beaten ? null : readSecretFile(path)
}

function refusal(violations: readonly Violation[], warnings: readonly string[]): JudgedConfig {
  const text = formatViolations(violations) + warnings.map(line => `warning: ${line}\n`).join('')
  return { ok: false, text, exitCode: exitCodeOf(violations) }
}

/**
 * Judges read values by every rule, those that other folders own included; reads the secret file. Prints nothing.
 * Shared by all commands that start a gateway.
 */
export function configFrom(raw: RawValues<FlagName>): JudgedConfig {
  const secretFile = secretFileOf(raw)
  if (secretFile && !secretFile.ok)
    return refusal(
      [
        {
          exit: 1,
          text: `configuration error: --${SECRET_FILE}: '${printable(raw.text(SECRET_FILE))}' ${secretFile.reason}`,
        },
      ],
      raw.warnings,
    )
  const outcome = parseConfig(raw, {
    refuseStoreUrl,
    refuseSocketPath,
    refuseClaimPath,
    handshakeSecretFile: secretFile?.secret ?? null,
  })
  if (!outcome.ok) return refusal(outcome.violations, outcome.warnings)
  return { ok: true, config: outcome.config, warnings: [...outcome.warnings, ...(secretFile?.warnings ?? [])] }
}
