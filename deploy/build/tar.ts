/** One entry of an archive. Owner, time and order are chosen here, never taken from this machine: two builds are equal. */
export interface TarEntry {
  /** Path without a leading slash; a directory's ends with none either. */
  readonly path: string
  readonly kind: 'file' | 'directory' | 'link'
  readonly mode: number
  /** User and group id; 0 unless said. */
  readonly owner?: number
  readonly content?: Uint8Array
  /** Where a symbolic link points. */
  readonly target?: string
}

const BLOCK = 512
const NAME_BYTES = 100
const PREFIX_BYTES = 155
const TYPE = { file: '0', link: '2', directory: '5' } as const

/** Name and prefix fields of a ustar header; throws for a path that fits in neither way. */
function splitPath(path: string): readonly [name: string, prefix: string] {
  if (Buffer.byteLength(path) <= NAME_BYTES) return [path, '']
  for (let cut = path.indexOf('/'); cut > 0; cut = path.indexOf('/', cut + 1)) {
    const [prefix, name] = [path.slice(0, cut), path.slice(cut + 1)]
    if (Buffer.byteLength(prefix) <= PREFIX_BYTES && Buffer.byteLength(name) <= NAME_BYTES) return [name, prefix]
  }
  throw new Error(`the path does not fit into an archive: ${path}`)
}

function header(entry: TarEntry, timeSecs: number): Buffer {
  const block = Buffer.alloc(BLOCK)
  const octal = (value: number, offset: number, length: number) =>
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, offset, 'latin1')
  const [name, prefix] = splitPath(entry.kind === 'directory' ? `${entry.path}/` : entry.path)
  if (Buffer.byteLength(entry.target ?? '') > NAME_BYTES) throw new Error(`the link is too long: ${entry.target}`)
  block.write(name, 0)
  octal(entry.mode & 0o7777, 100, 8)
  octal(entry.owner ?? 0, 108, 8)
  octal(entry.owner ?? 0, 116, 8)
  octal(entry.content?.length ?? 0, 124, 12)
  octal(timeSecs, 136, 12)
  block.write('        ', 148)
  block.write(TYPE[entry.kind], 156)
  block.write(entry.target ?? '', 157)
  block.write('ustar\x0000', 257, 'latin1')
  block.write(prefix, 345)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

/** An uncompressed ustar archive of the entries in the order of their paths, all of one time. */
export function writeTar(entries: readonly TarEntry[], timeSecs: number): Uint8Array {
  const sorted = [...entries].sort((a, b) => (a.path < b.path ? -1 : 1))
  const parts: Uint8Array[] = []
  for (const entry of sorted) {
    parts.push(header(entry, timeSecs))
    if (!entry.content) continue
    parts.push(entry.content, new Uint8Array(-entry.content.length & (BLOCK - 1)))
  }
  return Buffer.concat([...parts, new Uint8Array(2 * BLOCK)])
}
