import { type DevIssuer, startDevIssuer } from '../../src/dev/issuer.ts'
import { type GatewayProcess, startGateway } from './gateway.ts'

/** A gateway that asks the development issuer for tokens and scopes; no driver answers it. */
export async function startGatewayWithIssuer(): Promise<{ issuer: DevIssuer; gateway: GatewayProcess }> {
  const issuer = await startDevIssuer()
  const gateway = await startGateway({
    args: [
      ...['--compute-driver-socket', '/run/openshell-none/compute.sock'],
      ...['--oidc-issuer', issuer.url, '--oidc-scopes-claim', 'scope'],
    ],
  })
  await gateway.logged(line => line.message.startsWith('OIDC JWT validation enabled'))
  return { issuer, gateway }
}
