/** Metadata that proves who calls. */
export type ProofHeaders = Readonly<Record<string, string>>

/** How a client proves who it is on each call: the metadata it adds. */
export interface Credential {
  /** Metadata for the next call; renews what is about to end. Rejects with a `ClientFailure` rather than hand out an expired token. */
  headers(): Promise<ProofHeaders>
  /** After UNAUTHENTICATED: metadata from a fresh token, or null when there is no way to get one. */
  renewed(): Promise<ProofHeaders | null>
}

/** No proof but the client certificate, if there is one. */
export const ANONYMOUS: Credential = { headers: async () => ({}), renewed: async () => null }

/** Metadata that stays as it is. */
const fixed = (headers: ProofHeaders): Credential => ({ headers: async () => headers, renewed: async () => null })

/** A token that was handed over and cannot be renewed. */
export const fixedBearer = (token: string): Credential => fixed({ authorization: `Bearer ${token}` })

/** The token of an edge in front of the gateway (spec/client.md §10.2). */
export const edgeBearer = (token: string): Credential =>
  fixed({ 'cf-access-jwt-assertion': token, cookie: `CF_Authorization=${token}` })
