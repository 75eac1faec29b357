/** The body of an answer, or `too large` as soon as it is more than `most` bytes; rejects when it breaks off. */
export async function readBounded(response: Response, most: number): Promise<Uint8Array<ArrayBuffer> | 'too large'> {
  const parts: Uint8Array[] = []
  let size = 0
  for await (const part of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    size += part.length
    if (size > most) return 'too large'
    parts.push(part)
  }
  return new Uint8Array(Buffer.concat(parts))
}
