import { LIMITS } from '../limits.ts'
import { amend, codec } from '../wire/codec.ts'
import { readMap } from '../wire/maps.ts'
import type { SandboxSpec, SandboxTemplate, Struct, Value } from '../wire/messages.generated.ts'
import { withIdentity } from './policy-normalize.ts'
import { lengthViolation, type MapLimits, mapViolation } from './sizes.ts'

const MAPS: MapLimits = { entries: LIMITS.mapEntries, keyBytes: LIMITS.mapKeyBytes, valueBytes: LIMITS.mapValueBytes }

/** TABLE of the template's texts, maps and structs in the order in which they are checked. */
const TEMPLATE_TEXTS = ['image', 'runtime_class_name', 'agent_socket'] as const
const TEMPLATE_MAPS = ['labels', 'annotations', 'environment'] as const
const TEMPLATE_STRUCTS = ['resources', 'volume_claim_templates'] as const

/** The first bound that a request to create a sandbox breaks, or null (spec/sandbox.md §3.1, in that table's order). */
export function createSizeViolation(name: string, spec: SandboxSpec): string | null {
  return (
    lengthViolation('name', name, LIMITS.nameBytes) ??
    // PostgreSQL keeps it in no text, and no container or pod has it in its name.
    (name.includes('\0') ? 'name contains a NUL character' : null) ??
    providersViolation(spec.providers) ??
    lengthViolation('log_level', spec.log_level, LIMITS.sandboxLogLevelBytes) ??
    mapViolation('spec.environment', readMap(spec.environment), MAPS) ??
    (spec.template ? templateViolation(spec.template) : null) ??
    policyViolation(spec)
  )
}

const providersViolation = (providers: readonly string[]): string | null =>
  providers.length > LIMITS.sandboxProviders
    ? `providers list exceeds maximum (${providers.length} > ${LIMITS.sandboxProviders})`
    : null

function templateViolation(template: SandboxTemplate): string | null {
  for (const field of TEMPLATE_TEXTS) {
    const violation = lengthViolation(`template.${field}`, template[field], LIMITS.templateTextBytes)
    if (violation) return violation
  }
  for (const field of TEMPLATE_MAPS) {
    const violation = mapViolation(`template.${field}`, readMap(template[field]), MAPS)
    if (violation) return violation
  }
  for (const field of TEMPLATE_STRUCTS) {
    const violation = structViolation(`template.${field}`, template[field])
    if (violation) return violation
  }
  return null
}

function structViolation(field: string, struct: Struct | null): string | null {
  if (!struct) return null
  const bytes = codec('google.protobuf.Struct').encode(struct).length
  if (bytes > LIMITS.structBytes) return `${field} serialized size exceeds maximum (${bytes} > ${LIMITS.structBytes})`
  const depth = structDepth(struct)
  return depth > LIMITS.structDepth ? `${field} nesting exceeds maximum (${depth} > ${LIMITS.structDepth})` : null
}

/** Objects and lists inside each other, the outermost counted; the decoder has bounded them. */
const structDepth = (struct: Struct | null): number => 1 + deepest(readMap(struct?.fields).values())

function deepest(values: Iterable<Value>): number {
  let depth = 0
  for (const { kind, structValue, listValue } of values) {
    if (kind === 'structValue') depth = Math.max(depth, structDepth(structValue))
    else if (kind === 'listValue') depth = Math.max(depth, 1 + deepest(listValue?.values ?? []))
  }
  return depth
}

function policyViolation(spec: SandboxSpec): string | null {
  if (!spec.policy) return null
  const bytes = codec('openshell.sandbox.v1.SandboxPolicy').encode(spec.policy).length
  return bytes > LIMITS.policyBytes ? `policy serialized size exceeds maximum (${bytes} > ${LIMITS.policyBytes})` : null
}

/**
 * The spec as it is stored: a template is there, its image is the driver's unless one was asked for, and a policy
 * says who its process runs as (spec/sandbox.md §2, steps 5 and 6).
 */
export function withDefaults(spec: SandboxSpec, defaultImage: string): SandboxSpec {
  const template = spec.template ?? codec('openshell.v1.SandboxTemplate').decode(new Uint8Array())
  const image = template.image === '' ? defaultImage : template.image
  return amend(spec, {
    template: amend(template, { image }),
    policy: spec.policy ? withIdentity(spec.policy) : null,
  })
}

const RESERVED_PREFIX = 'OPENSHELL_'

/** Names of variables the user set although drivers set them (spec/drivers.md §3): such a sandbox may never start. */
export function reservedNames(spec: SandboxSpec): string[] {
  const names = new Set([...readMap(spec.environment).keys(), ...readMap(spec.template?.environment).keys()])
  return [...names].filter(name => name.startsWith(RESERVED_PREFIX)).toSorted()
}
