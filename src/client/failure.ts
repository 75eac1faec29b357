/**
 * TABLE How a client command ends when it cannot do what was asked, beside 0, 2 (wrong command line), 70 and 130 of
 * design.md §5. A script can tell "sign in again" from "try again later" by the number alone.
 */
export const CLIENT_EXITS = {
  failed: { code: 1, meaning: 'The gateway or the issuer said no, or something local is in the way' },
  usage: { code: 2, meaning: 'The command line, or the JSON given to it, cannot work' },
  'sign-in': { code: 3, meaning: 'No usable token: run `openshell-gateway gateway login`' },
  issuer: { code: 4, meaning: 'The issuer cannot be reached or does not answer as an issuer does; try again later' },
  unreachable: { code: 5, meaning: 'The gateway cannot be reached, or is not available now; try again later' },
  unfinished: { code: 6, meaning: 'The sign-in was refused, given up or ran out of time' },
} as const

export type ClientFailureKind = keyof typeof CLIENT_EXITS

/** Ends a client command with one sentence; `CLIENT_EXITS` has the exit code. */
export class ClientFailure extends Error {
  override readonly name = 'ClientFailure'
  readonly kind: ClientFailureKind

  constructor(kind: ClientFailureKind, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.kind = kind
  }

  get exitCode(): number {
    return CLIENT_EXITS[this.kind].code
  }
}
