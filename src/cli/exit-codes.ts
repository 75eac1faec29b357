import { CLIENT_EXITS } from '../client/failure.ts'

/** What one exit code means; null = it does not happen there. */
export interface ExitCode {
  readonly code: number
  /** Of `serve`, `dev`, `local-driver`, `install` and the other commands that ask no gateway. */
  readonly gateway: string | null
  /** Of the commands that ask a gateway or an issuer. */
  readonly client: string | null
}

/** TABLE Exit codes of the gateway itself (design.md §5). */
const GATEWAY_EXITS: ReadonlyMap<number, string> = new Map([
  [0, 'Ended as asked'],
  [1, 'Could not start; standard error says why'],
  [2, 'The command line cannot work'],
  [70, 'Crashed; one line of JSON on standard error says where'],
  [130, 'Interrupted a second time while ending'],
])

/** What `exec` has of its own beside the codes of its command (spec/gateway.md, ExecSandbox). */
const TIMED_OUT = { code: 124, meaning: 'The command of exec --timeout took too long' }

const CLIENT_MEANINGS: ReadonlyMap<number, string> = new Map([
  [0, 'Done'],
  ...Object.values(CLIENT_EXITS).map(({ code, meaning }) => [code, meaning] as const),
  [70, GATEWAY_EXITS.get(70)!],
  [TIMED_OUT.code, TIMED_OUT.meaning],
])

/** Every exit code of the executable in order; `exec` ends with that of its command beside these. */
export const EXIT_CODES: readonly ExitCode[] = [...new Set([...GATEWAY_EXITS.keys(), ...CLIENT_MEANINGS.keys()])]
  .sort((a, b) => a - b)
  .map(code => ({ code, gateway: GATEWAY_EXITS.get(code) ?? null, client: CLIENT_MEANINGS.get(code) ?? null }))
