import type { Init } from '../wire/codec.ts'
import { readMap, writeMap } from '../wire/maps.ts'
import type {
  ComputeDriverResourceRequirements,
  ComputeDriverSandbox,
  ComputeDriverSandboxTemplate,
  Sandbox,
  SandboxTemplate,
  Struct,
  Value,
} from '../wire/messages.generated.ts'

/**
 * What the driver is asked to make (spec/sandbox.md §13). Policy, providers and the request's own labels never reach
 * it. `environment` wins over the user's variables of the same names.
 */
export function toDriverSandbox(
  sandbox: Sandbox,
  environment: ReadonlyMap<string, string> = new Map(),
): Init<ComputeDriverSandbox> {
  const { metadata, spec } = sandbox
  return {
    id: metadata?.id ?? '',
    name: metadata?.name ?? '',
    spec: spec && {
      log_level: spec.log_level,
      environment: writeMap([...readMap(spec.environment), ...environment]),
      template: spec.template && driverTemplate(spec.template),
      gpu: spec.gpu,
    },
  }
}

function driverTemplate(template: SandboxTemplate): Init<ComputeDriverSandboxTemplate> {
  return {
    image: template.image,
    agent_socket_path: template.agent_socket,
    labels: template.labels,
    environment: template.environment,
    resources: resources(template.resources),
    platform_config: platformConfig(template),
  }
}

/** Quantities are copied as written; a number is none (spec/sandbox.md §13). */
function resources(struct: Struct | null): ComputeDriverResourceRequirements | null {
  if (!struct) return null
  const found = {
    cpu_request: quantity(struct, 'requests', 'cpu'),
    cpu_limit: quantity(struct, 'limits', 'cpu'),
    memory_request: quantity(struct, 'requests', 'memory'),
    memory_limit: quantity(struct, 'limits', 'memory'),
  }
  return Object.values(found).some(text => text !== '') ? found : null
}

function quantity(struct: Struct, section: string, name: string): string {
  const inner = readMap(struct.fields).get(section)?.structValue
  const value = readMap(inner?.fields).get(name)
  return value?.kind === 'stringValue' ? value.stringValue : ''
}

/** A key for each source that is set; a struct that is there counts as set even when empty. */
function platformConfig(template: SandboxTemplate): Init<Struct> | null {
  const fields = new Map<string, Init<Value>>()
  if (template.runtime_class_name !== '') fields.set('runtime_class_name', { stringValue: template.runtime_class_name })
  const annotations = readMap(template.annotations)
  if (annotations.size > 0)
    fields.set('annotations', {
      structValue: { fields: new Map([...annotations].map(([key, value]) => [key, { stringValue: value }])) },
    })
  if (template.volume_claim_templates)
    fields.set('volume_claim_templates', { structValue: template.volume_claim_templates })
  if (template.resources) fields.set('resources_raw', { structValue: template.resources })
  return fields.size > 0 ? { fields } : null
}
