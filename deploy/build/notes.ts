/** A commit as far as release notes go. */
export interface Commit {
  readonly subject: string
  readonly body: string
}

/** TABLE Types of Conventional Commits that matter to somebody who runs the gateway, with their headings, in order. */
const HEADINGS: readonly (readonly [type: string, heading: string])[] = [
  ['feat', 'Added'],
  ['fix', 'Fixed'],
  ['perf', 'Faster'],
]

const SUBJECT = /^(?<type>[a-z]+)(?:\((?<scope>[^)]+)\))?(?<bang>!)?: (?<text>.+)$/
const BREAKING_FOOTER = /^BREAKING[ -]CHANGE: (.+)$/m

interface Change {
  readonly type: string
  readonly line: string
  /** What somebody has to do or know; null = the change breaks nothing. */
  readonly breaking: string | null
}

function parseChange({ subject, body }: Commit): Change | null {
  const groups = SUBJECT.exec(subject)?.groups
  if (!groups) return null
  const line = groups['scope'] ? `**${groups['scope']}**: ${groups['text']}` : groups['text']!
  const footer = BREAKING_FOOTER.exec(body)?.[1]
  return { type: groups['type']!, line, breaking: footer ?? (groups['bang'] ? line : null) }
}

const section = (heading: string, lines: readonly string[]): string[] =>
  lines.length === 0 ? [] : ['', `## ${heading}`, '', ...lines.map(line => `- ${line}`)]

/** Release notes in Markdown, newest first: what breaks, then what was added, fixed and made faster. Pure. */
export function releaseNotes(version: string, commits: readonly Commit[]): string {
  const changes = commits.map(parseChange).filter(change => change !== null)
  const lines = [
    `# openshell-gateway ${version}`,
    ...section(
      'Needs attention',
      changes.flatMap(change => change.breaking ?? []),
    ),
    ...HEADINGS.flatMap(([type, heading]) =>
      section(
        heading,
        changes.filter(change => change.type === type).map(change => change.line),
      ),
    ),
  ]
  return `${lines.join('\n')}\n`
}

const RECORD = '\x1e'
const FIELD = '\x1f'
/** The format for `git log` that `parseLog` reads. */
export const LOG_FORMAT = `%s${FIELD}%b${RECORD}`

/** Commits of `git log --format=LOG_FORMAT`. */
export const parseLog = (text: string): Commit[] =>
  text
    .split(RECORD)
    .map(record => record.trim())
    .filter(record => record !== '')
    .map(record => {
      const [subject = '', body = ''] = record.split(FIELD)
      return { subject, body }
    })
