import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const FOLDER = join(import.meta.dir, '../unit/deploy/chart')

/** Sets of values in use, each with a file `.values.yaml` and what helm makes of it, `.rendered.yaml`. */
export const CHART_SETS = ['default', 'sidecars', 'openshift', 'plaintext', 'postgres'] as const

export interface Container {
  readonly name: string
  readonly args: readonly string[]
  readonly env: readonly { readonly name: string; readonly value?: string; readonly valueFrom?: object }[]
  readonly restartPolicy?: string
  readonly securityContext: object
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[]
}

/** As much of a rendered object as tests look at: what stands in a StatefulSet. */
export interface KubernetesObject {
  readonly kind: string
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly containers: readonly Container[]
        readonly initContainers?: readonly Container[]
        readonly volumes?: readonly { readonly name: string }[]
        readonly securityContext: object
        readonly terminationGracePeriodSeconds: number
        readonly automountServiceAccountToken: boolean
        readonly enableServiceLinks: boolean
      }
    }
    readonly volumeClaimTemplates?: readonly { readonly metadata: { readonly name: string } }[]
  }
}

export const renderedFile = (name: string): string => join(FOLDER, `${name}.rendered.yaml`)

/** Everything that was rendered for a set. */
export function readRendered(name: string): KubernetesObject[] {
  const parsed = Bun.YAML.parse(readFileSync(renderedFile(name), 'utf8'))
  return (Array.isArray(parsed) ? parsed : [parsed]).filter(item => item !== null) as KubernetesObject[]
}

/** The gateway's own container of a set. */
export const gatewayContainer = (name: string): Container =>
  readRendered(name).find(item => item.kind === 'StatefulSet')!.spec.template.spec.containers[0]!
