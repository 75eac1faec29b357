/**
 * The command line tool that users of OpenShell have (0.0.38), with everything about policies, settings, proposed
 * rules, providers and inference, as its user would type it, against the executable.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type DriverProcess, startDriver } from '../kit/driver-process.ts'
import { type GatewayProcess, startGateway, until } from '../kit/gateway.ts'
import { fetchUpstreamCli } from '../kit/peers.ts'

setDefaultTimeout(60_000)

const cliPath = fetchUpstreamCli('0.0.38')
if (typeof cliPath !== 'string') console.log(`skipped: ${cliPath.skipped}`)

/** TABLE of provider types the tool knows, aliases included, and what the gateway gets to see. */
const TYPES: readonly (readonly [typed: string, stored: string])[] = [
  ['anthropic', 'anthropic'],
  ['claude', 'claude'],
  ['codex', 'codex'],
  ['copilot', 'copilot'],
  ['generic', 'generic'],
  ['github', 'github'],
  ['gh', 'github'],
  ['gitlab', 'gitlab'],
  ['glab', 'gitlab'],
  ['nvidia', 'nvidia'],
  ['openai', 'openai'],
  ['opencode', 'opencode'],
  ['outlook', 'outlook'],
]

const BASE = `version: 1
filesystem_policy:
  include_workdir: true
  read_only: [/usr, /lib]
  read_write: [/tmp]
landlock:
  compatibility: best_effort
process:
  run_as_user: sandbox
  run_as_group: sandbox
`
const FILES = {
  'wider.yaml': `${BASE}network_policies:
  github:
    name: github
    endpoints:
      - { host: api.github.com, port: 443, protocol: rest, access: read-only, enforcement: enforce }
    binaries:
      - path: /usr/bin/curl
`,
  'narrower.yaml': BASE.replace('/usr, ', ''),
  'root.yaml': BASE.replace('run_as_user: sandbox', 'run_as_user: root'),
  'global.yaml': `version: 1
network_policies:
  everywhere:
    name: everywhere
    endpoints:
      - { host: example.com, port: 443 }
`,
} as const

describe.skipIf(typeof cliPath !== 'string')('openshell 0.0.38', () => {
  const home = mkdtempSync(join(tmpdir(), 'upstream-policy-'))
  let driver: DriverProcess
  let gateway: GatewayProcess
  let sandboxId: string

  const cli = async (...args: string[]): Promise<{ code: number; said: string }> => {
    const child = Bun.spawn([cliPath as string, ...args], {
      cwd: home,
      env: { PATH: process.env['PATH']!, HOME: home, OPENAI_API_KEY: 'sk-from-the-environment' },
      stdin: 'ignore',
      stdout: 'pipe',
      stderr: 'pipe',
    })
    const [stdout, stderr, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ])
    const said = `${stdout}${stderr}`.replace(/\u001b\[[0-9;]*[A-Za-z]/g, '').replace(/\n +│ /g, ' ')
    return { code, said }
  }
  const works = async (...args: string[]): Promise<string> => {
    const { code, said } = await cli(...args)
    if (code !== 0) throw new Error(`openshell ${args.join(' ')} ended with ${code}: ${said}`)
    return said
  }
  /** What the tool says when it is refused. */
  const fails = async (...args: string[]): Promise<string> => {
    const { code, said } = await cli(...args)
    expect(code).toBe(1)
    return said
  }
  const columns = (table: string, line: RegExp): string[] =>
    table
      .split('\n')
      .find(text => line.test(text))!
      .trim()
      .split(/ {2,}/)

  beforeAll(async () => {
    driver = await startDriver('compute-driver.ts', join(home, 'c.sock'))
    gateway = await startGateway({
      args: ['--compute-driver-socket', join(home, 'c.sock')],
      env: { OPENSHELL_INFERENCE_ALLOW_PRIVATE_ENDPOINTS: 'true' },
    })
    await gateway.logged(line => line.message === 'driver connected')
    const folder = join(home, '.config/openshell/gateways/mine')
    mkdirSync(folder, { recursive: true })
    const endpoint = `http://127.0.0.1:${gateway.port}`
    const metadata = { name: 'mine', gateway_endpoint: endpoint, is_remote: false, gateway_port: 0 }
    writeFileSync(join(folder, 'metadata.json'), JSON.stringify({ ...metadata, auth_mode: 'plaintext' }))
    writeFileSync(join(home, '.config/openshell/active_gateway'), 'mine')
    for (const [name, text] of Object.entries(FILES)) writeFileSync(join(home, name), text)
    const policy = {
      version: 1,
      filesystem: { include_workdir: true, read_only: ['/usr'], read_write: ['/tmp'] },
      landlock: { compatibility: 'best_effort' },
    }
    const made = await gateway.call('CreateSandbox', { name: 'one', spec: { policy } })
    sandboxId = (made.response as { sandbox: { metadata: { id: string } } }).sandbox.metadata.id
    await gateway.call('GetSandboxConfig', { sandbox_id: sandboxId })
  })
  afterAll(async () => {
    const bugs = gateway?.log.filter(line => line.message === 'bug')
    await gateway?.stop()
    await driver?.kill()
    rmSync(home, { recursive: true, force: true })
    expect(bugs).toEqual([])
  })

  test('policy get, set, list: versions grow, the same again is unchanged, the active one is shown', async () => {
    expect(await works('policy', 'get', 'one')).toMatch(/Version: +1\n.*Status: +Loaded/s)
    const set = /Policy version 2 submitted \(hash: ([0-9a-f]{12})\)/.exec(
      await works('policy', 'set', 'one', '--policy', 'wider.yaml'),
    )
    expect(await works('policy', 'set', 'one', '--policy', 'wider.yaml')).toContain(
      `Policy unchanged (version 2, hash: ${set![1]})`,
    )
    const report = { sandbox_id: sandboxId, version: 2, status: 'POLICY_STATUS_LOADED' }
    expect((await gateway.call('ReportPolicyStatus', report)).code).toBe('OK')
    const full = await works('policy', 'get', 'one', '--full')
    expect(full).toMatch(/Active: +2/)
    expect(full.slice(full.indexOf('version: 1'))).toContain('host: api.github.com')
    const list = await works('policy', 'list', 'one')
    expect(columns(list, /^2 /).slice(0, 3)).toEqual(['2', set![1]!, 'Loaded'])
    expect(columns(list, /^1 /)[2]).toBe('Superseded')
  })

  test('policy set --wait ends with success when the sandbox has loaded it', async () => {
    await works('policy', 'update', 'one', '--add-endpoint', 'wait.example.com:443:read-only:rest:enforce')
    const version = Number(/Version: +(\d+)/.exec(await works('policy', 'get', 'one'))![1])
    const waiting = works('policy', 'update', 'one', '--add-deny', 'wait.example.com:443:GET:/x', '--wait')
    const report = { sandbox_id: sandboxId, version: version + 1, status: 'POLICY_STATUS_LOADED' }
    const reported = async () => (await gateway.call('ReportPolicyStatus', report)).code === 'OK'
    await until('the revision to be there', reported)
    expect(await waiting).toContain(`version ${version + 1}`)
  })

  test('policy update: the tool and the gateway merge alike', async () => {
    await works('policy', 'update', 'one', '--add-endpoint', 'b.example.com:443:read-only:rest:enforce')
    await works('policy', 'update', 'one', '--add-deny', 'b.example.com:443:POST:/private/**')
    const preview = await works('policy', 'update', 'one', '--add-allow', 'b.example.com:443:PUT:/x', '--dry-run')
    await works('policy', 'update', 'one', '--add-allow', 'b.example.com:443:PUT:/x')
    const full = await works('policy', 'get', 'one', '--full')
    for (const part of ['allow_b_example_com_443', 'method: PUT', 'path: /private/**']) {
      expect(preview).toContain(part)
      expect(full).toContain(part)
    }
    expect(await works('policy', 'update', 'one', '--remove-rule', 'allow_b_example_com_443')).toContain('submitted')
  })

  test('policy set: what is refused is named', async () => {
    expect(await fails('policy', 'set', 'one', '--policy', 'narrower.yaml')).toContain(
      "filesystem read_only path '/usr' cannot be removed on a live sandbox",
    )
    expect(await fails('policy', 'set', 'one', '--policy', 'root.yaml')).toContain('on a live sandbox')
    expect(await fails('policy', 'get', 'none')).toContain('sandbox not found')
  })

  test('policy set/get/list/delete --global: sandboxes follow, and are their own again afterwards', async () => {
    expect(await works('policy', 'set', '--global', '--policy', 'global.yaml', '--yes')).toContain('configured')
    expect(await works('policy', 'get', '--global')).toMatch(/Version: +1\n.*Status: +Loaded/s)
    expect(columns(await works('policy', 'list', '--global'), /^1 /)[2]).toBe('Loaded')
    expect(await works('settings', 'get', 'one')).toContain('Policy Source: global')
    expect(await fails('policy', 'set', 'one', '--policy', 'wider.yaml')).toContain('policy is managed globally')
    expect(await works('policy', 'delete', '--global', '--yes')).toContain('Deleted global setting policy')
    expect(await works('settings', 'get', 'one')).toContain('Policy Source: sandbox')
  })

  test('settings set, get, delete: the gateway wins over the sandbox, whose value comes back', async () => {
    const key = ['--key', 'ocsf_json_enabled']
    expect(await works('settings', 'get', 'one')).toContain('ocsf_json_enabled = <unset> (unset)')
    await works('settings', 'set', 'one', ...key, '--value', 'yes')
    expect(JSON.parse(await works('settings', 'get', 'one', '--json'))).toMatchObject({
      settings: { ocsf_json_enabled: { scope: 'sandbox', value: 'true' } },
    })
    expect(await works('settings', 'set', '--global', ...key, '--value', 'false', '--yes')).toContain(
      'Set global setting ocsf_json_enabled=false',
    )
    expect(await works('settings', 'get', '--global')).toContain('ocsf_json_enabled = false')
    expect(await fails('settings', 'set', 'one', ...key, '--value', 'true')).toContain('is managed globally')
    expect(await fails('settings', 'delete', 'one', ...key)).toContain('is managed globally')
    await works('settings', 'delete', '--global', ...key, '--yes')
    expect(await works('settings', 'get', 'one')).toContain('ocsf_json_enabled = true (sandbox)')
    await works('settings', 'delete', 'one', ...key)
    expect(await works('settings', 'get', 'one')).toContain('ocsf_json_enabled = <unset>')
  })

  test('rule get, approve, reject, approve-all, clear, history', async () => {
    const hosts = ['a.example.com', 'c.example.com', 'd.example.com', '10.0.0.7']
    const proposed_chunks = hosts.map(host => ({
      rule_name: `allow_${host}`,
      rationale: `needs ${host}`,
      confidence: 0.75,
      hit_count: 3,
      proposed_rule: { endpoints: [{ host, port: 443, ports: [443] }], binaries: [{ path: '/usr/bin/git' }] },
    }))
    await gateway.call('SubmitPolicyAnalysis', { name: 'one', proposed_chunks })
    const shown = await works('rule', 'get', 'one')
    const idOf = (host: string) => new RegExp(`Chunk: (\\S+)\\n +Status: \\w+\\n +Rule: allow_${host}`).exec(shown)![1]!
    expect(shown).toContain("Security: Destination '10.0.0.7' appears to be an internal/private address.")
    const approve = ['rule', 'approve', 'one', '--chunk-id']
    expect(await works(...approve, idOf('a.example.com'))).toMatch(/Chunk approved\. Policy version: \d+, hash: \w{12}/)
    expect(await fails(...approve, idOf('a.example.com'))).toContain(
      "chunk status is 'approved', expected 'pending' or 'rejected'",
    )
    expect(await fails(...approve, 'none')).toContain('chunk not found')
    expect(await works('policy', 'get', 'one', '--full')).toContain('a.example.com')
    await works('rule', 'reject', 'one', '--chunk-id', idOf('c.example.com'), '--reason', 'not needed')
    await works('rule', 'reject', 'one', '--chunk-id', idOf('a.example.com'))
    expect(await works('policy', 'get', 'one', '--full')).not.toContain('a.example.com')
    expect(await works('rule', 'approve-all', 'one')).toContain('1 chunk(s) approved, 1 skipped')
    expect(await works('rule', 'get', 'one', '--status', 'pending')).toContain('Rule: allow_10.0.0.7')
    expect(await works('rule', 'clear', 'one')).toContain('1 pending chunk(s) cleared')
    expect(await fails('rule', 'approve-all', 'one')).toContain('no pending chunks to approve')
    const history = await works('rule', 'history', 'one')
    for (const line of ["c.example.com' rejected", "d.example.com' approved", 'proposed (confidence: 75%)'])
      expect(history).toContain(line)
  })

  test.each(TYPES)('provider of type %s: create, get, update, delete', async (typed, stored) => {
    const name = `p-${typed}`
    await works('provider', 'create', '--name', name, '--type', typed, '--credential', 'SOME_KEY=canary-value')
    await works('provider', 'update', name, '--credential', 'OTHER=canary-value', '--config', 'region=north')
    const got = await works('provider', 'get', name)
    for (const part of [`Type: ${stored}\n`, 'SOME_KEY', 'OTHER', 'Config keys: region']) expect(got).toContain(part)
    expect(got).not.toContain('canary-value')
    expect(columns(await works('provider', 'list'), new RegExp(`^${name} `))).toEqual([name, stored, '2', '1'])
    await works('provider', 'delete', name)
  })

  test('provider: from what is there, and what is refused is named', async () => {
    expect(await works('provider', 'create', '--name', 'found', '--type', 'openai', '--from-existing')).toContain(
      'Created provider found',
    )
    expect(await works('provider', 'get', 'found')).toContain('Credential keys: OPENAI_API_KEY')
    expect(await fails('provider', 'update', 'found', '--credential', 'BAD-KEY=x')).toContain("key 'BAD-KEY'")
    const driver = ['--credential', 'TOKEN=openshell:resolve:credential:github']
    expect(await fails('provider', 'create', '--name', 'held', '--type', 'generic', ...driver)).toContain(
      'no credentials driver is configured',
    )
    expect(gateway.output()).not.toContain('canary-value')
  })

  test('inference set, update, get: verified, versions grow, the system route beside it', async () => {
    const url = ['--config', 'OPENAI_BASE_URL=mock://llm']
    await works('provider', 'create', '--name', 'llm', '--type', 'openai', '--credential', 'OPENAI_API_KEY=sk', ...url)
    await works('provider', 'create', '--name', 'vcs', '--type', 'github', '--credential', 'GITHUB_TOKEN=x')
    expect(await works('inference', 'get')).toContain('Not configured')
    const set = await works('inference', 'set', '--provider', 'llm', '--model', 'gpt-4o', '--timeout', '30')
    expect(set).toContain('mock://llm/v1/chat/completions (openai_chat_completions)')
    await works('inference', 'set', '--system', '--provider', 'llm', '--model', 'small', '--no-verify')
    expect(await works('inference', 'update', '--model', 'gpt-5')).toMatch(/Model: gpt-5.*Version: 2.*Timeout: 30s/s)
    expect(await works('inference', 'get')).toMatch(/Model: gpt-5.*Model: small/s)
    expect(await fails('inference', 'set', '--provider', 'vcs', '--model', 'm')).toContain(
      "provider 'vcs' has unsupported type 'github' for cluster inference (supported: openai, anthropic, nvidia)",
    )
    expect(await fails('inference', 'set', '--provider', 'none', '--model', 'm')).toContain("provider 'none' not found")
  })
})
