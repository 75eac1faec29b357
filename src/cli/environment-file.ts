import { FLAG_GROUPS, FLAGS, type Flag } from '../config/flags.ts'

const WIDTH = 100

/** Words in lines of a comment. */
function comment(text: string): string[] {
  const lines: string[] = []
  let line = '#'
  for (const word of text.split(' ')) {
    if (line.length + 1 + word.length > WIDTH) {
      lines.push(line)
      line = '#'
    }
    line += ` ${word}`
  }
  return [...lines, line]
}

const EXAMPLES: Partial<Record<Flag['kind'], string>> = { switch: 'true', path: '/path' }

function variable(flag: Flag & { readonly env: string }): string[] {
  const value = flag.default ?? flag.choices?.[0] ?? EXAMPLES[flag.kind] ?? ''
  const notes = [
    ...(flag.choices ? [`One of ${flag.choices.join(', ')}.`] : []),
    flag.default === null ? 'Not set unless you set it.' : `Default: ${flag.default}.`,
    ...(flag.secret ? ['A secret: keep this file readable by its owner alone.'] : []),
  ]
  return ['', ...comment(`${flag.help}. ${notes.join(' ')}`), `#${flag.env}=${value}`]
}

const HEAD = [
  'Settings of the OpenShell gateway, read by systemd when the service starts.',
  'Take away the # in front of a variable to set it. No quotes are needed and nothing is expanded; an empty value',
  'counts as unset. What stands here goes before the Environment= lines of the unit, which set the bind address to',
  'loopback and say where the database, the handshake secret and the certificates are.',
  'After a change: systemctl restart openshell-gateway.',
]

/** The environment file of the units: every variable of the gateway with its meaning and default, all commented out. */
export function renderEnvironmentFile(): string {
  const groups = FLAG_GROUPS.flatMap(group => {
    const flags = FLAGS.filter((flag: Flag): flag is (typeof FLAGS)[number] => flag.group === group)
    return ['', `# ---- ${group} ----`, ...flags.flatMap(flag => variable(flag))]
  })
  return `${[...HEAD.map(line => `# ${line}`), ...groups].join('\n')}\n`
}
