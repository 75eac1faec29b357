import { afterEach, describe, expect, test } from 'bun:test'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { renderEnvironmentFile } from '../../../src/cli/environment-file.ts'
import { command, planInstall } from '../../../src/cli/install.ts'
import { isHiddenFromUnit, renderUnit } from '../../../src/cli/unit-files.ts'
import { FLAGS, FOREIGN_VARIABLES } from '../../../src/config/flags.ts'
import { readCommand } from '../../../src/config/read.ts'

const SYSTEMD = join(import.meta.dir, '../../../deploy/systemd')
const UNITS = ['openshell-gateway.service', 'openshell-gateway.user.service']
const unit = (name: string) => readFileSync(join(SYSTEMD, name), 'utf8')
const hasAnalyze = Bun.which('systemd-analyze') !== null
if (!hasAnalyze) console.log('skipped: the score of the unit, because systemd-analyze is not installed')

describe('units', () => {
  test.skipIf(!hasAnalyze)('the system unit scores 1.5 or better (P-06)', () => {
    const args = ['security', '--offline=true', '--no-pager', join(SYSTEMD, UNITS[0]!)]
    const { stdout } = Bun.spawnSync(['systemd-analyze', ...args], { stderr: 'ignore' })
    const score = Number(/exposure level for \S+: ([\d.]+)/.exec(stdout.toString())?.[1])
    expect(score).toBeLessThanOrEqual(1.5)
  })

  test.each(UNITS)('%s sets only variables that the gateway reads', name => {
    const known = new Set<string | null>(FLAGS.map(flag => flag.env))
    const set = [...unit(name).matchAll(/^Environment=([A-Z_]+)=/gm)].map(match => match[1]!)
    expect(set.length).toBeGreaterThan(4)
    expect(set.filter(variable => !known.has(variable))).toEqual([])
  })

  test.each(UNITS)(
    '%s hands no variable on that runs code in the executable, and no secret by its command line (P-02, P-05)',
    name => {
      const text = unit(name)
      for (const variable of ['BUN_OPTIONS', 'BUN_BE_BUN', 'NODE_OPTIONS', 'LD_PRELOAD'])
        expect(text).toMatch(new RegExp(`^UnsetEnvironment=.*\\b${variable}\\b`, 'm'))
      expect(text).toMatch(/^ExecStart=\S+ serve$/m)
    },
  )

  test.each(UNITS)('%s gives the gateway longer to end than the gateway takes', name => {
    const grace = Number(FLAGS.find(flag => flag.name === 'shutdown-grace-secs')!.default)
    expect(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit(name))?.[1])).toBeGreaterThan(grace + 5)
  })

  test('the path of the executable is written as one word', () => {
    expect(renderUnit('system', '/opt/a b/$x%y')).toContain('\nExecStart="/opt/a b/$$x%%y" serve\n')
    expect(renderUnit('user', '/opt/g')).toContain('\nExecStart=/opt/g serve\n')
  })

  test('paths that the system unit hides are known', () => {
    expect(['/home/a/g', '/root/g', '/tmp/g'].every(isHiddenFromUnit)).toBe(true)
    expect(['/usr/local/bin/g', '/opt/home/g'].some(isHiddenFromUnit)).toBe(false)
  })
})

describe('environment file', () => {
  test('deploy/systemd/gateway.env is what the flag table says (bun run docs)', () => {
    expect(unit('gateway.env')).toBe(renderEnvironmentFile())
  })

  test('every variable is there once and commented out, none is unknown', () => {
    const lines = renderEnvironmentFile().split('\n')
    const variables = lines.flatMap(line => /^#(OPENSHELL_[A-Z_]+)=/.exec(line)?.[1] ?? [])
    expect(variables.sort()).toEqual(FLAGS.map(flag => flag.env as string).sort())
    expect(lines.filter(line => line !== '' && !line.startsWith('#'))).toEqual([])
    expect(variables.filter(name => FOREIGN_VARIABLES.includes(name))).toEqual([])
  })
})

describe('install', () => {
  const roots: string[] = []
  afterEach(() => {
    for (const root of roots.splice(0)) rmSync(root, { recursive: true, force: true })
  })

  async function install(root: string, ...argv: string[]) {
    const read = readCommand({ flags: command.flags, positionals: [] }, ['--root', root, ...argv])
    if (read.kind !== 'values') throw new Error(read.kind)
    let said = ''
    const out = async (text: string) => {
      said += text
    }
    const io = { out, err: async () => undefined, isTerminal: false }
    const exit = () => {
      throw new Error('ended')
    }
    return { code: await command.run(read.values, { ...io, exit }), said }
  }
  const newRoot = () => {
    roots.push(mkdtempSync(join(tmpdir(), 'install-')))
    return roots[0]!
  }
  const SYSTEM = ['--systemd', '--executable', '/usr/local/bin/openshell-gateway']
  const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8)

  test('writes the unit, the settings and a secret that only their owner reads, and says so', async () => {
    const root = newRoot()
    const { code, said } = await install(root, ...SYSTEM)
    expect(code).toBe(0)
    const paths = [
      'etc/systemd/system/openshell-gateway.service',
      'etc/openshell/gateway.env',
      'etc/openshell/credentials/handshake-secret',
    ].map(path => join(root, path))
    for (const path of paths) expect(said).toContain(`wrote     ${path}\n`)
    expect(paths.map(modeOf)).toEqual(['644', '600', '600'])
    expect(modeOf(join(root, 'etc/openshell/credentials'))).toBe('700')
    expect(readFileSync(paths[2]!, 'utf8')).toMatch(/^[0-9a-f]{64}\n$/)
    expect(said).toContain('systemctl daemon-reload')
  })

  test('a second time changes nothing; a changed file is kept unless forced, and then kept as .old', async () => {
    const root = newRoot()
    await install(root, ...SYSTEM)
    const settings = join(root, 'etc/openshell/gateway.env')
    const secret = readFileSync(join(root, 'etc/openshell/credentials/handshake-secret'), 'utf8')
    expect((await install(root, ...SYSTEM)).said).not.toContain('wrote')
    writeFileSync(settings, 'OPENSHELL_DISABLE_TLS=true\n')
    expect((await install(root, ...SYSTEM)).said).toContain(`kept      ${settings}: it differs`)
    expect(readFileSync(settings, 'utf8')).toBe('OPENSHELL_DISABLE_TLS=true\n')
    await install(root, ...SYSTEM, '--force')
    expect(readFileSync(settings, 'utf8')).toBe(renderEnvironmentFile())
    expect(readFileSync(`${settings}.old`, 'utf8')).toBe('OPENSHELL_DISABLE_TLS=true\n')
    expect(readFileSync(join(root, 'etc/openshell/credentials/handshake-secret'), 'utf8')).toBe(secret)
  })

  test('a link planted in the place of a file is not written through (P-12)', async () => {
    const root = newRoot()
    await install(root, ...SYSTEM)
    const settings = join(root, 'etc/openshell/gateway.env')
    const target = join(root, 'victim')
    writeFileSync(target, 'untouched')
    rmSync(settings)
    symlinkSync(target, settings)
    await install(root, ...SYSTEM, '--force')
    expect(readFileSync(target, 'utf8')).toBe('untouched')
    expect(readFileSync(settings, 'utf8')).toBe(renderEnvironmentFile())
  })

  test('an executable that the unit cannot start is refused before anything is written', async () => {
    const root = newRoot()
    for (const path of ['/home/me/gateway', 'relative', '/a\nb'])
      await expect(install(root, '--systemd', '--executable', path)).rejects.toThrow()
    await expect(install(root)).rejects.toThrow('--systemd')
    expect(existsSync(join(root, 'etc'))).toBe(false)
  })

  test("a user's files lie below the user's configuration directory", () => {
    const plan = {
      kind: 'user',
      executable: '/home/me/g',
      root: '',
      configHome: '/home/me/.config',
      secret: 's',
    } as const
    expect(planInstall(plan).map(file => file.path)).toEqual([
      '/home/me/.config/systemd/user/openshell-gateway.service',
      '/home/me/.config/openshell/gateway.env',
      '/home/me/.config/openshell/credentials/handshake-secret',
    ])
  })
})
