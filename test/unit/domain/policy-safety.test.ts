import { expect, test } from 'bun:test'
import { safetyViolations } from '../../../src/domain/policy-safety.ts'
import { codec, type Init } from '../../../src/wire/codec.ts'
import type { SandboxPolicy } from '../../../src/wire/messages.generated.ts'

const policyCodec = codec('openshell.sandbox.v1.SandboxPolicy')
const check = (policy: Init<SandboxPolicy>) => safetyViolations(policyCodec.decode(policyCodec.encode(policy)))
const paths = (count: number, letter = 'p') => Array.from({ length: count }, (_, n) => `/${letter}${n}`)
const readOnly = (...read_only: string[]) => ({ filesystem: { read_only } })
const readWrite = (...read_write: string[]) => ({ filesystem: { read_write } })
const host = (name: string, rule = '') => ({
  network_policies: { r1: { name: rule, endpoints: [{ host: name, port: 443 }] } },
})
const wildcard = (rule: string, name: string) =>
  `network policy '${rule}': TLD wildcard '${name}' is not allowed; use subdomain wildcards like '*.example.com' instead`

const ROWS: [string, Init<SandboxPolicy>, string[]][] = [
  ['empty', {}, []],
  [
    'user root',
    { process: { run_as_user: 'root', run_as_group: 'sandbox' } },
    ["run_as_user must be 'sandbox', got 'root'"],
  ],
  ['256 paths', readOnly(...paths(256)), []],
  [
    '257 paths in two lists',
    { filesystem: { read_only: paths(200), read_write: paths(57, 'q') } },
    ['too many filesystem paths (257 > 256)'],
  ],
  ['path of 4096', readOnly(`/${'a'.repeat(4095)}`), []],
  ['path of 4097', readOnly('a'.repeat(4097)), [`path exceeds maximum length (4097 > 4096): ${'a'.repeat(77)}...`]],
  [
    'cut inside a letter (W29)',
    readOnly(`/${'a'.repeat(75)}${'é'.repeat(2100)}`),
    [`path exceeds maximum length (4276 > 4096): /${'a'.repeat(75)}...`],
  ],
  ['empty path', readOnly(''), ["path must be absolute (start with '/'): "]],
  [
    'relative and dot dot',
    readOnly('../x'),
    ["path must be absolute (start with '/'): ../x", "path contains '..' traversal component: ../x"],
  ],
  ['dots in a name', readOnly('/a/..b/c..'), []],
  ['read-only root', readOnly('/'), []],
  ['read-write slashes', readWrite('///'), ['read-write path is overly broad: ///']],
  ['read-write root by a dot', readWrite('/.'), []],
  ['host *.com', host('*.com'), [wildcard('r1', '*.com')]],
  ['host **.org in a named rule', host('**.org', 'web'), [wildcard('web', '**.org')]],
  ['host *.', host('*.'), [wildcard('r1', '*.')]],
  ...['*.example.com', '*', '*com', 'a.*', '**'].map((name): [string, Init<SandboxPolicy>, string[]] => [
    `host ${name}`,
    host(name),
    [],
  ]),
  [
    'order',
    {
      filesystem: { read_only: ['r1', 'r2'], read_write: ['/', 'w1'] },
      process: { run_as_user: 'a', run_as_group: 'b' },
    },
    [
      "run_as_user must be 'sandbox', got 'a'",
      "run_as_group must be 'sandbox', got 'b'",
      ...['r1', 'r2', 'w1'].map(path => `path must be absolute (start with '/'): ${path}`),
      'read-write path is overly broad: /',
    ],
  ],
]

test.each(ROWS)('%s', (_, policy, violations) => {
  expect(check(policy)).toEqual(violations)
})
