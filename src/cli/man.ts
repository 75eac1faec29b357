import { FLAG_GROUPS, FLAGS, type Flag, valueName } from '../config/flags.ts'
import { CLIENT_FLAGS } from './client-flags.ts'
import { CLIENT_FILES, CLIENT_VARIABLES } from './client-texts.ts'
import { defineGatewayCommand } from './command.ts'
import { ABOUT, COMMANDS } from './commands.ts'
import { EXIT_CODES } from './exit-codes.ts'
import { PROGRAM, VERSION } from './version.ts'

/** Text that roff prints as it is: backslashes, dashes, and a leading dot or quote; three dots as every terminal has them. */
const roff = (text: string): string =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('…', '...')
    .replaceAll('-', '\\-')
    .replace(/^([.'])/, '\\&$1')

function flagItem(flag: Flag): string[] {
  const value = flag.kind === 'switch' ? '' : ` \\fI${roff(valueName(flag).slice(1, -1))}\\fR`
  const notes = [
    ...(flag.env === null ? [] : [`Variable: ${flag.env}.`]),
    ...(flag.default === null || flag.secret ? [] : [`Default: ${flag.default}.`]),
    ...(flag.choices ? [`One of: ${flag.choices.join(', ')}.`] : []),
  ]
  return ['.TP', `\\fB\\-\\-${roff(flag.name)}\\fR${value}`, roff(`${flag.help}. ${notes.join(' ')}`.trim())]
}

const SIGNALS: readonly (readonly [string, string])[] = [
  ['SIGTERM, SIGINT', 'End: finish calls in flight within the grace period. A second one ends at once.'],
  ['SIGHUP', 'Read certificates, keys and the log level file again.'],
]

/** TABLE Files of the systemd units. */
export const FILES: readonly (readonly [string, string])[] = [
  ['/etc/openshell/gateway.env', 'Settings of the systemd service: every variable with its meaning.'],
  ['/etc/openshell/credentials/handshake-secret', 'The secret that sandboxes show; readable by root alone.'],
  ['/etc/openshell/tls/', 'server/tls.crt, server/tls.key and ca.crt; systemctl reload takes new ones over.'],
  ['/etc/openshell/log-level', 'A level that goes before the configured one; need not exist.'],
  ['/var/lib/openshell-gateway/gateway.db', 'What the service keeps.'],
  ['~/.config/openshell/', 'The same settings for the unit of a user.'],
]

const statusOf = (side: 'gateway' | 'client') =>
  EXIT_CODES.flatMap(row => {
    const meaning = row[side]
    return meaning === null ? [] : [[String(row.code), `${meaning}.`] as const]
  })

const item = ([name, text]: readonly [string, string]): string[] => ['.TP', `\\fB${roff(name)}\\fR`, roff(text)]

/** The manual page in roff, made from the tables of flags and commands. */
export function renderManPage(version: string = VERSION): string {
  return [
    `.TH OPENSHELL\\-GATEWAY 8 "" "${PROGRAM} ${version}" "System Administration"`,
    '.SH NAME',
    `${roff(PROGRAM)} \\- ${roff(ABOUT)}`,
    '.SH SYNOPSIS',
    `.B ${roff(PROGRAM)}`,
    '[\\fICOMMAND\\fR] [\\fIOPTIONS\\fR]',
    '.SH DESCRIPTION',
    roff(
      'The control plane of OpenShell: it keeps sandboxes, providers and policies, and connects users with their sandboxes.',
    ),
    roff(
      'Every option can also be given by its variable; the command line goes before the variable, the variable before the default.',
    ),
    roff('An empty variable counts as unset. Values of variables are never printed.'),
    '.SH COMMANDS',
    ...COMMANDS.flatMap(row => item([row.name, `${row.about}.`])),
    '.SH OPTIONS',
    ...FLAG_GROUPS.flatMap(group => [
      `.SS ${roff(group)}`,
      ...FLAGS.filter((flag: Flag) => flag.group === group).flatMap(flagItem),
    ]),
    '.SH CLIENT COMMANDS',
    roff('Commands that talk to a gateway take the options below; COMMAND --help shows the rest of each.'),
    roff('No command takes a token or a secret as an argument: other users could read it.'),
    ...CLIENT_FLAGS.flatMap(flagItem),
    '.SS Variables',
    ...CLIENT_VARIABLES.flatMap(item),
    '.SS Files',
    ...CLIENT_FILES.flatMap(item),
    '.SS Exit status',
    ...statusOf('client').flatMap(item),
    roff('exec ends with the code of its command.'),
    '.SH SIGNALS',
    ...SIGNALS.flatMap(item),
    '.SH SYSTEMD',
    roff(
      `${PROGRAM} install --systemd writes a hardened unit, its environment file and a handshake secret; with --user it does so for one user.`,
    ),
    roff('The service says when it listens, while it reloads and when it ends, and feeds the watchdog.'),
    roff('With systemctl reload it reads certificates and the log level again.'),
    '.SH FILES',
    ...FILES.flatMap(item),
    '.SH EXIT STATUS',
    ...statusOf('gateway').flatMap(item),
    '',
  ].join('\n')
}

export const command = defineGatewayCommand({
  flags: [],
  async run(_values, io) {
    await io.out(renderManPage())
    return 0
  },
})
