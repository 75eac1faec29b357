import { describe, expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { CommandIo } from '../../../src/cli/command.ts'
import { COMMANDS } from '../../../src/cli/commands.ts'
import { allCommands, renderCompletion } from '../../../src/cli/completion.ts'
import { crashLine } from '../../../src/cli/crash.ts'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { renderReadme } from '../../../src/cli/docs.ts'
import { renderManPage } from '../../../src/cli/man.ts'
import { VERSION } from '../../../src/cli/version.ts'
import { FLAGS } from '../../../src/config/flags.ts'

const run = (...argv: string[]) => runOn(false, ...argv)

async function runOn(isTerminal: boolean, ...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = ''
  let err = ''
  const io: CommandIo = {
    async out(text) {
      out += text
    },
    async err(text) {
      err += text
    },
    isTerminal,
    exit: () => {
      throw new Error('a command must return its code')
    },
  }
  return { code: await dispatch(argv, io), out, err }
}

/** Runs with variables set, and puts them back. */
async function withEnv<T>(variables: Record<string, string>, body: () => Promise<T>): Promise<T> {
  const before = Object.keys(variables).map(name => [name, process.env[name]] as const)
  Object.assign(process.env, variables)
  try {
    return await body()
  } finally {
    for (const [name, value] of before)
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
  }
}

describe('the command line as a whole', () => {
  test.each(['--version', '-V', 'version'])('%s prints one line', async word => {
    expect(await run(word)).toEqual({ code: 0, out: `openshell-gateway ${VERSION}\n`, err: '' })
  })

  test.each([['--help'], ['-h'], ['help'], ['serve --help'], ['help serve']])(
    '%p prints help and ends with 0',
    async line => {
      const argv = line.split(' ')
      const { code, out, err } = await run(...argv)
      expect([code, err]).toEqual([0, ''])
      expect(out).toContain('openshell-gateway')
      for (const flag of FLAGS) expect(out).toContain(`--${flag.name}`)
      expect(out).not.toContain('\u001b')
    },
  )

  test.each([
    [{ NO_COLOR: '', TERM: 'xterm' }, true],
    [{ NO_COLOR: '1', TERM: 'xterm' }, false],
    [{ NO_COLOR: '', TERM: 'dumb' }, false],
  ])('help on a terminal has colours unless they are not wanted: %p', async (env, hasColour) => {
    const { out } = await withEnv(env, () => runOn(true, '--help'))
    expect(out.includes('\u001b[')).toBe(hasColour)
  })

  test('--help names every variable and default, -h neither, and both begin with what the program is', async () => {
    const [long, short] = [(await run('--help')).out, (await run('-h')).out]
    expect(long).toStartWith('OpenShell gRPC/HTTP server')
    for (const flag of FLAGS) expect(long).toContain(`[env: ${flag.env}]`)
    expect(long).toContain('[default: 8080]')
    expect(short).not.toContain('OPENSHELL_')
  })

  test('W-1 P-09 help, completion and manual page show no value of a variable', async () => {
    const canary = 'canary-91d2'
    const all = Object.fromEntries(FLAGS.map(flag => [flag.env, canary]))
    const shown = await withEnv(all, async () => {
      const outputs = [await run('--help'), await run('-h'), await run('man'), await run('completion', 'bash')]
      return JSON.stringify(outputs)
    })
    expect(shown).not.toContain(canary)
  })

  test('an unknown command is refused with the nearest one', async () => {
    expect(await run('sevre')).toEqual({
      code: 2,
      out: '',
      err: "error: unexpected argument 'sevre' found\n\n  tip: a similar command exists: 'serve'\n\nFor more information, try '--help'.\n",
    })
  })

  test('a command refuses flags that are not its own', async () => {
    const { code, err } = await run('version', '--port', '1')
    expect(code).toBe(2)
    expect(err).toStartWith("error: unexpected argument '--port' found")
  })

  test('flags without a command go to serve', async () => {
    const { code, err } = await run(
      '--disable-tls',
      '--db-url',
      'bogus:',
      '--ssh-handshake-secret',
      's',
      '--drivers',
      'acme',
    )
    expect(code).toBe(1)
    expect(err).toStartWith(
      'Error: configuration error: unsupported database URL scheme: bogus:\n  tip: --db-url takes ',
    )
  })
})

describe('what is made from the tables', () => {
  test('README.md is not stale: bun run docs changes nothing', () => {
    const text = readFileSync(join(import.meta.dir, '../../../README.md'), 'utf8')
    expect(text).toContain('<!-- flags -->')
    expect(text).toContain('<!-- methods -->')
    expect(renderReadme(text)).toBe(text)
  })

  test('writing the README twice is writing it once, and text outside the marks stays', () => {
    const once = renderReadme('a\n<!-- flags -->\nstale text\n<!-- /flags -->\nb\n')
    expect(renderReadme(once)).toBe(once)
    expect(once).toStartWith('a\n<!-- flags -->\n')
    expect(once).toEndWith('<!-- /flags -->\nb\n')
    expect(once).not.toContain('stale text')
  })

  test.each(['bash', 'zsh', 'fish'] as const)(
    'the completions of %s know every command and every flag',
    async shell => {
      const script = await renderCompletion(shell)
      for (const entry of await allCommands()) {
        expect(script).toContain(entry.path.split(' ')[0]!)
        for (const flag of entry.command.flags) expect(script).toContain(flag.name)
      }
    },
  )

  test.each([
    ['zsh', (name: string, about: string) => `'${name}:${about.replaceAll(':', '\\:')}'`],
    ['fish', (name: string, about: string) => ` -a ${name} -d '${about}'`],
  ] as const)('the completions of %s offer each command once, groups too, with what it does', async (shell, offer) => {
    const script = await renderCompletion(shell)
    for (const { name, about } of COMMANDS) expect(script.split(offer(name, about))).toHaveLength(2)
  })

  const fish = Bun.which('fish')
  if (!fish) console.log('skipped: completing in fish, because fish is not installed')

  test.skipIf(!fish)('fish completes', async () => {
    const asked = ['cred', 'gateway li', 'gateway add --oidc-iss', 'gateway list -o j', 'exec --tim']
    const lines = asked.map(line => `complete -C 'openshell-gateway ${line}'`).join('\n')
    const { stdout, stderr } = Bun.spawnSync([fish!, '-c', `${await renderCompletion('fish')}\n${lines}`])
    const words = stdout
      .toString()
      .split('\n')
      .map(line => line.split('\t')[0])
    expect(words).toEqual(['credentials', 'list', '--oidc-issuer', 'json', '--timeout', ''])
    expect(stderr.toString()).toBe('')
  })

  const zshell = Bun.which('zsh')
  if (!zshell) console.log('skipped: completing in zsh, because zsh is not installed')

  test.skipIf(!zshell)('zsh is told which words are the command, and which flags it has', async () => {
    const script = `compdef() {}
      _describe() { print -r -- names: \${commands%%:*} }
      _arguments() { print -r -- "$words, word $CURRENT:" \${\${(M)@:#--oidc-iss*}%%\\[*} }
      ${await renderCompletion('zsh')}
      words=(openshell-gateway cred); CURRENT=2; _openshell_gateway
      words=(openshell-gateway credentials r); CURRENT=3; _openshell_gateway
      words=(openshell-gateway gateway add --oidc-iss); CURRENT=4; _openshell_gateway
      words=(openshell-gateway exec --timeout); CURRENT=3; _openshell_gateway
      words=(openshell-gateway --oidc-iss); CURRENT=2; _openshell_gateway`
    const { stdout, stderr } = Bun.spawnSync([zshell!, '-f', '-c', script])
    expect(stderr.toString()).toBe('')
    const [commands, group, add, exec, serve] = stdout.toString().split('\n')
    expect(commands).toBe(`names: ${COMMANDS.map(row => row.name).join(' ')}`)
    expect([group, add]).toEqual(['names: list resolve', 'add --oidc-iss, word 2: --oidc-issuer='])
    expect(exec).toBe('exec --timeout, word 2:')
    expect(serve).toBe('openshell-gateway --oidc-iss, word 2: --oidc-issuer=')
  })

  test('the shell accepts its completions, and they complete', async () => {
    const script = `${await renderCompletion('bash')}
      COMP_WORDS=(openshell-gateway --oidc-iss); COMP_CWORD=1; _openshell_gateway; echo "\${COMPREPLY[@]}"
      COMP_WORDS=(openshell-gateway completion ''); COMP_CWORD=2; _openshell_gateway; echo "\${COMPREPLY[@]}"
      COMP_WORDS=(openshell-gateway serve --log-format ''); COMP_CWORD=3; _openshell_gateway; echo "\${COMPREPLY[@]}"`
    const { stdout, stderr } = Bun.spawnSync(['bash', '-c', script])
    expect([stdout.toString(), stderr.toString()]).toEqual([
      '--oidc-issuer\nbash zsh fish --help --version\ntext json\n',
      '',
    ])
  })

  test('the manual page has every flag, and no line that roff would take for a request of its own', () => {
    const page = renderManPage()
    for (const flag of FLAGS) expect(page).toContain(`\\fB\\-\\-${flag.name.replaceAll('-', '\\-')}\\fR`)
    const requests = page.split('\n').filter(line => line.startsWith('.') || line.startsWith("'"))
    expect(requests.filter(line => !/^\.(TH|SH|SS|TP|B)\b/.test(line))).toEqual([])
  })
})

describe('a crash', () => {
  test('is one line of JSON without source code and control characters', () => {
    const error = new TypeError('boom\n\u001b[2J\u202e')
    error.stack = 'TypeError: boom\n1 | const secret = "x"\n    at run (/app/main.ts:1:2)\n    at <anonymous>\n'
    const line = crashLine('uncaughtException', error, new Date(0))
    expect(line.slice(0, -1)).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/)
    expect(line).toEndWith('}\n')
    expect(line).not.toContain('const secret')
    expect(JSON.parse(line)).toEqual({
      time: '1970-01-01T00:00:00.000Z',
      level: 'ERROR',
      message: 'the gateway crashed',
      kind: 'uncaughtException',
      error: 'TypeError: boom\n\u001b[2J\u202e',
      stack: ['at run (/app/main.ts:1:2)', 'at <anonymous>'],
    })
  })

  test('by a thrown value that is no error says its type only', () => {
    expect(JSON.parse(crashLine('unhandledRejection', 'hunter2')).error).toBe('string')
  })
})
