import { beforeAll, describe, expect, test } from 'bun:test'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Glob } from 'bun'
import { CLIENT_FLAGS } from '../../../src/cli/client-flags.ts'
import { CLIENT_FILES, CLIENT_VARIABLES } from '../../../src/cli/client-texts.ts'
import { type Command, type CommandRow, isGroup } from '../../../src/cli/command.ts'
import { COMMANDS, INTERNAL_COMMANDS } from '../../../src/cli/commands.ts'
import { CRASH_CODE } from '../../../src/cli/crash.ts'
import { EXIT_CODES } from '../../../src/cli/exit-codes.ts'
import { renderHelp } from '../../../src/cli/help.ts'
import { planInstall } from '../../../src/cli/install.ts'
import { FILES, renderManPage } from '../../../src/cli/man.ts'
import { CLIENT_EXITS } from '../../../src/client/failure.ts'
import { FLAGS, type Flag } from '../../../src/config/flags.ts'
import { readCommand } from '../../../src/config/read.ts'

const ROOT = join(import.meta.dir, '../../..')
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')
const CHART = 'deploy/helm/openshell'

/** The manual page as a reader sees it. */
const man = renderManPage()
  .replace(/^\.\w+ ?/gm, '')
  .replace(/\\f[BIR]/g, '')
  .replaceAll('\\&', '')
  .replaceAll('\\-', '-')

const texts: Record<string, string> = {
  'README.md': read('README.md'),
  'the manual page': man,
  'the system unit': read('deploy/systemd/openshell-gateway.service'),
  'the user unit': read('deploy/systemd/openshell-gateway.user.service'),
  'gateway.env': read('deploy/systemd/gateway.env'),
  Containerfile: read('deploy/container/Containerfile'),
  'deploy/README.md': read('deploy/README.md'),
  'identity-providers.md': read('deploy/identity-providers.md'),
  'SECURITY.md': read('SECURITY.md'),
  'CONTRIBUTING.md': read('CONTRIBUTING.md'),
}
for (const file of new Glob('**/*.{yaml,tpl,txt}').scanSync(join(ROOT, CHART)))
  texts[`chart: ${file}`] = read(`${CHART}/${file}`)
const chart = Object.keys(texts).filter(name => name.startsWith('chart: '))

interface Loaded {
  readonly words: string
  readonly command: Command
}
const commands: Loaded[] = []

beforeAll(async () => {
  const visit = async (rows: readonly CommandRow[], path: readonly string[]): Promise<void> => {
    for (const row of rows) {
      const loaded = await row.load()
      const words = [...path, row.name]
      texts[`${words.join(' ')} --help`] = await renderHelp(
        { path: words, about: row.about, command: loaded },
        { long: true, colour: false },
      )
      if (isGroup(loaded)) await visit(loaded.commands, words)
      else commands.push({ words: words.join(' '), command: loaded })
    }
  }
  await visit(COMMANDS, [])
  const serve = commands.find(({ words }) => words === 'serve')!.command
  texts['--help'] = await renderHelp({ path: [], about: '', command: serve }, { long: true, colour: false })
})

/** What `pattern` finds in each text and `known` does not hold, with where it stands. */
function strangers(pattern: RegExp, known: ReadonlySet<string>): string[] {
  return Object.entries(texts).flatMap(([name, text]) =>
    [...text.matchAll(pattern)].flatMap(match => (known.has(match[1]!) ? [] : [`${name}: ${match[1]}`])),
  )
}

/** TABLE Flags of other programs that the texts call: podman, kubectl, helm, curl, systemd, Keycloak, our builder. */
const FOREIGN_FLAGS = [
  ...['input', 'read-only', 'cap-drop', 'security-opt', 'memory', 'volume', 'publish', 'secret', 'env', 'file', 'tag'],
  ...['namespace', 'from-literal', 'set', 'now', 'import-realm', 'reference', 'build-arg', 'chmod', 'chown'],
  ...['interval', 'start-period', 'retries', 'config', 'secrets-dir', 'oci', 'order', 'release', 'target', 'url'],
]

/** TABLE Variables of ours that others read: installers, tests, sandboxes and their drivers. */
const OTHER_VARIABLES = ['OPENSHELL_INSTALL_DIR', 'OPENSHELL_DOWNLOAD_URL', 'OPENSHELL_PEERS']

const allFlags = (): readonly Flag[] => commands.flatMap(({ command }) => command.flags)

describe('what the texts name exists (row 8)', () => {
  test('flags', () => {
    const known = new Set(['help', 'version', ...FOREIGN_FLAGS, ...allFlags().map(flag => flag.name)])
    expect(strangers(/(?<![\w-])--([a-z][a-z0-9-]*)/g, known)).toEqual([])
    const ours = new Set(allFlags().map(flag => flag.name))
    const all = Object.values(texts).join('\n')
    const needless = FOREIGN_FLAGS.filter(name => ours.has(name) || !new RegExp(`--${name}\\b`).test(all))
    expect(needless).toEqual([])
  })

  test('variables', () => {
    const variables = [...allFlags().map(flag => flag.env ?? ''), ...CLIENT_VARIABLES.map(([name]) => name)]
    expect(strangers(/\b(OPENSHELL_[A-Z][A-Z_]*[A-Z])\b/g, new Set([...variables, ...OTHER_VARIABLES]))).toEqual([])
  })

  test('variables of drivers, tests and installers are read where the table says', () => {
    const readers = [read('deploy/install.sh'), read('test/kit/peers.ts'), read('.ci/run')].join('\n')
    for (const variable of OTHER_VARIABLES) expect(readers).toContain(variable)
  })

  test('commands', () => {
    const known = new Set(COMMANDS.map(({ name }) => name))
    expect(
      strangers(
        /(?:^|[\s`/'"(])openshell-gateway ([a-z][a-z-]+)\b(?! executable| COMMAND)/gm,
        new Set([...known, ...PROSE]),
      ),
    ).toEqual([])
    const groups = COMMANDS.map(({ name }) => name).filter(name => name === 'gateway' || name === 'credentials')
    for (const group of groups) {
      const inner = commands.flatMap(({ words }) =>
        words.startsWith(`${group} `) ? [words.slice(group.length + 1)] : [],
      )
      expect(strangers(new RegExp(`\\bopenshell-gateway ${group} ([a-z]+)`, 'g'), new Set(inner))).toEqual([])
    }
  })

  test('command lines can be read by the executable', () => {
    const lines = [texts['README.md']!, texts['deploy/README.md']!].flatMap(ownLines)
    expect(lines.length).toBeGreaterThan(12)
    const refused = lines.flatMap(line => {
      const words = shellWords(line)
      const found = commandOf(words)
      // In running text a command is also named alone.
      if (found.rest.length === 0) return []
      const outcome = readCommand(
        { flags: found.command.flags, positionals: found.command.positionals ?? [] },
        found.rest,
        {},
      )
      return outcome.kind === 'refused' ? [`${line}: ${outcome.problems.map(problem => problem.text).join('; ')}`] : []
    })
    expect(refused).toEqual([])
  })

  test('files of the repository', () => {
    const paths = (name: string, base: string) =>
      [
        ...texts[name]!.matchAll(
          /(?<![\w/.-])((?:deploy|src|test|helm|container|keycloak|systemd)\/[\w./-]+\w|[\w-]+\.(?:md|ts)\b)/g,
        ),
      ].map(match => join(base, match[1]!))
    const named = [
      ...paths('README.md', ''),
      ...paths('deploy/README.md', 'deploy').map(path =>
        path.replace('deploy/deploy/', 'deploy/').replace('deploy/build.ts', 'build.ts'),
      ),
      ...paths('identity-providers.md', 'deploy'),
      ...paths('SECURITY.md', ''),
      ...paths('CONTRIBUTING.md', ''),
    ]
    expect(named.length).toBeGreaterThan(8)
    expect(named.filter(path => !existsSync(join(ROOT, path)))).toEqual([])
  })

  test('files of an installation', () => {
    const plan = {
      kind: 'system',
      executable: '/usr/bin/openshell-gateway',
      root: '',
      configHome: '',
      secret: '',
    } as const
    const known = new Set([
      ...FILES.map(([path]) => path.replace(/\/$/, '')),
      ...planInstall(plan).map(file => file.path),
      ...['/etc/openshell', '/var/lib/openshell-gateway', '/etc/openshell/credentials/store-key'],
      ...['server/tls.crt', 'server/tls.key', 'ca.crt'].map(file => `/etc/openshell/tls/${file}`),
      // Of the credentials driver in the chart.
      ...['/etc/openshell/credentials.yaml', '/etc/openshell/secrets'],
    ])
    expect(strangers(/(\/(?:etc\/openshell(?![-\w])|var\/lib\/openshell)[\w./-]*\w)/g, known)).toEqual([])
  })

  test('values of the chart', () => {
    const values = Bun.YAML.parse(read(`${CHART}/values.yaml`))
    const templates = chart.map(name => texts[name]!).join('\n')
    const at = (path: string) =>
      path.split('.').reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], values)
    const used = [...templates.matchAll(/\.Values\.([a-zA-Z.]+[a-zA-Z])/g)].map(match => match[1]!)
    const set = [texts['README.md']!, texts['deploy/README.md']!].flatMap(text =>
      [...text.matchAll(/--set ([a-zA-Z.]+)=/g)].map(match => match[1]!),
    )
    expect([...used, ...set].filter(path => at(path) === undefined)).toEqual([])
    const unused = Object.keys(values as object).filter(name => !new RegExp(`\\.Values\\.${name}\\b`).test(templates))
    expect(unused).toEqual([])
  })
})

describe('what exists is in the texts (row 8)', () => {
  test('every flag of the gateway and its variable, in README, manual page, help and environment file', () => {
    for (const { name, env } of FLAGS) {
      expect(texts['README.md']).toContain(`| \`--${name}\` | \`${env}\` |`)
      expect(man).toMatch(new RegExp(`^--${name}( |$)`, 'm'))
      expect(man).toMatch(new RegExp(`Variable: ${env}\\.`))
      expect(texts['--help']).toMatch(new RegExp(`^ {2}--${name}( |$)`, 'm'))
      expect(texts['gateway.env']).toMatch(new RegExp(`^#${env}=`, 'm'))
    }
  })

  test('every flag and variable of the client commands, in README and manual page', () => {
    for (const { name, env } of CLIENT_FLAGS) {
      expect(texts['README.md']).toContain(`| \`${env}\` | \`--${name}\` |`)
      expect(man).toMatch(new RegExp(`^--${name} `, 'm'))
    }
    for (const [variable] of CLIENT_VARIABLES) {
      expect(texts['README.md']).toContain(`| \`${variable}\` |`)
      expect(man).toMatch(new RegExp(`^${variable}$`, 'm'))
    }
    for (const [file] of CLIENT_FILES) expect(man).toContain(`\n${file}\n`)
  })

  test('every variable that the client code reads is named', () => {
    const named = new Set<string>([
      ...allFlags().map(flag => flag.env ?? ''),
      ...CLIENT_VARIABLES.map(([name]) => name),
    ])
    const sources = [...new Glob('{cli,client}/*.ts').scanSync(join(ROOT, 'src'))].map(file => read(`src/${file}`))
    const reads = sources.flatMap(source =>
      [...source.matchAll(/env\['(OPENSHELL_[A-Z_]+|SSL_[A-Z_]+)'\]/g)].map(match => match[1]!),
    )
    expect(reads.length).toBeGreaterThan(5)
    expect(reads.filter(name => !named.has(name) && !SUPERVISOR.has(name))).toEqual([])
  })

  test('every command, in README, manual page and help', () => {
    for (const { name } of COMMANDS) {
      expect(texts['README.md']).toContain(`| \`${name}\` |`)
      expect(man).toMatch(new RegExp(`^${name}$`, 'm'))
    }
    for (const { name } of INTERNAL_COMMANDS) expect(texts['README.md']).not.toContain(`\`${name}\``)
  })

  test('every flag of every command, in the help of that command', () => {
    for (const { words, command } of commands)
      for (const flag of command.flags) expect(texts[`${words} --help`]).toContain(`--${flag.name}`)
  })

  test('every exit code, in README and manual page, and no other', () => {
    const codes = EXIT_CODES.map(({ code }) => code)
    for (const code of [CRASH_CODE, ...Object.values(CLIENT_EXITS).map(exit => exit.code)])
      expect(codes).toContain(code)
    const table = /<!-- exits -->([\s\S]*)<!-- \/exits -->/.exec(texts['README.md']!)![1]!
    expect([...table.matchAll(/^\| (\d+) \|/gm)].map(match => Number(match[1]))).toEqual(codes)
    for (const { code, gateway, client } of EXIT_CODES)
      for (const meaning of [gateway, client]) if (meaning !== null) expect(man).toContain(`\n${code}\n${meaning}.`)
    const unit = Number(/^RestartPreventExitStatus=(\d+)$/m.exec(texts['the system unit']!)?.[1])
    expect(codes).toContain(unit)
    const inCode = [...new Glob('{cli,main}{/*,}.ts').scanSync(join(ROOT, 'src'))].flatMap(file =>
      [...read(`src/${file}`).matchAll(/\breturn (\d{1,3})$|(?:CODE|INTERRUPTED) = (\d+)$/gm)].map(match =>
        Number(match[1] ?? match[2]),
      ),
    )
    expect(inCode.filter(code => !codes.includes(code))).toEqual([])
  })
})

/** TABLE Words that follow the name of the program in prose. */
const PROSE = ['executable']
/** TABLE Variables that a driver hands to the supervisor of a sandbox; nobody sets them by hand. */
const SUPERVISOR = new Set([
  'OPENSHELL_TLS_CA',
  'OPENSHELL_TLS_CERT',
  'OPENSHELL_TLS_KEY',
  'OPENSHELL_SANDBOX_ID',
  'OPENSHELL_ENDPOINT',
])

/** Lines in blocks of code that run the executable, continued lines joined. */
function ownLines(text: string): string[] {
  return [...text.matchAll(/^```\w*\n([\s\S]*?)^```/gm)]
    .flatMap(([, block]) => block!.replace(/\\\n\s*/g, ' ').split('\n'))
    .map(line => line.replace(/^sudo /, ''))
    .concat([...text.matchAll(/(?<!`)`(openshell-gateway (?!COMMAND)[^`]*)`(?!`)/g)].map(match => match[1]!))
    .filter(line => /^(dist\/)?openshell-gateway /.test(line))
    .map(line =>
      line
        .replace(/^\S+ /, '')
        .replace(/\s+#.*$/, '')
        .replace(/ \|.*$/, ''),
    )
}

const shellWords = (line: string): string[] =>
  [...line.matchAll(/'([^']*)'|(\S+)/g)].map(match => match[1] ?? match[2]!)

/** The command that leading words name, longest name first; none = the gateway itself. */
function commandOf(words: readonly string[]): { command: Command; rest: readonly string[] } {
  for (const count of [2, 1]) {
    const found = commands.find(entry => entry.words === words.slice(0, count).join(' '))
    if (found) return { command: found.command, rest: words.slice(count) }
  }
  return { command: commands.find(entry => entry.words === 'serve')!.command, rest: words }
}
