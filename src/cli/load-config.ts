import { parseClaimPath } from '../auth/claims.ts'
import { StartError } from '../base/errors.ts'
import { type Config, type ConfigOutcome, parseConfig } from '../config/config.ts'
import type { FlagName } from '../config/flags.ts'
import { exitCodeOf, formatUsageProblems, formatViolations } from '../config/problems.ts'
import { type Environment, type RawValues, readConfig } from '../config/read.ts'
import { readSecretFile, type SecretFile } from '../config/secret-file.ts'
import { refuseSocketPath } from '../drivers/socket-path.ts'
import { parseStoreUrl } from '../store/url.ts'

/** What a command line asks for. */
export type LoadedConfig =
  | { readonly kind: 'config'; readonly config: Config; readonly warnings: readonly string[] }
  | { readonly kind: 'help'; readonly long: boolean }
  | { readonly kind: 'version' }
  /** `text` is ready for stderr: every fault at once, then the warnings that may explain it. */
  | { readonly kind: 'refused'; readonly text: string; readonly exitCode: 1 | 2 }

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

const warningLines = (warnings: readonly string[]): string => warnings.map(line => `warning: ${line}\n`).join('')

/** Judges read values by every rule, those of other folders included. Shared by all commands that start a gateway. */
export function judgeConfig(raw: RawValues<FlagName>, secretFile: SecretFile | null): ConfigOutcome {
  const outcome = parseConfig(raw, {
    refuseStoreUrl,
    refuseSocketPath,
    refuseClaimPath,
    handshakeSecretFile: secretFile?.ok ? secretFile.secret : null,
  })
  return { ...outcome, warnings: [...outcome.warnings, ...(secretFile?.ok ? secretFile.warnings : [])] }
}

/** The secret file that counts; the secret itself on the command line beats a variable that names a file. */
function secretFileOf(raw: RawValues<FlagName>): SecretFile | null {
  const path = raw.optional('ssh-handshake-secret-file')
  const beaten = raw.source('ssh-handshake-secret') === 'flag' && raw.source('ssh-handshake-secret-file') === 'variable'
  return path === null || beaten ? null : readSecretFile(path)
}

/** Reads command line, environment and secret file into a configuration. Prints nothing. */
export function loadConfig(argv: readonly string[], env?: Environment): LoadedConfig {
  const read = readConfig(argv, env)
  if (read.kind === 'refused')
    return { kind: 'refused', text: formatUsageProblems(read.problems) + warningLines(read.warnings), exitCode: 2 }
  if (read.kind !== 'values') return read
  const secretFile = secretFileOf(read.values)
  if (secretFile && !secretFile.ok) {
    const text = `configuration error: --ssh-handshake-secret-file ${secretFile.reason}`
    return { kind: 'refused', text: formatViolations([{ exit: 1, text }]), exitCode: 1 }
  }
  const outcome = judgeConfig(read.values, secretFile)
  if (outcome.ok) return { kind: 'config', config: outcome.config, warnings: outcome.warnings }
  const text = formatViolations(outcome.violations) + warningLines(outcome.warnings)
  return { kind: 'refused', text, exitCode: exitCodeOf(outcome.violations) }
}
