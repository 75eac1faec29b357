import { randomBytes } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { StartError } from '../base/errors.ts'
import { osErrorText } from '../base/os-error.ts'
import { writeWhole } from '../base/whole-file.ts'
import { defineGatewayCommand } from './command.ts'
import { renderEnvironmentFile } from './environment-file.ts'
import { selfCommand } from './self-command.ts'
import { isHiddenFromUnit, renderUnit } from './unit-files.ts'

/** One file of an installation. */
export interface InstallFile {
  readonly path: string
  readonly content: string
  readonly mode: number
  /** Mode of the directory, when it has to be made. */
  readonly directoryMode: number
  /** Made once and never replaced: running sandboxes depend on it. */
  readonly keepAlways?: true
}

export interface InstallPlan {
  readonly kind: 'system' | 'user'
  /** Path that the unit starts. */
  readonly executable: string
  /** In front of every path that is written; empty = this machine. */
  readonly root: string
  /** `$XDG_CONFIG_HOME` of the user; used by user units. */
  readonly configHome: string
  readonly secret: string
}

/** Where the installed gateway reads its settings. */
const settingsOf = ({ kind, configHome }: InstallPlan): string =>
  kind === 'system' ? '/etc/openshell' : join(configHome, 'openshell')

/** The files of an installation, unit first. Pure. */
export function planInstall(plan: InstallPlan): readonly InstallFile[] {
  const { kind, executable, root, configHome, secret } = plan
  const settings = join(root, settingsOf(plan))
  const units = join(root, kind === 'system' ? '/etc/systemd/system' : join(configHome, 'systemd/user'))
  return [
    {
      path: join(units, 'openshell-gateway.service'),
      content: renderUnit(kind, executable),
      mode: 0o644,
      directoryMode: 0o755,
    },
    { path: join(settings, 'gateway.env'), content: renderEnvironmentFile(), mode: 0o600, directoryMode: 0o755 },
    {
      path: join(settings, 'credentials', 'handshake-secret'),
      content: `${secret}\n`,
      mode: 0o600,
      directoryMode: 0o700,
      keepAlways: true,
    },
  ]
}

/** Makes the missing directories, the last one with `mode` whatever the umask is. */
function makeDirectory(path: string, mode: number): void {
  if (existsSync(path)) return
  makeDirectory(dirname(path), 0o755)
  mkdirSync(path)
  chmodSync(path, mode)
}

/** Puts one file in its place and says in a line what happened. A file that differs is replaced by `force` only, and kept as `.old` then. */
function installFile(file: InstallFile, force: boolean): string {
  const { path } = file
  try {
    makeDirectory(dirname(path), file.directoryMode)
    if (existsSync(path)) {
      if (file.keepAlways) return `kept      ${path}`
      const now = readFileSync(path, 'utf8')
      if (now === file.content) return `unchanged ${path}`
      if (!force) return `kept      ${path}: it differs from what would be written; --force replaces it`
      writeWhole(`${path}.old`, now, statSync(path).mode & 0o777)
    }
    writeWhole(path, file.content, file.mode)
    return `wrote     ${path}`
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    const mend = code === 'EACCES' || code === 'EPERM' ? '; run this as root, or with --user for yourself' : ''
    throw new StartError(`cannot write ${path}: ${osErrorText(error)}${mend}`, 1, { cause: error })
  }
}

function executableOf(named: string | null, kind: 'system' | 'user'): string {
  const self = selfCommand()
  const path = named ?? (self.length === 1 ? self[0] : null)
  if (path === null)
    throw new StartError('this is not the compiled executable; say with --executable which one to start', 2)
  if (!path.startsWith('/') || /[\u0000-\u001f\u007f]/.test(path))
    throw new StartError('--executable must be an absolute path without control characters', 2)
  if (kind === 'system' && isHiddenFromUnit(path))
    throw new StartError(
      `the unit hides ${path} from the gateway; move it to /usr/local/bin and install from there, or name another with --executable`,
      2,
    )
  return path
}

/** What is left to do, with the paths of this installation. */
function nextSteps(kind: InstallPlan['kind'], settings: string): string[] {
  const manager = kind === 'system' ? 'systemctl' : 'systemctl --user'
  return [
    `certificates: openshell-gateway generate-certs --output-dir ${join(settings, 'tls')} (or your own there), or TLS off`,
    `settings:     ${join(settings, 'gateway.env')}, the compute driver first of all`,
    `start:        ${manager} daemon-reload && ${manager} enable --now openshell-gateway`,
    ...(kind === 'user' ? ['stay:         loginctl enable-linger keeps it running after logout'] : []),
  ]
}

const SECRET_BYTES = 32

export const command = defineGatewayCommand({
  flags: [
    {
      name: 'systemd',
      env: null,
      kind: 'switch',
      default: null,
      group: 'Install',
      help: 'Write the systemd unit, its environment file and a handshake secret',
    },
    {
      name: 'user',
      env: null,
      kind: 'switch',
      default: null,
      group: 'Install',
      help: 'For the user who runs this instead of the whole machine',
    },
    {
      name: 'executable',
      env: null,
      kind: 'path',
      default: null,
      group: 'Install',
      help: 'What the unit starts; unset = this executable',
    },
    {
      name: 'root',
      env: null,
      kind: 'path',
      default: null,
      group: 'Install',
      help: 'Directory put in front of every path that is written, for packages',
    },
    {
      name: 'force',
      env: null,
      kind: 'switch',
      default: null,
      group: 'Install',
      help: 'Replace files that were changed; the old ones are kept as .old',
    },
  ],
  async run(values, io) {
    if (!values.on('systemd')) throw new StartError('say what to install: --systemd is the only kind there is', 2)
    const kind = values.on('user') ? 'user' : 'system'
    const configHome = process.env['XDG_CONFIG_HOME']
    const plan: InstallPlan = {
      kind,
      executable: executableOf(values.optional('executable'), kind),
      root: values.optional('root') ?? '',
      configHome: configHome?.startsWith('/') ? configHome : join(homedir(), '.config'),
      secret: randomBytes(SECRET_BYTES).toString('hex'),
    }
    for (const file of planInstall(plan)) await io.out(`${installFile(file, values.on('force'))}\n`)
    await io.out(
      `\nNext\n${nextSteps(kind, settingsOf(plan))
        .map(line => `  ${line}\n`)
        .join('')}`,
    )
    return 0
  },
})
