import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { FLAG_GROUPS, FLAGS, type Flag, type FlagName } from '../../../src/config/flags.ts'
import { editDistance, nearestName } from '../../../src/config/nearest.ts'
import { formatUsageProblems } from '../../../src/config/problems.ts'
import { type Environment, type RawValues, readConfig } from '../../../src/config/read.ts'
import { REFERENCE_FLAGS } from './flags.expected.ts'

const DB = ['--db-url', 'sqlite::memory:']

function values(argv: readonly string[], env: Environment = {}): RawValues<FlagName> {
  const outcome = readConfig([...DB, ...argv], env)
  if (outcome.kind === 'values') return outcome.values
  throw new Error(`not accepted: ${JSON.stringify(outcome)}`)
}

function refusal(argv: readonly string[], env: Environment = {}): string {
  const outcome = readConfig(argv, env)
  return outcome.kind === 'refused' ? formatUsageProblems(outcome.problems) : `not refused: ${outcome.kind}`
}

/** The text without the pointer to the help. */
const reason = (argv: readonly string[], env: Environment = {}): string =>
  refusal(argv, { OPENSHELL_DB_URL: 'sqlite::memory:', ...env }).replace(
    /\n\nFor more information, try '--help'\.\n$/,
    '',
  )

const names = FLAGS.map(flag => flag.name)
const sample = (flag: Flag): string =>
  flag.kind === 'path' ? '/x' : flag.choices ? flag.choices[0]! : flag.name === 'drivers' ? 'external' : '1'

describe('the table of flags', () => {
  test('has every flag of the reference with its variable and its default', () => {
    for (const [name, env, value] of REFERENCE_FLAGS) {
      const flag = FLAGS.find(row => row.name === name)
      expect([flag?.name, flag?.env, flag?.default], name).toEqual([name, env, value] as never)
    }
  })

  test('names each flag and each variable once, in a known group, with a help line that does not end with a dot', () => {
    expect(new Set(names).size).toBe(names.length)
    expect(new Set(FLAGS.map(flag => flag.env)).size).toBe(names.length)
    for (const flag of FLAGS) {
      expect(flag.name).toMatch(/^[a-z][a-z0-9-]+$/)
      expect(flag.env).toMatch(/^OPENSHELL_[A-Z0-9_]+$/)
      expect(FLAG_GROUPS as readonly string[]).toContain(flag.group)
      expect(flag.help).not.toMatch(/\.$/)
    }
  })

  test('keeps a default that its own kind accepts', () => {
    for (const flag of FLAGS)
      if (flag.default !== null)
        expect(readConfig([...DB, `--${flag.name}=${flag.default}`], {}).kind, flag.name).toBe('values')
  })
})

describe('the command line', () => {
  test('takes every flag as --flag value and as --flag=value', () => {
    for (const flag of FLAGS as readonly Flag[]) {
      if (flag.name === 'db-url' || flag.kind === 'switch') continue
      const value = sample(flag)
      expect(values([`--${flag.name}`, value]).text(flag.name as FlagName)).toBe(value)
      expect(values([`--${flag.name}=${value}`]).text(flag.name as FlagName)).toBe(value)
    }
  })

  const REFUSED: readonly (readonly [title: string, argv: readonly string[], text: string])[] = [
    ['unknown flag', ['--zzz'], "error: unexpected argument '--zzz' found"],
    ['unknown flag with a value', ['--zzz=1'], "error: unexpected argument '--zzz' found"],
    ['unknown flag and what is probably its value', ['--zzz', 'v'], "error: unexpected argument '--zzz' found"],
    [
      'a near name',
      ['--healt-port', '1'],
      "error: unexpected argument '--healt-port' found\n\n  tip: a similar argument exists: '--health-port'",
    ],
    [
      'underscores',
      ['--health_port=1'],
      "error: unexpected argument '--health_port' found\n\n  tip: a similar argument exists: '--health-port'",
    ],
    [
      'capitals',
      ['--PORT=1'],
      "error: unexpected argument '--PORT' found\n\n  tip: a similar argument exists: '--port'",
    ],
    [
      'a negated switch',
      ['--no-disable-tls'],
      "error: unexpected argument '--no-disable-tls' found\n\n  tip: a similar argument exists: '--disable-tls'",
    ],
    [
      'an abbreviation',
      ['--store'],
      "error: unexpected argument '--store' found\n\n  tip: a similar argument exists: '--store-key-file'",
    ],
    ['one dash', ['-port', '1'], "error: unexpected argument '-p' found\n\n  tip: a similar argument exists: '--port'"],
    ['a stray word', ['stray'], "error: unexpected argument 'stray' found"],
    ['an empty argument', [''], "error: unexpected argument '' found"],
    ['a word after --', ['--', 'x'], "error: unexpected argument 'x' found"],
    ['no value at the end', ['--port'], "error: a value is required for '--port <PORT>' but none was supplied"],
    [
      'a flag where a value belongs',
      ['--log-level', '--port=1'],
      "error: a value is required for '--log-level <LOG_LEVEL>' but none was supplied",
    ],
    ['a dashed value apart', ['--oidc-audience', '-x'], "error: unexpected argument '-x' found"],
    ['a negative number apart', ['--port', '-1'], "error: unexpected argument '-1' found"],
    [
      'a flag twice',
      ['--port', '1', '--port', '1'],
      "error: the argument '--port <PORT>' cannot be used multiple times",
    ],
    [
      'a switch twice',
      ['--disable-tls', '--disable-tls'],
      "error: the argument '--disable-tls' cannot be used multiple times",
    ],
    [
      'a switch with a value',
      ['--disable-tls=true'],
      "error: unexpected value 'true' for '--disable-tls' found; no more were expected",
    ],
    ['a word after a switch', ['--disable-tls', 'true'], "error: unexpected argument 'true' found"],
    ['help with a value', ['--help=yes'], "error: unexpected value 'yes' for '--help' found; no more were expected"],
    ['an empty path', ['--tls-cert='], "error: a value is required for '--tls-cert <TLS_CERT>' but none was supplied"],
    [
      'an unknown choice',
      ['--log-format=jsn'],
      "error: invalid value 'jsn' for '--log-format <LOG_FORMAT>'\n  [possible values: text, json]\n\n  tip: a similar value exists: 'json'",
    ],
    [
      'an empty driver',
      ['--drivers='],
      "error: invalid value '' for '--drivers <DRIVERS>': unsupported compute driver ''. expected external, or a name of letters, digits, - and _",
    ],
    [
      'a driver that is no name',
      ['--drivers', 'vm;podman'],
      "error: invalid value 'vm;podman' for '--drivers <DRIVERS>': unsupported compute driver 'vm;podman'. expected external, or a name of letters, digits, - and _",
    ],
    [
      'an empty list item',
      ['--oidc-clients=a,,b'],
      "error: invalid value '' for '--oidc-clients <OIDC_CLIENTS>': an item of the list is empty",
    ],
    ['control characters are not printed as they are', ['\u001b[2J'], "error: unexpected argument '\\u{1b}[2J' found"],
  ]
  test.each(REFUSED)('P-03 refuses %s', (_title, argv, text) => expect(reason(argv)).toBe(text))

  test('says everything that is wrong at once', () => {
    expect(reason(['--zzz', '--port=x', '--disable-tls=1']).match(/^error:/gm)).toHaveLength(3)
  })

  test('names the required flag that is missing', () => {
    expect(refusal([])).toBe(
      "error: the following required arguments were not provided:\n  --db-url <DB_URL>\n\nFor more information, try '--help'.\n",
    )
  })

  test('acts on help and version where they stand, not behind a fault', () => {
    expect(readConfig(['--help', '--zzz'], {})).toEqual({ kind: 'help', long: true })
    expect(readConfig(['-h'], {})).toEqual({ kind: 'help', long: false })
    expect(readConfig(['--version', '--zzz'], {})).toEqual({ kind: 'version' })
    expect(readConfig(['-V'], {})).toEqual({ kind: 'version' })
    expect(readConfig(['--zzz', '--help'], {}).kind).toBe('refused')
  })

  test('takes dashes and equal signs behind =, a bare -- at the end, and the hidden alias of --drivers', () => {
    expect(values(['--oidc-audience=-x']).text('oidc-audience')).toBe('-x')
    expect(values(['--oidc-audience=a=b']).text('oidc-audience')).toBe('a=b')
    expect(values(['--']).positionals).toEqual([])
    expect(values(['--driver', 'external']).list('drivers')).toEqual(['external'])
    expect(values(['--drivers', ' Podman ,VM', '--driver', 'external']).list('drivers')).toEqual([
      'podman',
      'vm',
      'external',
    ])
  })
})

describe('P-03 a typing error in a name', () => {
  const alphabet = 'abcdefghijklmnopqrstuvwxyz-'
  const letters = [...alphabet]
  const valid = new Set<string>([...names, 'driver', 'help', 'version'])
  /** Every name that is one insertion, deletion, replacement or swap away. */
  function edits(name: string): string[] {
    const found = new Set<string>()
    for (let at = 0; at <= name.length; at++) {
      const [before, after] = [name.slice(0, at), name.slice(at)]
      for (const letter of letters) found.add(before + letter + after)
      for (const letter of letters) if (after) found.add(before + letter + after.slice(1))
      if (after) found.add(before + after.slice(1))
      if (after.length > 1) found.add(before + after[1] + after[0] + after.slice(2))
    }
    return [...found].filter(typo => !valid.has(typo) && typo !== '')
  }

  test('is refused for every single edit of every flag, with a name that is one edit away', () => {
    let count = 0
    for (const name of names)
      for (const typo of edits(name)) {
        count++
        const outcome = readConfig([`--${typo}=1`], {})
        const tip = outcome.kind === 'refused' ? outcome.problems[0]?.tip : 'accepted'
        const near = /'--(.*)'$/.exec(tip ?? '')?.[1] ?? ''
        if (!valid.has(near) || editDistance(typo, near) !== 1) expect(`${typo}: ${tip}`).toBe('a flag one edit away')
      }
    expect(count).toBeGreaterThan(30_000)
  }, 30_000)

  test('in a variable warns with the nearest name and does not stop the start', () => {
    expect(values([], { OPENSHELL_OIDC_ISUER: 'x' }).warnings).toEqual([
      'unknown variable OPENSHELL_OIDC_ISUER is ignored; did you mean OPENSHELL_OIDC_ISSUER?',
    ])
    expect(values([], { OPENSHELL_OIDC_ENABLED: 'true' }).warnings).toEqual([
      'unknown variable OPENSHELL_OIDC_ENABLED is ignored',
    ])
  })

  test('finds nothing near what is far, and never compares endless input', () => {
    expect(nearestName('zzz', names)).toBeNull()
    expect(nearestName('', names)).toBeNull()
    expect(nearestName('p'.repeat(100_000), names)).toBeNull()
    fc.assert(
      fc.property(fc.string({ maxLength: 12 }), fc.string({ maxLength: 12 }), (a, b) => {
        const distance = editDistance(a, b)
        expect(distance).toBe(editDistance(b, a))
        expect(distance === 0).toBe(a === b)
        expect(distance).toBeLessThanOrEqual(Math.max(a.length, b.length))
      }),
      { numRuns: 200 },
    )
  })
})

describe('integers', () => {
  const INTEGERS: readonly (readonly [text: string, fault: string | null])[] = [
    ['0', null],
    ['65535', null],
    ['+80', null],
    ['00080', null],
    ['65536', '65536 is not in 0..=65535'],
    ['-1', '-1 is not in 0..=65535'],
    ['', 'cannot parse integer from empty string'],
    ['abc', 'invalid digit found in string'],
    ['80.5', 'invalid digit found in string'],
    ['0x50', 'invalid digit found in string'],
    ['1e3', 'invalid digit found in string'],
    [' 80', 'invalid digit found in string'],
    ['80 ', 'invalid digit found in string'],
    ['8_0', 'invalid digit found in string'],
    ['80,81', 'invalid digit found in string'],
    ['+', 'invalid digit found in string'],
    ['٣', 'invalid digit found in string'],
    ['9'.repeat(40), 'number too large to fit in target type'],
    [`-${'9'.repeat(40)}`, 'number too small to fit in target type'],
  ]
  test.each(INTEGERS)('read %p as the reference does', (text, fault) => {
    const expected =
      fault === null ? 'not refused: values' : `error: invalid value '${text}' for '--port <PORT>': ${fault}`
    expect(reason([`--port=${text}`])).toBe(expected)
  })

  test('have the limits of their kinds', () => {
    const LIMITS: readonly (readonly [FlagName, string, string])[] = [
      ['vm-vcpus', '255', '256'],
      ['ssh-gateway-port', '65535', '65536'],
      ['vm-mem-mib', '4294967295', '4294967296'],
      ['oidc-jwks-ttl', '18446744073709551615', '18446744073709551616'],
    ]
    for (const [flag, most, over] of LIMITS) {
      expect(values([`--${flag}=${most}`]).text(flag)).toBe(most)
      expect(reason([`--${flag}`, over])).toContain(`invalid value '${over}' for '--${flag} `)
    }
    expect(values(['--oidc-jwks-ttl=18446744073709551615']).number('oidc-jwks-ttl')).toBe(Number.MAX_SAFE_INTEGER)
    expect(values(['--port=+0080']).number('port')).toBe(80)
  })
})

describe('the environment', () => {
  test('gives way to the command line and goes before the default', () => {
    const env = { OPENSHELL_SERVER_PORT: '9000' }
    expect([values([], env).number('port'), values([], env).source('port')]).toEqual([9000, 'variable'])
    expect([values(['--port=1'], env).number('port'), values(['--port=1'], env).source('port')]).toEqual([1, 'flag'])
    expect([values([]).number('port'), values([]).source('port')]).toEqual([8080, 'default'])
    expect(values(['--drivers=vm'], { OPENSHELL_DRIVERS: 'podman' }).list('drivers')).toEqual(['vm'])
  })

  test('may be malformed where the command line decides', () => {
    expect(values(['--port=1'], { OPENSHELL_SERVER_PORT: 'many' }).number('port')).toBe(1)
    expect(values(['--disable-tls'], { OPENSHELL_DISABLE_TLS: 'junk' }).on('disable-tls')).toBe(true)
  })

  test('is refused where it is malformed and decides, naming the variable', () => {
    expect(reason([], { OPENSHELL_SERVER_PORT: 'many' })).toBe(
      "error: invalid value 'many' for '--port <PORT>': invalid digit found in string (from OPENSHELL_SERVER_PORT)",
    )
  })

  test('P-04 counts an empty variable as unset, for every flag, and says so once', () => {
    for (const flag of FLAGS as readonly Flag[]) {
      if (flag.name === 'db-url') continue
      const read = values([], { [flag.env ?? '']: '' })
      expect(read.optional(flag.name as FlagName), flag.name).toBe(flag.default)
      expect(read.warnings).toEqual([`empty variables are treated as unset: ${flag.env}`])
    }
    expect(values([], { OPENSHELL_OIDC_ISSUER: '', OPENSHELL_TLS_KEY: '' }).warnings).toHaveLength(1)
    expect(refusal([], { OPENSHELL_DB_URL: '' })).toContain('required arguments were not provided')
  })

  const SWITCH: readonly (readonly [text: string, on: boolean | null])[] = [
    ['true', true],
    ['false', false],
    ['TRUE', null],
    ['1', null],
    ['yes', null],
    [' true', null],
  ]
  test.each(SWITCH)('takes only true and false for a switch: %p', (text, on) => {
    const env = { OPENSHELL_DISABLE_TLS: text }
    if (on !== null) expect(values([], env).on('disable-tls')).toBe(on)
    else
      expect(reason([], env)).toContain(
        `invalid value '${text}' for '--disable-tls' (from OPENSHELL_DISABLE_TLS)\n  [possible values: true, false]`,
      )
  })

  test('ignores Kubernetes service links, with the cause', () => {
    const read = values([], {
      OPENSHELL_SERVER_PORT: 'tcp://10.0.0.1:8080',
      OPENSHELL_SERVER_PORT_8080_TCP_ADDR: '10.0.0.1',
      OPENSHELL_SERVER_SERVICE_HOST: '10.0.0.1',
      OPENSHELL_PORT: 'tcp://10.0.0.2:1',
    })
    expect(read.number('port')).toBe(8080)
    expect(read.warnings).toHaveLength(1)
    expect(read.warnings[0]).toContain('OPENSHELL_SERVER_PORT holds a Kubernetes service link')
    expect(read.warnings[0]).not.toContain('10.0.0.1')
  })

  test('knows the variables of the client and of the drivers, and bounds what it says about others', () => {
    expect(values([], { OPENSHELL_GATEWAY: 'x', OPENSHELL_PODMAN_SOCKET: 'y', HOME: '/' }).warnings).toEqual([])
    const many = Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`OPENSHELL_QQ${i}`, 'v']))
    expect(values([], many).warnings).toHaveLength(11)
  })

  test('P-02 warns when it can make the runtime run foreign code', () => {
    for (const name of [
      'BUN_OPTIONS',
      'BUN_BE_BUN',
      'BUN_BYTECODE_ORDER_OUT',
      'BUN_INSPECT',
      'BUN_INSPECT_CONNECT_TO',
      'BUN_JSC_useJIT',
      'NODE_OPTIONS',
    ])
      expect(values([], { [name]: '1' }).warnings).toEqual([
        `${name} can make the runtime run foreign code or write files; unset in production`,
      ])
  })
})

describe('P-09 a secret', () => {
  const CANARY = 'canary-7f3a'
  const SPOILED: readonly (readonly string[])[] = [
    ['--ssh-handshake-secret', `-${CANARY}`],
    ['--ssh-handshake-secret', `--${CANARY}`],
    ['--ssh-handshake-secret', 'first', CANARY],
    ['--ssh-handshake-secret=first', CANARY, '--zzz'],
    ['--db-url=postgres://u', CANARY],
    ['--db-url', 'a', '--db-url', CANARY],
    [`--ssh-handshake-secrt=${CANARY}`],
    ['--ssh-handshake-secrt', CANARY],
  ]
  test.each(SPOILED.map(argv => [argv]))('is in no message about a spoiled command line: %p', argv => {
    const text = refusal(argv)
    expect(text).toStartWith('error:')
    expect(text).not.toContain(CANARY)
  })

  test('is in no warning and no message when it stands in the environment', () => {
    const env = { OPENSHELL_SSH_HANDSHAKE_SECRET: CANARY, OPENSHELL_DB_URL: `x${CANARY}`, OPENSHELL_SECRT: CANARY }
    expect(JSON.stringify(readConfig(['--zzz'], env))).not.toContain(CANARY)
    const read = readConfig([], env)
    expect(read.kind === 'values' ? JSON.stringify(read.values) : 'refused').not.toContain(CANARY)
  })
})
