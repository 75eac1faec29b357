import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const SSHD = '/usr/sbin/sshd'
const UID = 4242

/** What OpenSSH's daemon needs here beside itself. */
export const OPENSSH_NEEDS = `${SSHD} and root`

/** Whether OpenSSH's daemon can be started with a user of its own. */
export const canStartOpenSsh = (): boolean =>
  existsSync(SSHD) &&
  process.getuid?.() === 0 &&
  Bun.spawnSync(['unshare', '--mount', 'true'], { stderr: 'ignore' }).exitCode === 0

/** Whether dropbear can be started with a user of its own. */
export const canStartDropbear = (): boolean => canStartOpenSsh() && Bun.which('dropbear') !== null

/**
 * The command of OpenSSH's daemon with `args`, for a user `sandbox` without password. `settings` are lines of its
 * configuration.
 */
export function openSshCommand(dir: string, args: readonly string[], settings: readonly string[] = []): string[] {
  Bun.spawnSync(['mkdir', '-p', '/run/sshd'])
  const key = join(dir, 'host_key')
  Bun.spawnSync(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key])
  const lines = [`HostKey ${key}`, 'UsePAM no', 'PermitEmptyPasswords yes', 'PidFile none', 'StrictModes no']
  const config = join(dir, 'sshd_config')
  writeFileSync(config, `${[...lines, ...settings].join('\n')}\n`)
  return withSandboxUser(dir, [SSHD, '-f', config, ...args])
}

/** The command of dropbear on a port of this machine, for a user `sandbox` without password. */
export function dropbearCommand(dir: string, port: number): string[] {
  const key = join(dir, 'dropbear_key')
  Bun.spawnSync(['dropbearkey', '-t', 'ed25519', '-f', key])
  return withSandboxUser(dir, ['dropbear', '-F', '-B', '-p', `127.0.0.1:${port}`, '-r', key, '-P', join(dir, 'pid')])
}

/** `daemon` in a mount namespace of its own where the user exists. */
function withSandboxUser(dir: string, daemon: readonly string[]): string[] {
  const home = join(dir, 'home')
  const write = (name: string, text: string, mode = 0o644) => {
    writeFileSync(join(dir, name), text, { mode })
    return join(dir, name)
  }
  mkdirSync(home, { recursive: true })
  chownSync(home, UID, UID)
  chmodSync(dir, 0o755)
  const passwd = write('passwd', `${readFileSync('/etc/passwd', 'utf8')}sandbox:x:${UID}:${UID}::${home}:/bin/bash\n`)
  const shadow = write('shadow', `${readFileSync('/etc/shadow', 'utf8')}sandbox::19000:0:99999:7:::\n`, 0o600)
  const mounts = `mount --bind ${passwd} /etc/passwd && mount --bind ${shadow} /etc/shadow`
  return ['unshare', '--mount', 'sh', '-c', `${mounts} && exec ${daemon.join(' ')}`]
}
