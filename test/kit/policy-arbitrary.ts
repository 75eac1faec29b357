import fc from 'fast-check'
import type { MergeOperation } from '../../src/domain/policy-merge.ts'
import { codec } from '../../src/wire/codec.ts'
import type { NetworkPolicyRule, SandboxPolicy } from '../../src/wire/messages.generated.ts'

/** Policies and operations that collide often: few names, hosts, ports. */

const POLICY = codec('openshell.sandbox.v1.SandboxPolicy')
const RULE = codec('openshell.sandbox.v1.NetworkPolicyRule')

const KEYS = ['a', 'B', 'é', '～', '😀', '__proto__', 'constructor', '']
const few = <T>(item: fc.Arbitrary<T>, maxLength = 3) => fc.array(item, { maxLength })
const map = <T>(item: fc.Arbitrary<T>) =>
  fc
    .uniqueArray(fc.tuple(fc.constantFrom(...KEYS), item), { maxLength: 4, selector: ([key]) => key })
    .map(entries => new Map(entries))
const host = fc.constantFrom('a.example.com', 'A.example.com', 'b.example.com', '*.example.com', '')
const port = fc.constantFrom(0, 80, 443, 8443)
const query = map(fc.record({ glob: fc.constantFrom('', '*', 'x'), any: few(fc.constantFrom('', 'y')) }))
const l7 = fc.record({
  method: fc.constantFrom('', 'GET', '*'),
  path: fc.constantFrom('', '**'),
  command: fc.constantFrom('', 'SELECT'),
  query,
})
const allow = fc.record({ allow: fc.option(l7, { nil: undefined }) })

const endpoint = fc.record({
  host,
  port,
  protocol: fc.constantFrom('', 'rest', 'sql'),
  tls: fc.constantFrom('', 'skip'),
  enforcement: fc.constantFrom('', 'enforce', 'audit'),
  access: fc.constantFrom('', 'read-only', 'read-write', 'full'),
  rules: few(allow),
  allowed_ips: few(fc.constantFrom('10.0.0.1', '10.0.0.0/8')),
  ports: few(fc.constantFrom(80, 443, 8443)),
  deny_rules: few(l7),
  allow_encoded_slash: fc.boolean(),
})
const ruleInit = fc.record({
  name: fc.constantFrom('', 'x', 'y'),
  endpoints: few(endpoint),
  binaries: few(fc.record({ path: fc.constantFrom('/a', '/b'), harness: fc.boolean() })),
})
const paths = few(fc.constantFrom('/a', '/b', '/c'))

/** A rule as it comes off the wire. */
export const anyRule: fc.Arbitrary<NetworkPolicyRule> = ruleInit.map(init => RULE.decode(RULE.encode(init)))

/** A policy as it comes off the wire. */
export const anyPolicy: fc.Arbitrary<SandboxPolicy> = fc
  .record({
    version: fc.constantFrom(0, 1, 7, 4_294_967_295),
    filesystem: fc.option(fc.record({ include_workdir: fc.boolean(), read_only: paths, read_write: paths }), {
      nil: undefined,
    }),
    landlock: fc.option(fc.record({ compatibility: fc.constantFrom('', 'best_effort') }), { nil: undefined }),
    process: fc.option(
      fc.record({ run_as_user: fc.constantFrom('', 'sandbox'), run_as_group: fc.constantFrom('', 'sandbox') }),
      { nil: undefined },
    ),
    network_policies: map(ruleInit),
  })
  .map(init => POLICY.decode(POLICY.encode(init)))

const name = fc.constantFrom('a', 'B', 'new', '__proto__')
const L7 = codec('openshell.sandbox.v1.L7DenyRule')
const ALLOW = codec('openshell.sandbox.v1.L7Rule')

/** Every kind of operation. */
export const anyOperation: fc.Arbitrary<MergeOperation> = fc.oneof(
  fc.record({ kind: fc.constant('add_rule' as const), ruleName: name, rule: anyRule }),
  fc.record({ kind: fc.constant('remove_endpoint' as const), ruleName: fc.constantFrom('', 'a', 'new'), host, port }),
  fc.record({ kind: fc.constant('remove_rule' as const), ruleName: name }),
  fc.record({
    kind: fc.constant('add_deny_rules' as const),
    host,
    port,
    rules: few(l7.map(init => L7.decode(L7.encode(init)))),
  }),
  fc.record({
    kind: fc.constant('add_allow_rules' as const),
    host,
    port,
    rules: few(allow.map(init => ALLOW.decode(ALLOW.encode(init)))),
  }),
  fc.record({ kind: fc.constant('remove_binary' as const), ruleName: name, path: fc.constantFrom('/a', '/b') }),
)
