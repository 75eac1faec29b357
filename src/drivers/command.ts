import type { Secret } from '../base/secret.ts'

/** What the gateway knows when it starts a driver. */
export interface DriverCommandInput {
  /** Driver name, e.g. `vm`. */
  readonly name: string
  /** Flags of the gateway that concern drivers, by name; only those with a value. */
  readonly settings: Readonly<Record<string, string>>
  readonly logLevel: string
  readonly handshakeSecret: Secret
  /** The gateway's own environment. */
  readonly environment: Readonly<Record<string, string | undefined>>
}

/** Arguments after `--bind-socket PATH`, and the whole environment of the driver. */
export interface DriverCommand {
  readonly args: readonly string[]
  readonly environment: Readonly<Record<string, string>>
}

/** TABLE gateway flag → flag of the vm driver (spec/gateway.md §17). Other drivers get the gateway's own names. */
const VM_FLAGS: Readonly<Record<string, string>> = {
  'grpc-endpoint': '--openshell-endpoint',
  'vm-driver-state-dir': '--state-dir',
  'ssh-handshake-skew-secs': '--ssh-handshake-skew-secs',
  'vm-krun-log-level': '--krun-log-level',
  'vm-vcpus': '--vcpus',
  'vm-mem-mib': '--mem-mib',
  'vm-tls-ca': '--guest-tls-ca',
  'vm-tls-cert': '--guest-tls-cert',
  'vm-tls-key': '--guest-tls-key',
}

/** Variables of drivers, the only `OPENSHELL_*` ones that travel on (spec/gateway.md §2.3). */
const DRIVER_VARIABLES = new Set([
  'OPENSHELL_PODMAN_SOCKET',
  'OPENSHELL_NETWORK_NAME',
  'OPENSHELL_STOP_TIMEOUT',
  'OPENSHELL_SUPERVISOR_IMAGE',
])

/**
 * How a driver is started: settings as flags, the handshake secret in its environment and never among the arguments,
 * which every user of the machine can read. The gateway's own settings (database URL, issuer) stay behind.
 */
export function driverCommand(input: DriverCommandInput): DriverCommand {
  const args = ['--log-level', input.logLevel]
  for (const [name, value] of Object.entries(input.settings)) {
    const flag = input.name === 'vm' ? VM_FLAGS[name] : name.startsWith('vm-') ? undefined : `--${name}`
    if (flag) args.push(flag, value)
  }
  const environment: Record<string, string> = {}
  for (const [name, value] of Object.entries(input.environment))
    if (value !== undefined && (!name.startsWith('OPENSHELL_') || DRIVER_VARIABLES.has(name))) environment[name] = value
  environment['OPENSHELL_SSH_HANDSHAKE_SECRET'] = input.handshakeSecret.reveal()
  return { args, environment }
}
