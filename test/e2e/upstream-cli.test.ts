/**
 * The registry and the tokens in the hands of two programs: the command line tool that users of OpenShell have (0.0.38)
 * and ours. What one writes the other reads, and a sign-in made by either serves both (row 2, spec/client.md §15).
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { readFileSync, rmSync } from 'node:fs'
import type { DevIssuer } from '../../src/dev/issuer.ts'
import { type ClientHome, createClientHome, scripted } from '../kit/client-home.ts'
import type { GatewayProcess } from '../kit/gateway.ts'
import { fetchUpstreamCli } from '../kit/peers.ts'
import { startGatewayWithIssuer } from '../kit/signed-in-gateway.ts'

setDefaultTimeout(60_000)

const cliPath = fetchUpstreamCli('0.0.38')
if (typeof cliPath !== 'string') console.log(`skipped: ${cliPath.skipped}`)

interface Said {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

describe.skipIf(typeof cliPath !== 'string')('the openshell command 0.0.38 and ours', () => {
  let issuer: DevIssuer
  let gateway: GatewayProcess
  let home: ClientHome

  beforeAll(async () => {
    ;({ issuer, gateway } = await startGatewayWithIssuer())
  })
  afterAll(async () => {
    await gateway?.stop()
    await issuer?.close()
  })
  beforeEach(() => {
    home = createClientHome()
  })
  afterEach(() => home[Symbol.dispose]())

  const url = () => `http://${gateway.address}`

  /** Runs the other program on the same files; colours are taken out. */
  async function theirs(args: readonly string[], env: Record<string, string> = {}): Promise<Said> {
    const child = Bun.spawn([cliPath as string, ...args], {
      cwd: home.dir,
      env: { PATH: process.env['PATH']!, ...home.env, ...env },
      stdin: 'ignore',
      stdout: 'pipe',
      stderr: 'pipe',
    })
    const plain = (text: string) => text.replace(/\u001b\[[\d;]*m/g, '')
    const [stdout, stderr, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ])
    return { code, stdout: plain(stdout), stderr: plain(stderr) }
  }

  const oidc = () => ['--name', 'dev', '--oidc-issuer', issuer.url, '--oidc-scopes', 'openshell:all']
  const addOurs = () => home.run(['gateway', 'add', url(), ...oidc()], scripted('admin@test:admin'))
  const activeOurs = async () =>
    JSON.parse((await home.run(['gateway', 'list', '-o', 'json'])).stdout) as { name: string; active: boolean }[]

  test('a sign-in made by ours serves status, sandbox list and provider list of theirs', async () => {
    expect(await addOurs()).toMatchObject({ code: 0 })
    const status = await theirs(['status'])
    expect(status).toMatchObject({ code: 0 })
    expect(status.stdout).toContain('Gateway: dev')
    expect(status.stdout).toContain('Status: Connected')
    expect(await theirs(['sandbox', 'list'])).toMatchObject({ code: 0 })
    expect(await theirs(['provider', 'list'])).toMatchObject({ code: 0 })
    const listed = await theirs(['gateway', 'list'])
    expect(listed.stdout).toMatch(new RegExp(`\\* dev +${url()} +remote +oidc`))
    expect((await theirs(['gateway', 'info'])).stdout).toContain(`Gateway endpoint: ${url()}`)
  })

  test('a sign-in made by theirs serves call and status of ours', async () => {
    const added = await theirs(['gateway', 'add', url(), ...oidc(), '--oidc-client-id', 'openshell-ci'], {
      OPENSHELL_OIDC_CLIENT_SECRET: 'ci-test-secret',
    })
    expect(added).toMatchObject({ code: 0 })
    expect(await home.run(['call', 'ListSandboxes'])).toMatchObject({ code: 0, stdout: '{}\n', stderr: '' })
    expect(JSON.parse((await home.run(['gateway', 'status', '-o', 'json'])).stdout)).toMatchObject({
      gateway: 'dev',
      auth: 'oidc',
      access: 'granted',
    })
  })

  test('metadata and active gateway are the same bytes whoever adds', async () => {
    const secret = { OPENSHELL_OIDC_CLIENT_SECRET: 'ci-test-secret' }
    const adds: readonly (readonly string[])[] = [
      [url(), ...oidc(), '--oidc-client-id', 'openshell-ci'],
      [url(), ...oidc(), '--oidc-client-id', 'openshell-ci', '--oidc-audience', 'openshell-cli', '--local'],
      [url(), '--name', 'plain'],
      [url(), '--name', 'near', '--local'],
      [url()],
      ['http://gateway.example:8080'],
    ]
    for (const args of adds) {
      const written: Record<string, string>[] = []
      for (const program of [theirs, home.run]) {
        rmSync(home.path(), { recursive: true, force: true })
        expect(await program(['gateway', 'add', ...args], secret)).toMatchObject({ code: 0 })
        const active = readFileSync(home.path('active_gateway'), 'utf8')
        written.push({ active, metadata: home.read('gateways', active, 'metadata.json') })
      }
      // Their --local is about a gateway in a container of this machine; the rest of the file is the same.
      expect(written[1]).toEqual(written[0]!)
    }
  })

  test('a token renewed by ours is the one theirs goes on with, and the other way round', async () => {
    await addOurs()
    const path = ['gateways', 'dev', 'oidc_token.json'] as const
    const age = () => home.write(JSON.stringify({ ...JSON.parse(home.read(...path)), expires_at: 1 }, null, 2), ...path)
    age()
    expect(await home.run(['call', 'ListSandboxes'])).toMatchObject({ code: 0 })
    expect(await theirs(['sandbox', 'list'])).toMatchObject({ code: 0 })
    age()
    expect(await theirs(['sandbox', 'list'])).toMatchObject({ code: 0 })
    expect(JSON.parse(home.read(...path)).expires_at).toBeGreaterThan(1)
    expect(await home.run(['call', 'ListSandboxes'])).toMatchObject({ code: 0, stderr: '' })
  })

  test('select, logout and remove of one are seen by the other', async () => {
    await addOurs()
    await home.run(['gateway', 'add', url(), '--name', 'two'])
    expect(await theirs(['gateway', 'select', 'dev'])).toMatchObject({ code: 0 })
    expect((await activeOurs()).filter(row => row.active).map(row => row.name)).toEqual(['dev'])
    expect(await home.run(['gateway', 'select', 'two'])).toMatchObject({ code: 0 })
    expect((await theirs(['gateway', 'list'])).stdout).toMatch(/\* two /)
    expect(await theirs(['gateway', 'logout', 'dev'])).toMatchObject({ code: 0 })
    expect(await home.run(['token', '-g', 'dev'])).toMatchObject({ code: 3 })
    expect(await home.run(['gateway', 'remove', 'two'])).toMatchObject({ code: 0 })
    expect((await theirs(['gateway', 'list'])).stdout).not.toContain('two')
    expect(await theirs(['gateway', 'remove', 'dev'])).toMatchObject({ code: 0 })
    expect(await activeOurs()).toEqual([])
  })
})
