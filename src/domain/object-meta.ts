import { readMap } from '../wire/maps.ts'
import type { ObjectMeta } from '../wire/messages.generated.ts'
import { labelsViolation } from './labels.ts'

/** Kinds of objects as they are called in refusals. */
export type MetaKind = 'sandbox' | 'provider' | 'ssh_session' | 'inference_route'

/** What is wrong with an object's metadata, or null (spec/sandbox.md §3.5, spec/providers.md §3.1). */
export function metaViolation(kind: MetaKind, meta: ObjectMeta | null): string | null {
  if (!meta) return `${kind} metadata is required`
  if (meta.id === '') return `${kind} metadata.id cannot be empty`
  if (meta.name === '') return `${kind} metadata.name cannot be empty`
  return labelsViolation(readMap(meta.labels))
}
