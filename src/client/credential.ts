/** How a client proves who it is on each call: the metadata it adds. */
export interface Credential {
  /** Metadata for the next call; renews what is about to end. Rejects with a `ClientFailure` rather than hand out an expired token. */
  headers(): Promise<Readonly<Record<string, string>>>
  /** After UNAUTHENTICATED: metadata from a fresh token, or null when there is no way to get one. */
  renewed(): Promise<Readonly<Record<string, string>> | null>
}

/** No proof but the client certificate, if there is one. */
export const ANONYMOUS: Credential = { headers: async () => ({}), renewed: async () => null }

/** A token that was handed over and cannot be renewed. */
export const fixedBearer = (token: string): Credential => ({
  headers: async () => ({ authorization: `Bearer ${token}` }),
  renewed: async () => null,
})
