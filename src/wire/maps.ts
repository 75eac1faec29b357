/**
 * The only place that reads and writes protobuf maps. A decoded map is a plain object in which a key such as
 * `__proto__` is an own property; copying it with object literals loses such keys, a `Map` never does
 * (reliability.md I-04).
 */

/** A decoded map as a real `Map`, in wire order. */
export function readMap<V>(record: Readonly<Record<string, V>> | null | undefined): Map<string, V> {
  return new Map(record ? Object.entries(record) : [])
}

/** A `Map` as the record that `Codec.encode` takes; every key survives. */
export function writeMap<V>(entries: Iterable<readonly [string, V]>): Record<string, V> {
  const record: Record<string, V> = Object.create(null)
  for (const [key, value] of entries) record[key] = value
  return record
}
