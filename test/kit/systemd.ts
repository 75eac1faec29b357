import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { until } from './gateway.ts'

/** A real systemd as the first process of namespaces of its own, with no units but those that are put there. */
export interface Systemd {
  /** Runs a shell command inside; its output. Throws when it fails. */
  run(command: string): string
  /** A property of a unit. */
  show(unit: string, property: string): string
  /** Ends everything inside. */
  stop(): Promise<void>
}

/** Why no systemd can be started here; null = one can. */
export function whyNoSystemd(): string | null {
  if (process.getuid?.() !== 0) return 'this is not root'
  if (!existsSync('/lib/systemd/systemd')) return 'systemd is not installed'
  const missing = ['unshare', 'nsenter', 'systemctl'].find(tool => Bun.which(tool) === null)
  if (missing) return `${missing} is missing`
  if (cgroupRoot() === null) return 'there is no cgroup2 hierarchy'
  const probe = spawnSync('unshare', ['--mount', '--pid', '--fork', '--cgroup', '--uts', '--ipc', 'true'])
  return probe.status === 0 ? null : 'namespaces cannot be made'
}

const cgroupRoot = (): string | null =>
  / cgroup2 /.test(readFileSync('/proc/mounts', 'utf8'))
    ? (/^\S+ (\S+) cgroup2 /m.exec(readFileSync('/proc/mounts', 'utf8'))?.[1] ?? null)
    : null

/** What belongs to the machine is covered, so that the systemd inside can neither read nor change it. */
const script = (folder: string, executable: string): string => `
set -eu
mount --make-rprivate /
mount --make-rshared /
umount --recursive /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/test
mount --bind ${folder} /run/test
touch /run/executable
mount --bind ${executable} /run/executable
for covered in /tmp /lib/systemd/system /lib/systemd/system-generators /etc/systemd /var/lib /usr/local/bin; do
  mount -t tmpfs -o mode=755 tmpfs "$covered"
done
mkdir -p /etc/openshell
mount -t tmpfs -o mode=755 tmpfs /etc/openshell
mkdir -p /etc/systemd/system
touch /usr/local/bin/openshell-gateway
mount --bind /run/executable /usr/local/bin/openshell-gateway
printf '[Unit]\\nDefaultDependencies=no\\n' > /etc/systemd/system/test.target
touch /run/test/prepared
export container=test
exec /lib/systemd/systemd --system --unit=test.target --log-level=warning
`

/** Removes a control group and those inside it. */
function removeGroup(group: string): boolean {
  if (!existsSync(group)) return true
  for (const entry of readdirSync(group, { withFileTypes: true }))
    if (entry.isDirectory()) removeGroup(join(group, entry.name))
  return spawnSync('rmdir', [group]).status === 0
}

/** Starts a systemd. `folder` is seen inside as /run/test, the executable as /usr/local/bin/openshell-gateway. */
export async function startSystemd(folder: string, executable: string): Promise<Systemd> {
  const group = join(cgroupRoot()!, `openshell-test-${process.pid}`)
  mkdirSync(group)
  const file = join(folder, 'start.sh')
  writeFileSync(file, script(folder, executable))
  const namespaces = ['--mount', '--pid', '--fork', '--mount-proc', '--cgroup', '--uts', '--ipc', '--kill-child']
  const enter = `echo $$ > ${group}/cgroup.procs; exec unshare ${namespaces.join(' ')} sh ${file}`
  const child = Bun.spawn(['sh', '-c', enter], { stdin: 'ignore', stdout: 'ignore', stderr: 'ignore' })
  const first = () => readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim()
  const inside = (command: string) =>
    spawnSync('nsenter', ['--target', first(), '--all', 'sh', '-c', command], { encoding: 'utf8' })
  await until(
    'systemd to start',
    () => existsSync(join(folder, 'prepared')) && inside('systemctl is-active test.target').stdout.trim() === 'active',
  )
  const run = (command: string): string => {
    const { status, stdout, stderr } = inside(command)
    if (status !== 0) throw new Error(`${command}: ${stdout}${stderr}`)
    return stdout
  }
  return {
    run,
    show: (unit, property) => run(`systemctl show --value --property=${property} ${unit}`).trim(),
    async stop() {
      child.kill('SIGKILL')
      await child.exited
      await until('the control group to be empty', () => removeGroup(group))
    },
  }
}
