import { createHmac } from 'node:crypto'

/** The parts of a delivered route that clients act upon. */
export interface RevisedRoute {
  readonly name: string
  readonly base_url: string
  readonly model_id: string
  readonly api_key: string
  readonly protocols: readonly string[]
  readonly provider_type: string
  readonly timeout_secs: bigint
}

/**
 * 16 hexadecimal digits that change with any part of any route, and tell nothing about the keys to who does not hold
 * `key` (spec/providers.md §12, W17). Every text goes in with its length, so that no two lists of routes look alike.
 */
export function bundleRevision(routes: readonly RevisedRoute[], key: string): string {
  const hash = createHmac('sha256', key)
  const text = (value: string) => {
    const bytes = Buffer.from(value, 'utf8')
    const length = Buffer.alloc(4)
    length.writeUInt32LE(bytes.length)
    hash.update(length).update(bytes)
  }
  for (const route of routes) {
    for (const field of ['name', 'base_url', 'model_id', 'api_key', 'provider_type'] as const) text(route[field])
    text(String(route.protocols.length))
    for (const protocol of route.protocols) text(protocol)
    text(route.timeout_secs.toString())
  }
  return hash.digest('hex').slice(0, 16)
}
