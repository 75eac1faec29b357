import type { OidcConfig, SandboxSecretConfig } from '../config/config.ts'

interface Facts {
  readonly oidc: OidcConfig | null
  readonly sandboxSecret: SandboxSecretConfig
  readonly clientCaConfigured: boolean
}

type Rule = readonly [applies: (facts: Facts) => boolean, message: string]

const isRoleless = ({ oidc }: Facts) => oidc !== null && oidc.adminRole === '' && oidc.userRole === ''

/** TABLE ways to run that work but give more away than their owner may think; each is one WARN line at start. */
const CAUTIONS: readonly Rule[] = [
  [
    ({ oidc, clientCaConfigured }) => oidc === null && !clientCaConfigured,
    'no --oidc-issuer and no client certificates: whoever reaches the port may call everything',
  ],
  [
    ({ oidc, clientCaConfigured }) => oidc === null && clientCaConfigured,
    'no --oidc-issuer: any certificate of the client CA, and any caller where certificates are optional, may call everything',
  ],
  [
    facts => isRoleless(facts) && facts.oidc?.scopesClaim === '',
    'role names are empty and scopes are off: any subject of the issuer is an administrator',
  ],
  [
    facts => !isRoleless(facts) && facts.oidc !== null && facts.oidc.adminRole === facts.oidc.userRole,
    'the user role and the admin role are the same: every user is an administrator',
  ],
  [
    ({ oidc, sandboxSecret }) => oidc !== null && sandboxSecret.allowUnauthenticatedSupervisors,
    '--allow-unauthenticated-supervisors: whoever reaches the port may take the control stream of any sandbox',
  ],
]

/** What to warn about at start (A-04, A-05; of spec/auth.md). */
export const cautionsOf = (facts: Facts): string[] =>
  CAUTIONS.flatMap(([applies, message]) => (applies(facts) ? [message] : []))
