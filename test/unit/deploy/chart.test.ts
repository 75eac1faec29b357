import { describe, expect, test } from 'bun:test'
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stampChart } from '../../../deploy/build/chart.ts'
import { FLAGS } from '../../../src/config/flags.ts'
import { CHART_SETS, gatewayContainer, type KubernetesObject, readRendered, renderedFile } from '../../kit/chart.ts'

const CHART = join(import.meta.dir, '../../../deploy/helm/openshell')
const HELM = process.env['HELM_BIN'] ?? Bun.which('helm')
if (!HELM) console.log('skipped: rendering the chart anew, because helm is not installed (HELM_BIN names it)')
/** A Python that has the package kubernetes-validate. */
const VALIDATOR = process.env['KUBERNETES_VALIDATE_PYTHON']
if (!VALIDATOR)
  console.log('skipped: the schemas of Kubernetes (KUBERNETES_VALIDATE_PYTHON names a Python with kubernetes-validate)')

/** Numbers of a values file arrive in another form than those of --set. */
const MILLION = join(import.meta.dir, 'chart/million.values.yaml')

function helm(command: 'template' | 'lint', ...args: string[]) {
  const name =
    command === 'template'
      ? ['openshell', CHART, '--namespace', 'openshell', '--kube-version', '1.31.0']
      : [CHART, '--strict']
  return spawnSync(HELM!, [command, ...name, ...args], { encoding: 'utf8' })
}

describe('what the chart renders', () => {
  test.skipIf(!HELM).each(CHART_SETS)('for %s is what was looked at (UPDATE_CHART=1 writes it anew)', name => {
    const values = renderedFile(name).replace('.rendered.', '.values.')
    const { stdout, stderr, status } = helm('template', '--values', values)
    expect(stderr).toBe('')
    expect(status).toBe(0)
    if (process.env['UPDATE_CHART'] || !existsSync(renderedFile(name))) writeFileSync(renderedFile(name), stdout)
    expect(stdout).toBe(readFileSync(renderedFile(name), 'utf8'))
    expect(helm('lint', '--values', values).status).toBe(0)
  })

  test.skipIf(!VALIDATOR)('fits the schemas of Kubernetes 1.29, 1.31 and 1.34', () => {
    const script = `
import sys, yaml, kubernetes_validate as k
for path in sys.argv[1:]:
    for item in yaml.safe_load_all(open(path)):
        for version in ('1.29', '1.31', '1.34'):
            try: k.validate(item, version, strict=True)
            except k.SchemaNotFoundError: assert '.k8s.io' not in item['apiVersion'] and '/' in item['apiVersion'], item['kind']
`
    const { status, stderr } = spawnSync(VALIDATOR!, ['-c', script, ...CHART_SETS.map(renderedFile)], {
      encoding: 'utf8',
    })
    expect(stderr).toBe('')
    expect(status).toBe(0)
  })

  test.each(CHART_SETS)(
    'for %s sets only variables and flags that the gateway knows, and no secret among them',
    name => {
      const { args, env } = gatewayContainer(name)
      const variables = new Set<string | null>(FLAGS.map(flag => flag.env))
      const flags = new Map(FLAGS.map(flag => [flag.name as string, flag]))
      expect(
        env.map(entry => entry.name).filter(variable => variable !== 'RUST_LOG' && !variables.has(variable)),
      ).toEqual([])
      for (const arg of args) expect(flags.has(/^--([a-z-]+)=/.exec(arg)![1]!)).toBe(true)
      expect(env.map(entry => entry.name)).not.toContain('OPENSHELL_SSH_HANDSHAKE_SECRET')
    },
  )

  test.each(CHART_SETS)('for %s runs as nobody special, writes nothing but its volumes, and has time to end', name => {
    const pod = podOf(name)
    const grace = Number(
      gatewayContainer(name).env.find(entry => entry.name === 'OPENSHELL_SHUTDOWN_GRACE_SECS')?.value,
    )
    expect(pod.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(grace + 5)
    expect([pod.automountServiceAccountToken, pod.enableServiceLinks]).toEqual([false, false])
    expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } })
    for (const { securityContext } of [...pod.containers, ...(pod.initContainers ?? [])])
      expect(securityContext).toMatchObject({
        readOnlyRootFilesystem: true,
        allowPrivilegeEscalation: false,
        capabilities: { drop: ['ALL'] },
      })
  })

  test('every mounted volume is there, and every volume is mounted', () => {
    for (const name of CHART_SETS) {
      const pod = podOf(name)
      const claims = statefulSet(name).spec.volumeClaimTemplates ?? []
      const offered = [...(pod.volumes ?? []).map(volume => volume.name), ...claims.map(claim => claim.metadata.name)]
      const mounted = [...pod.containers, ...(pod.initContainers ?? [])].flatMap(each =>
        (each.volumeMounts ?? []).map(mount => mount.name),
      )
      expect([...new Set(mounted)].sort()).toEqual(offered.sort())
    }
  })

  test('drivers share memory with the gateway for their sockets, and only the compute driver sees the API of the cluster', () => {
    const pod = podOf('sidecars')
    expect(pod.volumes?.find(volume => volume.name === 'driver-sockets')).toMatchObject({
      emptyDir: { medium: 'Memory' },
    })
    const all = [...pod.containers, ...(pod.initContainers ?? [])]
    const having = (volume: string) =>
      all.filter(each => each.volumeMounts?.some(mount => mount.name === volume)).map(each => each.name)
    expect(having('driver-sockets')).toEqual(['openshell', 'compute-driver', 'credentials-driver'])
    expect(having('api-token')).toEqual(['compute-driver'])
    expect(pod.initContainers?.map(each => each.restartPolicy)).toEqual(['Always', 'Always'])
  })

  test('the cluster of OpenShift chooses user and group; without roles any valid token will do', () => {
    const pod = podOf('openshift')
    expect(JSON.stringify(pod)).not.toMatch(/runAsUser|fsGroup/)
    expect(gatewayContainer('openshift').args).toEqual(
      expect.arrayContaining(['--oidc-admin-role=', '--oidc-user-role=']),
    )
  })
})

const refused: readonly (readonly [why: string, values: string, text: string])[] = [
  ['a misspelt name', 'server.oidc.isuer=https://a', 'isuer'],
  ['two replicas', 'replicaCount=2', 'replicaCount'],
  ['a port that is none', 'service.port=70000', 'port'],
  ['two listeners on a port', 'service.healthPort=8080', 'must differ'],
  ['a database that is none', 'server.dbUrl=mysql://x', 'dbUrl'],
  ['half a role pair', 'server.oidc.issuer=https://a,server.oidc.adminRole=boss', 'go together'],
  ['less time to end than the gateway takes', 'podLifecycle.terminationGracePeriodSeconds=5', 'at least 15'],
  ['a credentials driver without its files', 'credentialsDriver.image.repository=x', 'configMapName'],
  [
    'sockets in two directories',
    'credentialsDriver.image.repository=x,credentialsDriver.configMapName=a,credentialsDriver.secretName=b,credentialsDriver.socket=/a/b',
    'one directory',
  ],
  ['certificates that nobody uses', 'certManager.enabled=true,server.disableTls=true', 'would not use'],
  ['certificates without a place', 'certManager.enabled=true,server.tls.clientTlsSecretName=', 'clientTlsSecretName'],
  ['a name that no Service can have', 'fullnameOverride=a.b', 'fullnameOverride'],
  ['a route past a gateway without TLS', 'openshift.route.enabled=true,server.disableTls=true', 'switches off'],
]

describe.skipIf(!HELM)('values', () => {
  test.each(refused)('%s is refused', (_why, values, text) => {
    const { status, stderr } = helm('template', '--set', values)
    expect(stderr).toContain(text)
    expect(status).not.toBe(0)
  })

  test('that look like numbers or booleans reach the gateway as the texts they are, and large numbers as digits', () => {
    const texts = {
      'server.oidc.audience': '12345',
      'server.sandboxNamespace': '123',
      'persistence.storageClass': 'true',
    }
    const sets = Object.entries(texts).flatMap(([name, value]) => ['--set-string', `${name}=${value}`])
    const { stdout, stderr } = helm('template', '--set', 'server.oidc.issuer=https://a', ...sets, '--values', MILLION)
    expect(stderr).toBe('')
    const rendered = Bun.YAML.parse(stdout) as (KubernetesObject | null)[]
    const { spec } = rendered.find(item => item?.kind === 'StatefulSet')!
    const env = Object.fromEntries(spec.template.spec.containers[0]!.env.map(entry => [entry.name, entry.value]))
    expect([env['OPENSHELL_OIDC_AUDIENCE'], env['OPENSHELL_SANDBOX_NAMESPACE']]).toEqual(['12345', '123'])
    expect(env['OPENSHELL_OIDC_JWKS_TTL']).toBe('1000000')
    expect(spec.volumeClaimTemplates).toMatchObject([{ spec: { storageClassName: 'true' } }])
  })
})

test('every value has a row in the schema and the other way round', () => {
  const values = Bun.YAML.parse(readFileSync(join(CHART, 'values.yaml'), 'utf8')) as object
  const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8')) as Schema
  expect(
    namesIn(schema)
      .filter(name => name !== 'global' && !/^probes\..*\./.test(name))
      .filter(name => !hasPath(values, name)),
  ).toEqual(['computeDriver.image.digest', 'credentialsDriver.image.digest'])
  expect(openPaths(values, schema)).toEqual([])
})

test('chart and image of a release have its version', () => {
  const text = readFileSync(join(CHART, 'Chart.yaml'), 'utf8')
  expect(Bun.YAML.parse(stampChart(text, '1.2.3-dev.4+gabc'))).toMatchObject({
    version: '1.2.3-dev.4+gabc',
    appVersion: '1.2.3-dev.4-gabc',
  })
})

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: unknown
}

const namesIn = (schema: Schema, prefix = ''): string[] =>
  Object.entries(schema.properties ?? {}).flatMap(([name, inner]) => [
    `${prefix}${name}`,
    ...namesIn(inner, `${prefix}${name}.`),
  ])

const hasPath = (value: unknown, path: string): boolean =>
  path.split('.').reduce<unknown>((at, name) => (at as Record<string, unknown> | undefined)?.[name], value) !==
  undefined

/** Paths of objects in the values that the schema leaves open for any name. */
function openPaths(value: unknown, schema: Schema, path = ''): string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || !schema.properties) return []
  return Object.entries(value).flatMap(([name, inner]) =>
    schema.properties![name] ? openPaths(inner, schema.properties![name]!, `${path}${name}.`) : [`${path}${name}`],
  )
}

const statefulSet = (name: string): KubernetesObject => readRendered(name).find(item => item.kind === 'StatefulSet')!
const podOf = (name: string) => statefulSet(name).spec.template.spec
