import systemUnit from '../../deploy/systemd/openshell-gateway.service' with { type: 'text' }
import userUnit from '../../deploy/systemd/openshell-gateway.user.service' with { type: 'text' }

/** Where the units as they are packaged expect the executable. */
const PACKAGED_EXECUTABLE = '/usr/bin/openshell-gateway'

/** Directories that the system unit hides from the gateway (ProtectHome=, PrivateTmp=). */
const HIDDEN = ['/home/', '/root/', '/run/user/', '/tmp/', '/var/tmp/']

/** Whether the system unit could not start an executable at this path. */
export const isHiddenFromUnit = (path: string): boolean => HIDDEN.some(directory => path.startsWith(directory))

/** A path as one word of an `Exec…=` line (systemd.service(5), "Command lines"). */
function unitWord(path: string): string {
  const escaped = path.replaceAll('%', '%%').replaceAll('$', '$$$$')
  return /^[\w/.%$@+-]+$/.test(escaped) ? escaped : `"${escaped.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
}

/** The unit for an executable at `path`. */
export const renderUnit = (kind: 'system' | 'user', path: string): string =>
  (kind === 'system' ? systemUnit : userUnit).replaceAll(PACKAGED_EXECUTABLE, () => unitWord(path))
