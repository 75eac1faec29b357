import { afterAll, beforeAll, expect, test } from 'bun:test'
import { join } from 'node:path'
import { credentials, loadPackageDefinition, type ServiceError } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { type GatewayProcess, startGateway } from '../kit/gateway.ts'

/** A client made of the stock parts alone: it shares no code with the gateway but the proto files. */
const PROTO = join(import.meta.dir, '../../proto')
const definition = loadSync(['openshell.proto', 'inference.proto'], {
  includeDirs: [PROTO],
  keepCase: true,
  longs: String,
  enums: String,
  defaults: false,
})

type Call = (request: object, done: (error: ServiceError | null, answer: Record<string, unknown>) => void) => void
interface StockClient {
  close(): void
  [rpc: string]: Call | (() => void)
}

let gateway: GatewayProcess
let client: StockClient

const call = (rpc: string, request: object): Promise<Record<string, unknown>> =>
  new Promise((resolve, reject) =>
    (client[rpc] as Call).call(client, request, (error, answer) => (error ? reject(error) : resolve(answer))),
  )

beforeAll(async () => {
  gateway = await startGateway({
    args: ['--drivers', 'external', '--compute-driver-socket', '/nonexistent/compute.sock'],
  })
  const loaded = loadPackageDefinition(definition) as unknown as {
    openshell: { v1: { OpenShell: new (...args: unknown[]) => StockClient } }
  }
  client = new loaded.openshell.v1.OpenShell(gateway.address, credentials.createInsecure())
})

afterAll(async () => {
  client.close()
  await gateway.stop()
})

test('a client made by proto-loader is understood and understands', async () => {
  expect(await call('Health', {})).toMatchObject({ version: expect.any(String) })
  const provider = {
    metadata: { name: 'stock', labels: { team: 'a' } },
    type: 'generic',
    credentials: { KEY: 'value' },
    config: { url: 'https://example.test' },
  }
  const created = (await call('CreateProvider', { provider })) as {
    provider: { metadata: { id: string; created_at_ms?: string } }
  }
  expect(created.provider).toMatchObject({
    type: 'generic',
    credentials: { KEY: 'REDACTED' },
    config: { url: 'https://example.test' },
  })
  expect(created.provider.metadata.id).toMatch(/^[0-9a-f-]{36}$/)
  expect(await call('ListProviders', {})).toMatchObject({ providers: [{ metadata: { name: 'stock' } }] })
  expect(await call('DeleteProvider', { name: 'stock' })).toEqual({ deleted: true })
})

test('a refusal carries its code and its words', async () => {
  const refused = call('GetProvider', { name: 'nobody' })
  expect(refused).rejects.toMatchObject({ code: 5, details: 'provider not found' })
})
