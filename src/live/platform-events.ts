import { LIMITS } from '../limits.ts'
import { codec, type Init } from '../wire/codec.ts'
import { readMap, writeMap } from '../wire/maps.ts'
import type { ComputeDriverPlatformEvent, PlatformEvent } from '../wire/messages.generated.ts'
import { Ring, type RingItem } from './ring.ts'
import type { WatchBus } from './watch-bus.ts'

/** An event as it is kept: the `PlatformEvent` it is sent as. */
export interface StoredEvent extends RingItem {
  readonly encoded: Uint8Array
}

/** The last platform events of live sandboxes, in memory (spec/sandbox.md §6.1). */
export interface PlatformEvents {
  /** Keeps an event of a sandbox that exists and tells its watchers. */
  publish(id: string, event: ComputeDriverPlatformEvent): void
  ring(id: string): Ring<StoredEvent> | null
  remove(id: string): void
}

export function createPlatformEvents(bus: Pick<WatchBus, 'arrived'>): PlatformEvents {
  const rings = new Map<string, Ring<StoredEvent>>()
  return {
    publish(id, event) {
      const ring = rings.get(id) ?? new Ring<StoredEvent>(LIMITS.platformEvents)
      rings.set(id, ring)
      const encoded = codec('openshell.v1.PlatformEvent').encode(bounded(event))
      ring.push({ encoded, bytes: encoded.length })
      bus.arrived(id)
    },
    ring: id => rings.get(id) ?? null,
    remove: id => void rings.delete(id),
  }
}

const clip = (text: string): string =>
  text.length > LIMITS.driverTextChars ? `${text.slice(0, LIMITS.driverTextChars).toWellFormed()}…` : text

/** Passed through as long as it is of a sane size (W38). */
function bounded(event: ComputeDriverPlatformEvent): Init<PlatformEvent> {
  const metadata = new Map<string, string>()
  let room: number = LIMITS.platformEventBytes
  for (const [key, value] of readMap(event.metadata)) {
    room -= key.length + value.length
    if (room < 0 || metadata.size === LIMITS.driverEventMetadata) break
    metadata.set(key, value)
  }
  return {
    timestamp_ms: event.timestamp_ms,
    source: clip(event.source),
    type: clip(event.type),
    reason: clip(event.reason),
    message: clip(event.message),
    metadata: writeMap(metadata),
  }
}
