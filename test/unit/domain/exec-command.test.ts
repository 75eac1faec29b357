import { expect, test } from 'bun:test'
import fc from 'fast-check'
import {
  assembleExecLine,
  exitCodeOf,
  exitCodeOfSignal,
  findExecViolation,
  quote,
} from '../../../src/domain/exec-command.ts'

const plain = (command: readonly string[], environment: Record<string, string> = {}, workdir = '') => ({
  command,
  environment: new Map(Object.entries(environment)),
  workdir,
})

test.each([
  [plain(['ls', '-la']), 'ls -la'],
  [
    plain(['python', '-c', "print('ok')"], { HOME: '/home/user' }, '/workspace'),
    `cd /workspace && HOME=/home/user python -c 'print('"'"'ok'"'"')'`,
  ],
  [plain(['$(id)']), "'$(id)'"],
  [plain(['', 'x']), "'' x"],
  [plain(['a', '&&', 'b']), "a '&&' b"],
  [plain(['x'], { B: '2', A: '1', _a: '3', a1: '', Z: "it's" }), `A=1 B=2 Z='it'"'"'s' _a=3 a1='' x`],
])('the line of %p is that of the reference', (exec, line) => {
  expect(assembleExecLine(exec)).toEqual({ line })
})

test.each([
  [plain([]), 'command is required'],
  [plain(['x'], { '1A': 'v' }), 'environment keys must match ^[A-Za-z_][A-Za-z0-9_]*$'],
  [plain(['x'], { 'A\n': 'v' }), 'environment keys must match ^[A-Za-z_][A-Za-z0-9_]*$'],
  [plain(Array(1025).fill('x')), 'command array exceeds 1024 argument limit'],
  [plain(['ok', 'x'.repeat(32_769)]), 'command argument 1 exceeds 32768 byte limit'],
  [plain(['ok', 'é'.repeat(16_385)]), 'command argument 1 exceeds 32768 byte limit'],
  [plain(['a', 'b\0']), 'command argument 1 contains null bytes'],
  [plain(['a\nb']), 'command argument 0 contains newline or carriage return characters'],
  [plain(['x'], { A: '\r' }), "environment value for 'A' contains newline or carriage return characters"],
  [plain(['x'], {}, '/'.repeat(4097)), 'workdir exceeds 4096 byte limit'],
  [plain(['a\n'], {}, '/'.repeat(5000)), 'command argument 0 contains newline or carriage return characters'],
  [plain(['x'.repeat(32_769)], { '1': 'v' }), 'environment keys must match ^[A-Za-z_][A-Za-z0-9_]*$'],
  [plain(['x', 'a b'], { A: 'c' }, '/w'), null],
])('the first broken rule is named (case %#)', (exec, violation) => {
  expect(findExecViolation(exec)).toBe(violation)
})

test('a line that no shell can be given is refused (W38)', () => {
  expect(
    assembleExecLine(plain(['x'.repeat(32_767), 'x'.repeat(32_767), 'x'.repeat(32_767), 'x'.repeat(32_767)])),
  ).toEqual({
    line: expect.any(String),
  })
  expect(assembleExecLine(plain(['y', ...Array(4).fill('x'.repeat(32_767))]))).toEqual({
    violation: 'command construction failed: assembled command string exceeds 131071 byte limit',
  })
})

/** Words as hostile as the contract lets through: no NUL, CR or LF. */
const word = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ unit: fc.constantFrom(...'\'"\\$`!*?[]{}()<>|&;~#=-% \t^@:,+/éß\u2028\u0001\u007f'), maxLength: 60 }),
  fc.constantFrom('', '--', '-n', '$(id)', "'", "''", '~', '*', 'x'.repeat(5000)),
)
const safe = word.map(text => text.toWellFormed().replace(/[\0\r\n]/g, '_'))

test.each(['sh', 'bash'])('1 000 hostile argument vectors arrive byte for byte through %s (R-10, I-08)', shell => {
  const vectors = fc.sample(fc.array(safe, { minLength: 1, maxLength: 6 }), { numRuns: 1000, seed: 7 })
  const script = vectors.map(words => {
    const assembled = assembleExecLine(plain(['printf', '%s\\0', ...words, '\u{1f}end'], { A: words[0]! }))
    return 'line' in assembled ? assembled.line : 'exit 3'
  })
  const ran = Bun.spawnSync([shell, '-s'], {
    stdin: Buffer.from(`${script.join('\n')}\n`),
    env: { LC_ALL: 'C', PATH: process.env['PATH'] },
  })
  expect(ran.exitCode).toBe(0)
  const wanted = vectors.map(words => [...words, '\u{1f}end'].map(text => `${text}\0`).join('')).join('')
  expect(Buffer.from(ran.stdout).equals(Buffer.from(wanted))).toBe(true)
})

test('environment values arrive byte for byte', () => {
  const values = fc.sample(safe, { numRuns: 200, seed: 11 })
  const script = values.map(
    value => (assembleExecLine(plain(['sh', '-c', 'printf "%s\\0" "$V"'], { V: value })) as { line: string }).line,
  )
  const ran = Bun.spawnSync(['sh', '-s'], {
    stdin: Buffer.from(`${script.slice(0, 60).join('\n')}\n`),
    env: { PATH: process.env['PATH'] },
  })
  expect(
    Buffer.from(ran.stdout).equals(
      Buffer.from(
        values
          .slice(0, 60)
          .map(value => `${value}\0`)
          .join(''),
      ),
    ),
  ).toBe(true)
})

test('only the safe alphabet goes unquoted', () => {
  expect(quote('a-Z_0./')).toBe('a-Z_0./')
  expect(quote('a=b')).toBe("'a=b'")
})

test('exit statuses fit the contract; signals read as a shell reports them', () => {
  expect([0, 255, 256, 2_147_483_647, 2_147_483_648, 4_294_967_295].map(exitCodeOf)).toEqual([
    0, 255, 256, 2_147_483_647, 2_147_483_647, 2_147_483_647,
  ])
  expect([exitCodeOfSignal('KILL'), exitCodeOfSignal('SIGTERM'), exitCodeOfSignal('ODD')]).toEqual([137, 143, 128])
})
