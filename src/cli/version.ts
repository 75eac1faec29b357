import manifest from '../../package.json' with { type: 'json' }
import { defineGatewayCommand } from './command.ts'

/** Set by the build (`--define`); absent when the source is run. */
declare const OPENSHELL_GATEWAY_VERSION: string | undefined

/** The one version string of `--version`, `Health.version`, `/readyz` and the connect page (spec/gateway.md §1). */
export const VERSION: string =
  typeof OPENSHELL_GATEWAY_VERSION === 'string' ? OPENSHELL_GATEWAY_VERSION : manifest.version

export const PROGRAM = 'openshell-gateway'

/** What `--version` and the command `version` print. */
export const versionLine = (): string => `${PROGRAM} ${VERSION}\n`

export const command = defineGatewayCommand({
  flags: [],
  async run(_values, io) {
    await io.out(versionLine())
    return 0
  },
})
