import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { freePort } from '../../src/dev/free-port.ts'
import { findPeers } from './peers.ts'

/** A Keycloak with the realm of the documentation. */
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

/** What a realm differs in from the one of the documentation. */
export interface KeycloakOptions {
  readonly version?: string
  /** How long its access tokens live. */
  readonly tokenSecs?: number
  /** Its public client asks people for consent. */
  readonly asksConsent?: boolean
}

/** Runs until SIGTERM, and gives a busy machine more time than the script does by itself. */
const PROGRAM = `import json, keycloak, signal, sys
options = json.loads(sys.argv[1])
realm = keycloak.realm(ttl=options["tokenSecs"])
for client in realm["clients"]:
    if client["clientId"] == "openshell-cli" and options["asksConsent"]:
        client["consentRequired"] = True
server = keycloak.start(realm, options["port"], options["version"], wait=180)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print(server.issuer, flush=True)
try:
    server.proc.wait()
finally:
    server.stop()`

/** Starts it; the first start of a version downloads it. */
export async function startKeycloak(options: KeycloakOptions = {}): Promise<Keycloak> {
  if ('skipped' in peers) throw new Error(peers.skipped)
  const { python, folder } = peers
  const given = { version: '24.0.5', tokenSecs: 300, asksConsent: false, ...options, port: await freePort(0, true) }
  const child = spawn(python, ['-c', PROGRAM, JSON.stringify(given)], {
    env: { ...process.env, PYTHONPATH: folder },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = new Promise<null>(resolve => child.once('exit', () => resolve(null)))
  const line = new Promise<string>(resolve => createInterface({ input: child.stdout }).once('line', resolve))
  const issuer = await Promise.race([line, ended])
  if (issuer === null) throw new Error(`Keycloak ${given.version} did not start`)
  return {
    issuer,
    async stop() {
      child.kill('SIGTERM')
      await ended
    },
  }
}
