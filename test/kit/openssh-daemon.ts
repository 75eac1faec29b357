import { chmodSync, chownSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
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

/**
 * The command of OpenSSH's daemon with `args`, in a mount namespace of its own where a user `sandbox` without password
 * exists. `settings` are lines of its configuration.
 */
export function openSshCommand(dir: string, args: readonly string[], settings: readonly string[] = []): string[] {
  const home = join(dir, 'home')
  const write = (name: string, text: string, mode = 0o644) => {
    writeFileSync(join(dir, name), text, { mode })
    return join(dir, name)
  }
  Bun.spawnSync(['mkdir', '-p', home, '/run/sshd'])
  chownSync(home, UID, UID)
  chmodSync(dir, 0o755)
  const key = join(dir, 'host_key')
  Bun.spawnSync(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key])
  const passwd = write('passwd', `${readFileSync('/etc/passwd', 'utf8')}sandbox:x:${UID}:${UID}::${home}:/bin/bash\n`)
  const shadow = write('shadow', `${readFileSync('/etc/shadow', 'utf8')}sandbox::19000:0:99999:7:::\n`, 0o600)
  const lines = [`HostKey ${key}`, 'UsePAM no', 'PermitEmptyPasswords yes', 'PidFile none', 'StrictModes no']
  const config = write('sshd_config', `${[...lines, ...settings].join('\n')}\n`)
  const mounts = `mount --bind ${passwd} /etc/passwd && mount --bind ${shadow} /etc/shadow`
  const daemon = [SSHD, '-f', config, ...args].join(' ')
  return ['unshare', '--mount', 'sh', '-c', `${mounts} && exec ${daemon}`]
}
