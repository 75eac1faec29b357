import type { CommandRow } from './command.ts'

/** What the program is, in one line (spec/gateway.md §1). */
export const ABOUT = 'OpenShell gRPC/HTTP server'

/** The command of a command line that begins with a flag, or that is empty. */
export const DEFAULT_COMMAND = 'serve'

/** TABLE Every command, in the order of the help. Modules are loaded only when their command is asked for. */
export const COMMANDS: readonly CommandRow[] = [
  {
    name: 'serve',
    about: 'Run the gateway; the default',
    load: async () => (await import('./serve.ts')).command,
  },
  {
    name: 'dev',
    about: 'Try it out: a gateway on loopback with an issuer and local sandboxes',
    load: async () => (await import('./dev.ts')).command,
  },
  {
    name: 'local-driver',
    about: 'Run the local compute driver by itself: sandboxes are processes of this machine',
    load: async () => (await import('./local-driver.ts')).command,
  },
  {
    name: 'exec',
    about: 'Run a command in a sandbox',
    load: async () => (await import('./exec.ts')).command,
  },
  {
    name: 'ssh-proxy',
    about: 'Carry an SSH connection into a sandbox; for ProxyCommand',
    load: async () => (await import('./ssh-proxy.ts')).command,
  },
  {
    name: 'install',
    about: 'Write the systemd unit of the gateway and what belongs to it',
    load: async () => (await import('./install.ts')).command,
  },
  {
    name: 'gateway',
    about: 'Register gateways and sign in to them',
    hiddenAlias: 'gw',
    load: async () => (await import('./gateway.ts')).group,
  },
  {
    name: 'call',
    about: 'Call an RPC with JSON',
    load: async () => (await import('./call.ts')).command,
  },
  {
    name: 'token',
    about: 'Print a bearer token',
    load: async () => (await import('./token.ts')).command,
  },
  {
    name: 'credentials',
    about: 'Ask the credentials driver what it knows and whether it works',
    load: async () => (await import('./credentials.ts')).command,
  },
  {
    name: 'health',
    about: 'Tell by the exit code whether a gateway is well',
    load: async () => (await import('./health.ts')).command,
  },
  {
    name: 'generate-certs',
    about: 'Make certificates for a gateway and its clients',
    load: async () => (await import('./generate-certs.ts')).command,
  },
  {
    name: 'completion',
    about: 'Print the completions of a shell: bash, zsh or fish',
    hiddenAlias: 'completions',
    load: async () => (await import('./completion.ts')).command,
  },
  {
    name: 'man',
    about: 'Print the manual page',
    load: async () => (await import('./man.ts')).command,
  },
  {
    name: 'version',
    about: 'Print the version',
    load: async () => (await import('./version.ts')).command,
  },
]

/** TABLE Commands that the program runs itself; help does not show them. */
export const INTERNAL_COMMANDS: readonly CommandRow[] = [
  {
    name: 'sandbox-init',
    about: 'Wait as the process of a sandbox that has no supervisor',
    load: async () => (await import('./sandbox-init.ts')).command,
  },
  {
    name: 'supervisor',
    about: 'Supervise one sandbox of this machine',
    load: async () => (await import('./supervisor.ts')).command,
  },
]
