import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Certificates made with the openssl command line tool, in a folder of their own. */
export interface Certificates extends Disposable {
  readonly folder: string
  /** Path of a file in the folder. */
  path(name: string): string
  write(name: string, text: string): string
  /** A self-signed authority: `name.crt`, `name.key`. */
  authority(name: string): void
  /** A leaf `name.crt`, `name.key` signed by authority `by`; `usage` null = without usages. */
  leaf(name: string, by: string, usage: 'serverAuth' | 'clientAuth' | null, days?: number): void
}

export function createCertificates(): Certificates {
  const folder = mkdtempSync(join(tmpdir(), 'certificates-'))
  const path = (name: string) => join(folder, name)
  const openssl = (...args: string[]) => {
    const { exitCode, stderr } = Bun.spawnSync(['openssl', ...args], { cwd: folder, stderr: 'pipe', stdout: 'ignore' })
    if (exitCode !== 0) throw new Error(`openssl ${args[0]}: ${stderr.toString()}`)
  }
  const key = (name: string) => {
    openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', `${name}.key`)
  }
  return {
    folder,
    path,
    write(name, text) {
      writeFileSync(path(name), text)
      return path(name)
    },
    authority(name) {
      key(name)
      openssl(
        'req',
        '-x509',
        '-new',
        '-key',
        `${name}.key`,
        '-subj',
        `/CN=${name}`,
        '-days',
        '2',
        '-out',
        `${name}.crt`,
      )
    },
    leaf(name, by, usage, days = 2) {
      key(name)
      openssl('req', '-new', '-key', `${name}.key`, '-subj', `/CN=${name}`, '-out', `${name}.csr`)
      const lines = [
        'subjectAltName=DNS:localhost,IP:127.0.0.1',
        ...(usage === null ? [] : [`extendedKeyUsage=${usage}`]),
      ]
      writeFileSync(path(`${name}.ext`), `${lines.join('\n')}\n`)
      const signer = ['-CA', `${by}.crt`, '-CAkey', `${by}.key`, '-CAcreateserial']
      openssl(
        'x509',
        '-req',
        '-in',
        `${name}.csr`,
        ...signer,
        '-days',
        String(days),
        '-extfile',
        `${name}.ext`,
        '-out',
        `${name}.crt`,
      )
    },
    [Symbol.dispose]() {
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
