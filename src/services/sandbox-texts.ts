/** TABLE of the public texts about sandbox records, watches, logs and providers (decision 13). */
export const SANDBOX_TEXTS = {
  specRequired: 'spec is required',
  nameRequired: 'name is required',
  idRequired: 'id is required',
  sandboxIdRequired: 'sandbox_id is required',
  sandboxNotFound: 'sandbox not found',
  sandboxExistsAtDriver: 'sandbox already exists',
  computeDriverAway: 'compute driver is not available',
  clientGone: 'the client went away',
  streamClosed: 'stream closed',
  draining: 'gateway shutting down',
  tooManyWatches: 'too many watch streams',
  foreignSecret: 'sandbox secret does not belong to this sandbox',
  oneSandboxPerStream: 'sandbox_id must not change within a stream',
  providerRequired: 'provider is required',
  providerNameRequired: 'provider.name is required',
  providerExists: 'provider already exists',
  providerNotFound: 'provider not found',
  noCredentialsDriver: 'no credentials driver is configured',
} as const

/** Texts with a name in them. */
export const sandboxExists = (name: string): string => `sandbox '${name}' already exists`
export const providerMissing = (name: string): string => `provider '${name}' not found`
export const unknownCredential = (key: string, name: string): string =>
  `provider.credentials '${key}' refers to the unknown credential '${name}'`
