import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync, renameSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { systemClock } from '../base/clock.ts'
import { osErrorText } from '../base/os-error.ts'
import {
  type CertificateFiles,
  DEFAULT_SANS,
  KEY_TYPES,
  type KeyType,
  makeCertificates,
  parseSan,
} from '../client/certificates.ts'
import { ClientFailure } from '../client/failure.ts'
import { parseGatewayName } from '../client/gateway-name.ts'
import { makePrivateFolder, removePath, writePrivate } from '../client/private-files.ts'
import { Registry } from '../client/registry.ts'
import { runClient } from './client-command.ts'
import { type CommandIo, defineGatewayCommand } from './command.ts'

const FILES = ['ca.crt', 'ca.key', 'server/tls.crt', 'server/tls.key', 'client/tls.crt', 'client/tls.key'] as const
/** File of the set → file of a registration. */
const CLIENT_COPY = { 'ca.crt': 'ca.crt', 'client/tls.crt': 'tls.crt', 'client/tls.key': 'tls.key' } as const

/** Says what already stands there: all of it is left alone, a part of it is nothing to build on. */
function isComplete(folder: string): boolean {
  const missing = FILES.filter(file => !existsSync(join(folder, file)))
  if (missing.length === FILES.length) return false
  if (missing.length === 0) return true
  throw new ClientFailure(
    'failed',
    `${folder} holds only a part of a set: ${missing.join(', ')} missing. Remove the rest, or make all anew with --force`,
  )
}

/** Writes all files or none: beside their places first, then into them by renaming, which a full disk cannot stop. */
function writeSet(folder: string, files: CertificateFiles): void {
  const draft = join(folder, `.${randomBytes(8).toString('hex')}.tmp`)
  try {
    for (const [file, text] of files) {
      for (const at of [draft, folder]) makePrivateFolder(dirname(join(at, file)))
      writePrivate(join(draft, file), text)
    }
    for (const file of files.keys()) renameSync(join(draft, file), join(folder, file))
  } catch (error) {
    if (error instanceof ClientFailure) throw error
    throw new ClientFailure('failed', `${folder} cannot take the files: ${osErrorText(error)}`, { cause: error })
  } finally {
    removePath(draft)
  }
}

/** Puts what a client needs where the commands of this user look for it. */
function keepCopy(name: string, read: (file: string) => string): void {
  const registry = new Registry(process.env)
  for (const [from, to] of Object.entries(CLIENT_COPY)) registry.saveTlsFile(name, to, read(from))
}

async function report(folder: string, io: CommandIo): Promise<void> {
  const path = (file: string) => join(folder, file)
  await io.out(
    [
      `Wrote ${FILES.length} files below ${folder}, readable by their owner only.`,
      'The gateway takes them by:',
      `  --tls-cert ${path('server/tls.crt')} --tls-key ${path('server/tls.key')} --tls-client-ca ${path('ca.crt')}`,
      'A client takes them by:',
      `  --ca ${path('ca.crt')} --cert ${path('client/tls.crt')} --key ${path('client/tls.key')}`,
      `Keep ${path('ca.key')} in a safe place, away from the gateway.`,
      '',
    ].join('\n'),
  )
}

/** `generate-certs`: certificates for a gateway that has none (spec/deploy.md §6.4). */
export const command = defineGatewayCommand({
  flags: [
    {
      name: 'output-dir',
      env: null,
      kind: 'path',
      default: null,
      required: true,
      group: 'Certificates',
      help: 'Directory to write ca.crt, ca.key, server/tls.crt, server/tls.key, client/tls.crt and client/tls.key to',
    },
    {
      name: 'server-san',
      env: null,
      kind: 'list',
      default: null,
      repeatable: true,
      group: 'Certificates',
      help: `DNS name or IP address of the gateway, beside ${DEFAULT_SANS.join(', ')}`,
    },
    {
      name: 'key-type',
      env: null,
      kind: 'choice',
      choices: KEY_TYPES,
      default: 'p256',
      group: 'Certificates',
      help: 'Kind of the keys',
    },
    {
      name: 'days',
      env: null,
      kind: 'u16',
      default: '3650',
      group: 'Certificates',
      help: 'Days until they expire',
    },
    {
      name: 'client-copy',
      env: null,
      kind: 'text',
      default: null,
      group: 'Certificates',
      help: 'Name of a gateway of this user that the client certificate is copied to, for use without further flags',
    },
    {
      name: 'force',
      env: null,
      kind: 'switch',
      default: null,
      group: 'Certificates',
      help: 'Replace what is there; clients with old certificates are then locked out',
    },
  ],
  run: (values, io) =>
    runClient(io, async () => {
      const folder = resolve(values.text('output-dir'))
      const sans = values.list('server-san')
      for (const san of sans) parseSan(san)
      if (values.number('days') === 0)
        throw new ClientFailure('usage', '--days 0 makes certificates that nobody can use')
      const copy = values.optional('client-copy')
      if (copy !== null) parseGatewayName(copy)
      if (!values.on('force') && isComplete(folder)) {
        if (copy !== null) keepCopy(copy, file => readFileSync(join(folder, file), 'utf8'))
        await io.out(`${folder} already holds certificates; nothing in it was changed. --force replaces them.\n`)
        return 0
      }
      const files = await makeCertificates({
        keyType: values.text('key-type') as KeyType,
        days: values.number('days'),
        sans,
        nowMs: systemClock.nowMs(),
      })
      writeSet(folder, files)
      if (copy !== null) keepCopy(copy, file => files.get(file)!)
      await report(folder, io)
      return 0
    }),
})
