import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../../src/dev/free-port.ts'
import { findPeers } from './peers.ts'

/** A Keycloak with the realm of the documentation, whose public client asks people for consent. */
export interface Keycloak {
  readonly issuer: string
  stop(): Promise<void>
}

const peers = findPeers('the test with a real Keycloak')
const missing = ['java', 'mvn'].filter(tool => Bun.which(tool) === null)

/** Why there is no Keycloak, in one plain sentence; null = there is one. */
export const noKeycloak: string | null =
  'skipped' in peers
    ? peers.skipped
    : missing.length > 0
      ? `the test with a real Keycloak needs a JDK and Maven; not found: ${missing.join(', ')}`
      : null

const REALM = `import json, keycloak, os
realm = keycloak.realm(ttl=int(os.environ["TOKEN_SECS"]))
for client in realm["clients"]:
    if client["clientId"] == "openshell-cli":
        client["consentRequired"] = True
print(json.dumps(realm))`

/** Starts it; the first start of a version downloads it. Its access tokens live for `tokenSecs`. */
export async function startKeycloak(version: string, tokenSecs = 300): Promise<Keycloak> {
  if ('skipped' in peers) throw new Error(peers.skipped)
  const { python, folder } = peers
  const dir = mkdtempSync(join(tmpdir(), 'keycloak-'))
  const realm = Bun.spawnSync([python, '-c', REALM], {
    env: { ...process.env, PYTHONPATH: folder, TOKEN_SECS: String(tokenSecs) },
    stderr: 'inherit',
  })
  writeFileSync(join(dir, 'realm.json'), realm.stdout)
  const port = String(await freePort(0, true))
  const script = [join(folder, 'keycloak.py'), join(dir, 'realm.json'), '--port', port, '--version', version]
  const child = Bun.spawn([python, ...script], { stdin: 'ignore', stdout: 'pipe', stderr: 'ignore' })
  let said = ''
  for await (const chunk of child.stdout) {
    said += new TextDecoder().decode(chunk)
    if (said.includes(' ready after ')) break
  }
  if (!said.includes(' ready after ')) throw new Error(`Keycloak ${version} did not start: ${said.slice(-500)}`)
  return {
    issuer: /http\S+/.exec(said)![0],
    async stop() {
      child.kill('SIGTERM')
      await child.exited
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
