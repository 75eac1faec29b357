import { type ErrorKind, errorText } from '../base/errors.ts'
import { DriverError } from '../drivers/contract.ts'

/** The driver's own words, which spec/sandbox.md §16 lets clients see; nothing of any other error. */
export const driverText = (error: unknown): string =>
  error instanceof DriverError ? errorText(error) : 'internal error'

/** Kinds that some drivers answer when the sandbox does not exist (spec/drivers.md §1). */
const MISSING_KINDS: ReadonlySet<ErrorKind> = new Set(['NOT_FOUND', 'INTERNAL', 'UNKNOWN'])

/** Whether a failed delete may mean that there was nothing to delete. */
export const isMissing = (error: unknown): boolean => error instanceof DriverError && MISSING_KINDS.has(error.kind)

/** Kinds with which a driver refuses for good: nothing was made. */
const REFUSALS: ReadonlySet<ErrorKind> = new Set(['ALREADY_EXISTS', 'FAILED_PRECONDITION', 'INVALID_ARGUMENT'])

/** Whether a failed create surely made nothing. */
export const isRefusal = (error: unknown): boolean =>
  error instanceof DriverError && (!error.mayHaveHappened || REFUSALS.has(error.kind))
