import { describe, expect, setDefaultTimeout, test } from 'bun:test'
import fc from 'fast-check'
import { encodePolicy, encodeRule } from '../../../src/domain/policy-bytes.ts'
import { overlaps, overlapsAny } from '../../../src/domain/policy-endpoint.ts'
import { hashPolicy } from '../../../src/domain/policy-hash.ts'
import { type MergeOperation, mergePolicy } from '../../../src/domain/policy-merge.ts'
import { emptyPolicy, withIdentity } from '../../../src/domain/policy-normalize.ts'
import { parseOperations } from '../../../src/domain/policy-operations.ts'
import { blockedViolation, isPathEnrichment, staticViolation } from '../../../src/domain/policy-validate.ts'
import { amend, codec, type Init } from '../../../src/wire/codec.ts'
import { readMap, writeMap } from '../../../src/wire/maps.ts'
import type { NetworkPolicyRule, SandboxPolicy } from '../../../src/wire/messages.generated.ts'
import { anyOperation, anyPolicy, anyRule } from '../../kit/policy-arbitrary.ts'

// FC_RUNS may ask for many.
setDefaultTimeout(600_000)

const POLICY = codec('openshell.sandbox.v1.SandboxPolicy')
const policyOf = (init: Init<SandboxPolicy>): SandboxPolicy => POLICY.decode(POLICY.encode(init))
const RUNS = { numRuns: Number(process.env['FC_RUNS'] ?? 200) }

const DEFAULT = {
  version: 1,
  filesystem: {
    include_workdir: true,
    read_only: ['/usr', '/lib', '/proc', '/dev/urandom', '/app', '/etc', '/var/log'],
    read_write: ['/sandbox', '/tmp', '/dev/null'],
  },
  landlock: { compatibility: 'best_effort' },
  process: { run_as_user: 'sandbox', run_as_group: 'sandbox' },
}
const A = {
  name: 'github',
  endpoints: [
    { host: 'api.github.com', port: 443, ports: [443], protocol: 'rest', enforcement: 'enforce', access: 'read-only' },
  ],
  binaries: [{ path: '/usr/bin/curl' }],
}
const B = {
  name: 'gitlab',
  endpoints: [
    {
      host: 'gitlab.com',
      port: 80,
      ports: [80, 443],
      protocol: 'rest',
      rules: [
        {
          allow: {
            method: 'GET',
            path: '/api/**',
            query: new Map([
              ['slug', { glob: 'my-*' }],
              ['tag', { any: ['v1.*', 'v2.*'] }],
            ]),
          },
        },
      ],
      allowed_ips: ['10.0.5.0/24'],
      deny_rules: [{ method: '*', path: '/admin' }],
      allow_encoded_slash: true,
    },
  ],
}

describe('hash (spec/policy.md §4.2)', () => {
  test.each([
    ['an empty message', {}, 'df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119'],
    ['version 7 alone', { version: 7 }, 'e8613f5a5bc9f9feeda32a8e7c80b69dd4878e47b6a91723fb15eb84236b6a2b'],
    ['the restrictive default', DEFAULT, '21ca0b7c8c0ee3fe71660bb18960bdb2d572b6904f6a22338eba727ca26add43'],
    [
      'default and A',
      { ...DEFAULT, network_policies: { github: A } },
      '7cc003b50e7afe2c151068d30dd0196e076465c45fb24cb421dc182c8aeeaecb',
    ],
    [
      'default, B and A',
      { ...DEFAULT, network_policies: { gitlab: B, github: A } },
      'b0d8bd271276ded7a80eb157db14236c15e251f1b32b151b3c89b3a4e104b3d8',
    ],
  ])('%s', (_title, policy, hash) => expect(hashPolicy(policyOf(policy as never))).toBe(hash))

  test('rule bytes are those of other implementations', () => {
    const rule = codec('openshell.sandbox.v1.NetworkPolicyRule')
    const bytes =
      '0a066769746c6162126c0a0a6769746c61622e636f6d10501a04726573743a350a330a0347455412072f6170692f2a2a220e0a04736c756712060a046d792d2a22130a03746167120c120476312e2a120476322e2a420b31302e302e352e302f32344a0350bb03520b0a012a12062f61646d696e5801'
    expect(encodeRule(rule.decode(rule.encode(B as never))).toString('hex')).toBe(bytes)
  })

  test('equal content has equal bytes and hash in whatever order maps arrive; every change shows in the bytes', () => {
    const shuffled = <V>(record: Record<string, V>) => writeMap([...readMap(record)].reverse())
    fc.assert(
      fc.property(anyPolicy, anyPolicy, (policy, other) => {
        const turned = amend(policy, { network_policies: shuffled(policy.network_policies) })
        expect(encodePolicy(turned)).toEqual(encodePolicy(policy))
        expect(hashPolicy(turned)).toBe(hashPolicy(policy))
        const again = POLICY.decode(encodePolicy(policy))
        expect(encodePolicy(again)).toEqual(encodePolicy(policy))
        expect(hashPolicy(again)).toBe(hashPolicy(policy))
        expect(encodePolicy(POLICY.decode(POLICY.encode(policy)))).toEqual(encodePolicy(policy))
        if (hashPolicy(other) !== hashPolicy(policy)) expect(encodePolicy(other)).not.toEqual(encodePolicy(policy))
      }),
      RUNS,
    )
  })
})

describe('merge (spec/policy.md §6.1)', () => {
  const merged = (base: SandboxPolicy, ...operations: MergeOperation[]): SandboxPolicy | null => {
    const result = mergePolicy(base, operations)
    return 'policy' in result ? result.policy : null
  }

  test('is a function of its input, changes neither input nor static sections, and survives the wire', () => {
    fc.assert(
      fc.property(anyPolicy, fc.array(anyOperation, { maxLength: 5 }), (base, operations) => {
        const before = encodePolicy(base)
        const one = mergePolicy(base, operations)
        expect(encodePolicy(base)).toEqual(before)
        const two = mergePolicy(POLICY.decode(before), operations)
        if ('refusal' in one) return expect(two).toEqual(one)
        if ('refusal' in two) throw new Error('refused the second time')
        expect(encodePolicy(two.policy)).toEqual(encodePolicy(one.policy))
        expect(staticViolation(base, one.policy)).toBeNull()
        expect(one.policy.version).toBe(base.version)
        expect(hashPolicy(POLICY.decode(encodePolicy(one.policy)))).toBe(hashPolicy(one.policy))
      }),
      RUNS,
    )
  })

  test('one after the other is the same as all together', () => {
    fc.assert(
      fc.property(anyPolicy, fc.array(anyOperation, { maxLength: 8 }), (base, operations) => {
        let apart: SandboxPolicy | null = base
        for (const operation of operations) apart &&= merged(apart, operation)
        const together = merged(base, ...operations)
        expect(apart && encodePolicy(apart)).toEqual(together && encodePolicy(together))
      }),
      RUNS,
    )
  })

  test('an operation done twice changes nothing the second time', () => {
    fc.assert(
      fc.property(anyPolicy, anyOperation, (base, operation) => {
        const once = merged(base, operation)
        if (!once) return
        const twice = merged(once, operation)
        // Two endpoints of one rule may overlap only after the first merge has united their ports.
        if (operation.kind === 'add_rule')
          return expect(twice && readMap(twice.network_policies).size).toBe(readMap(once.network_policies).size)
        expect(twice && encodePolicy(twice)).toEqual(encodePolicy(once))
      }),
      RUNS,
    )
  })

  const reach = (policy: SandboxPolicy): Set<string> =>
    new Set(
      [...readMap(policy.network_policies).values()].flatMap(rule =>
        rule.endpoints.flatMap(endpoint =>
          (endpoint.ports.length > 0 ? endpoint.ports : [endpoint.port]).map(
            port => `${endpoint.host.toLowerCase()}:${port}`,
          ),
        ),
      ),
    )
  const asked = (rule: NetworkPolicyRule): Set<string> => reach({ ...emptyPolicy(), network_policies: { r: rule } })

  test('adding a rule invents no destination and loses none', () => {
    fc.assert(
      fc.property(anyPolicy, anyRule, (base, rule) => {
        const after = merged(base, { kind: 'add_rule', ruleName: 'new', rule })
        if (!after) return
        const wanted = reach(base).union(asked(rule))
        wanted.delete(':0')
        const got = reach(after)
        got.delete(':0')
        expect([...got].filter(one => !one.endsWith(':0')).toSorted()).toEqual(
          [...wanted].filter(one => !one.endsWith(':0')).toSorted(),
        )
      }),
      RUNS,
    )
  })

  test('removing never adds a destination', () => {
    fc.assert(
      fc.property(anyPolicy, anyOperation, (base, operation) => {
        if (!operation.kind.startsWith('remove_')) return
        const after = merged(base, operation)
        expect(after && [...reach(after)].filter(one => !reach(base).has(one))).toEqual([])
      }),
      RUNS,
    )
  })

  test('read-only becomes four allow rules when one is added, and access is cleared', () => {
    const base = policyOf({
      network_policies: { a: { endpoints: [{ host: 'h', port: 443, protocol: 'rest', access: 'read-only' }] } },
    })
    const rules = codec('openshell.v1.AddAllowRules').decode(
      codec('openshell.v1.AddAllowRules').encode({ rules: [{ allow: { method: 'POST', path: '/x' } }] }),
    ).rules
    const [endpoint] = merged(base, { kind: 'add_allow_rules', host: 'H', port: 443, rules })!.network_policies['a']!
      .endpoints
    expect(endpoint!.access).toBe('')
    expect(endpoint!.rules.map(rule => `${rule.allow!.method} ${rule.allow!.path}`)).toEqual([
      'GET **',
      'HEAD **',
      'OPTIONS **',
      'POST /x',
    ])
  })
})

test('overlapping with any of many endpoints is overlapping with one of them', () => {
  const endpoints = fc.array(anyRule, { maxLength: 3 }).map(rules => rules.flatMap(rule => rule.endpoints))
  fc.assert(
    fc.property(endpoints, endpoints, (some, others) => {
      const isAmong = overlapsAny(others)
      for (const one of some) expect(isAmong(one)).toBe(others.some(other => overlaps(one, other)))
    }),
    RUNS,
  )
})

describe('parsing operations', () => {
  test.each([
    [{}, 'merge_operations[0] is missing an operation'],
    [{ add_rule: { rule_name: ' ' } }, 'merge_operations[0].add_rule.rule_name is required'],
    [
      { add_rule: { rule_name: 'x', rule: {} } },
      'merge_operations[0].add_rule.rule must contain at least one endpoint',
    ],
    [{ remove_endpoint: { host: 'h' } }, 'merge_operations[0].remove_endpoint requires host and non-zero port'],
    [
      { add_allow_rules: { host: 'h', port: 1, rules: [{}] } },
      'merge_operations[0].add_allow_rules rules must include allow payloads',
    ],
    [
      { remove_binary: { rule_name: 'x', binary_path: ' ' } },
      'merge_operations[0].remove_binary requires rule_name and binary_path',
    ],
  ])('%p is refused by its place', (sent, violation) => {
    const request = codec('openshell.v1.UpdateConfigRequest')
    const { merge_operations } = request.decode(request.encode({ merge_operations: [sent] } as never))
    expect(parseOperations(merge_operations)).toEqual({ violation })
  })

  test('more than one call can bear: as many as there may be are taken, one more is refused', () => {
    const request = codec('openshell.v1.UpdateConfigRequest')
    const parse = (sent: readonly object[]) =>
      parseOperations(request.decode(request.encode({ merge_operations: sent } as never)).merge_operations)
    const removal = { remove_endpoint: { host: 'h', port: 1 } }
    const adding = (count: number) => ({
      add_rule: { rule_name: 'r', rule: { endpoints: Array(count).fill({ host: 'h', port: 1 }) } },
    })
    expect(parse(Array(1000).fill(removal))).toMatchObject({ operations: { length: 1000 } })
    expect(parse(Array(1001).fill(removal))).toEqual({
      violation: 'merge_operations exceeds maximum entries (1001 > 1000)',
    })
    expect(parse([adding(600), adding(400)])).toMatchObject({ operations: { length: 2 } })
    expect(parse([adding(600), adding(401)])).toEqual({
      violation: 'merge_operations add more endpoints than the maximum (1001 > 1000)',
    })
  })
})

describe('what a live sandbox may change (spec/policy.md §2.2, W1)', () => {
  test('itself, always; more paths, yes; fewer, other landlock or rules, no', () => {
    const base = policyOf({ ...DEFAULT, network_policies: { github: A } })
    const more = policyOf({
      ...DEFAULT,
      filesystem: { ...DEFAULT.filesystem, read_only: [...DEFAULT.filesystem.read_only, '/opt'] },
      network_policies: { github: A },
    })
    expect([staticViolation(base, base), staticViolation(base, more), isPathEnrichment(base, more)]).toEqual([
      null,
      null,
      true,
    ])
    expect(staticViolation(more, base)).toContain("'/opt' cannot be removed")
    expect(isPathEnrichment(base, policyOf(DEFAULT))).toBe(false)
    expect(staticViolation(base, policyOf({ ...DEFAULT, landlock: {} }))).toContain('landlock')
  })

  test('identity is filled in, other values stay', () => {
    expect(withIdentity(policyOf({})).process).toEqual({ run_as_user: 'sandbox', run_as_group: 'sandbox' })
    expect(withIdentity(policyOf({ process: { run_as_user: 'root' } })).process).toEqual({
      run_as_user: 'root',
      run_as_group: 'sandbox',
    })
  })

  test.each(['127.0.0.1', 'LOCALHOST', 'localhost.', '::ffff:169.254.1.1'])('a rule for %s is always blocked', host => {
    const rule = policyOf({ network_policies: { r: { endpoints: [{ host: 'ok.example.com' }, { host }] } } })
      .network_policies['r']!
    expect(blockedViolation(rule)).toContain('always')
  })
})
