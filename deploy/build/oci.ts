import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { type Architecture, type Base, NONROOT, withDirectories } from './base-files.ts'
import { type TarEntry, writeTar } from './tar.ts'

/** What the image is built from. */
export interface ImageParts {
  readonly executable: string
  readonly architecture: Architecture
  readonly base: Base
  readonly version: string
  /** Commit of the source; null outside a repository. */
  readonly revision: string | null
  /** Seconds since the epoch that every file and the image itself carry. */
  readonly timeSecs: number
  /** Licences and the like, by the names of their files. */
  readonly texts: Readonly<Record<string, string>>
}

const DOC_PATH = 'usr/share/doc/openshell-gateway'
/** Where the executable lies in the image. */
export const EXECUTABLE_PATH = 'usr/local/bin/openshell-gateway'
/** The only directory of the image that the gateway may write. */
export const STATE_PATH = 'var/openshell'

interface Blob {
  readonly digest: string
  readonly bytes: Uint8Array
}

const NANOSECONDS = 1_000_000_000

/** How the image runs: entry point and arguments of the reference's image (spec/deploy.md §2), a number as user. */
const runConfig = (labels: Readonly<Record<string, string>>) => ({
  User: `${NONROOT}:${NONROOT}`,
  ExposedPorts: { '8080/tcp': {} },
  Env: [
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    'SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt',
  ],
  Entrypoint: [`/${EXECUTABLE_PATH}`],
  Cmd: ['--port', '8080'],
  Volumes: { [`/${STATE_PATH}`]: {} },
  WorkingDir: `/${STATE_PATH}`,
  Labels: labels,
  StopSignal: 'SIGTERM',
  // Not in the OCI specification, but engines that know health checks read it here.
  Healthcheck: {
    Test: ['CMD', `/${EXECUTABLE_PATH}`, 'health'],
    Interval: 30 * NANOSECONDS,
    Timeout: 5 * NANOSECONDS,
    StartPeriod: 10 * NANOSECONDS,
    Retries: 3,
  },
})

function labelsOf({ version, revision, timeSecs, base }: ImageParts): Record<string, string> {
  const packages = base.packages.map(({ name, version: at }) => `${name}=${at}`).join(' ')
  return {
    'org.opencontainers.image.title': 'openshell-gateway',
    'org.opencontainers.image.description': 'The control plane of OpenShell',
    'org.opencontainers.image.version': version,
    'org.opencontainers.image.licenses': 'Apache-2.0',
    'org.opencontainers.image.created': new Date(timeSecs * 1000).toISOString(),
    ...(revision === null ? {} : { 'org.opencontainers.image.revision': revision }),
    'io.openshell.base-packages': packages,
  }
}

const blobOf = (bytes: Uint8Array): Blob => ({
  digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`,
  bytes,
})
const jsonBlob = (value: unknown): Blob => blobOf(Buffer.from(JSON.stringify(value)))
const descriptor = (mediaType: string, blob: Blob) => ({ mediaType, digest: blob.digest, size: blob.bytes.length })

/** A compressed layer and the digest of what is in it. */
function layerOf(entries: readonly TarEntry[], timeSecs: number): { readonly blob: Blob; readonly diffId: string } {
  const tar = writeTar(entries, timeSecs)
  return { blob: blobOf(gzipSync(tar, { level: 6 })), diffId: blobOf(tar).digest }
}

/** The layer of the gateway: the executable, the licences, and the one directory it writes. */
const applicationEntries = ({ executable, texts }: ImageParts): TarEntry[] => [
  ...withDirectories([
    { path: EXECUTABLE_PATH, kind: 'file', mode: 0o755, content: readFileSync(executable) },
    ...Object.entries(texts).map(
      ([name, text]): TarEntry => ({
        path: `${DOC_PATH}/${name}`,
        kind: 'file',
        mode: 0o644,
        content: Buffer.from(text),
      }),
    ),
  ]),
  { path: 'var', kind: 'directory', mode: 0o755 },
  { path: STATE_PATH, kind: 'directory', mode: 0o700, owner: NONROOT },
]

/**
 * The files of an OCI image layout, by path: one image of two layers (OCI image specification 1.1). Equal parts give
 * equal bytes.
 */
export function imageLayout(parts: ImageParts): Map<string, Uint8Array> {
  const { architecture, base, timeSecs, version } = parts
  const layers = [layerOf(base.entries, timeSecs), layerOf(applicationEntries(parts), timeSecs)]
  const labels = labelsOf(parts)
  const created = new Date(timeSecs * 1000).toISOString()
  const config = jsonBlob({
    created,
    architecture,
    os: 'linux',
    config: runConfig(labels),
    rootfs: { type: 'layers', diff_ids: layers.map(layer => layer.diffId) },
    history: ['base files of Debian', 'openshell-gateway'].map(created_by => ({ created, created_by })),
  })
  const manifest = jsonBlob({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: descriptor('application/vnd.oci.image.config.v1+json', config),
    layers: layers.map(({ blob }) => descriptor('application/vnd.oci.image.layer.v1.tar+gzip', blob)),
    annotations: labels,
  })
  const index = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: [
      {
        ...descriptor('application/vnd.oci.image.manifest.v1+json', manifest),
        platform: { architecture, os: 'linux' },
        // A `+` of a development version is not allowed in a tag.
        annotations: { 'org.opencontainers.image.ref.name': version.replaceAll('+', '-') },
      },
    ],
  }
  return new Map([
    ['oci-layout', Buffer.from(JSON.stringify({ imageLayoutVersion: '1.0.0' }))],
    ['index.json', Buffer.from(JSON.stringify(index))],
    ...[config, manifest, ...layers.map(layer => layer.blob)].map(
      ({ digest, bytes }) => [`blobs/${digest.replace(':', '/')}`, bytes] as const,
    ),
  ])
}

/** Writes the layout as an oci-archive, which `podman load`, `skopeo copy oci-archive:` and `docker load` read. */
export function writeImage(parts: ImageParts, outfile: string): void {
  const files = [...imageLayout(parts)].map(
    ([path, content]): TarEntry => ({ path, kind: 'file', mode: 0o644, content }),
  )
  writeFileSync(outfile, writeTar(withDirectories(files), parts.timeSecs))
}
