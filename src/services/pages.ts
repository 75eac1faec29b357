import { LIMITS } from '../limits.ts'
import type { ObjectPage, StoredObject } from '../store/store.ts'

/** The number of rows a list call is answered with (spec/sandbox.md §4): 0 = the default, and never above the most. */
export const pageLimit = (limit: number): number =>
  limit === 0 ? LIMITS.pageDefault : Math.min(limit, LIMITS.pageMost)

export interface PageRequest {
  readonly limit: number
  readonly offset: number
  /** The page ends early before it is larger than this (W25). */
  readonly mostBytes: number
}

export interface PageItems<T> {
  readonly items: T[]
  /** Rows passed over because they could not be shaped, with the first reason. */
  readonly damaged: number
  readonly firstFault: unknown
}

/**
 * Gathers a page in slices, so that neither a thousand large rows nor one damaged row is more than the call can bear
 * (S-13); only the first slice looks for its place from the beginning (S-14). `shape` answers the bytes of one row, or
 * throws when the row is damaged. At least one row is answered whatever its size.
 */
export async function gatherPage<T extends { readonly bytes: number }>(
  request: PageRequest,
  read: (page: ObjectPage) => Promise<StoredObject[]>,
  shape: (row: StoredObject) => T,
): Promise<PageItems<T>> {
  const items: T[] = []
  let damaged = 0
  let firstFault: unknown = null
  let bytes = 0
  const limit = pageLimit(request.limit)
  let { offset } = request
  let after: StoredObject | undefined
  for (let taken = 0; taken < limit; ) {
    const wanted = Math.min(LIMITS.pageRows, limit - taken)
    const rows = await read({ limit: wanted, offset, after })
    for (const row of rows) {
      try {
        const item = shape(row)
        bytes += item.bytes
        if (bytes > request.mostBytes && items.length > 0) return { items, damaged, firstFault }
        items.push(item)
      } catch (error) {
        damaged++
        firstFault ??= error
      }
    }
    if (rows.length < wanted) break
    taken += rows.length
    offset = 0
    after = rows.at(-1)
  }
  return { items, damaged, firstFault }
}
