import { LIMITS } from '../limits.ts'
import type { Connection, DriverMethod } from './connection.ts'
import { DriverError } from './contract.ts'

/**
 * TABLE of the services that may be found behind a driver's socket, with a call that changes nothing. Newer credential
 * drivers share the package name of ours with clashing messages, so they are told apart by path alone (decision 11).
 */
const SERVICES: readonly (readonly [path: string, words: string])[] = [
  ['/openshell.compute.v1.ComputeDriver/GetCapabilities', 'a compute driver'],
  ['/openshell.credentials.v1.CredentialsDriver/ListCredentials', 'a credentials driver'],
  [
    '/openshell.credentials.v1.CredentialDriver/GetCapabilities',
    'a credential driver of a newer contract (service CredentialDriver)',
  ],
]

/** Says in words which known service answers on a connection, for the message about a wrong peer. */
export async function identifyPeer(connection: Connection): Promise<string> {
  for (const [path, words] of SERVICES) {
    try {
      await connection.unary(emptyCall(path), {}, { timeoutMs: LIMITS.driverCapabilitiesMs })
      return words
    } catch (error) {
      if (!(error instanceof DriverError) || error.kind !== 'UNIMPLEMENTED') return 'a peer that cannot be identified'
    }
  }
  return 'a gRPC server that is no driver of any known kind'
}

/** A call with an empty message whose answer is not looked into. */
const emptyCall = (path: string): DriverMethod<object, Uint8Array> => ({
  name: path,
  path,
  request: { encode: () => Buffer.alloc(0) },
  response: { decode: bytes => bytes },
})
