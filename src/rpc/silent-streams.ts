import { constants, type ServerHttp2Stream } from 'node:http2'
import { collectEvery } from '../base/collect.ts'
import { LIMITS } from '../limits.ts'

/** Streams on which no whole message has been read yet, by the address they come from (F-08). */
export interface SilentStreams {
  /** Counts the stream until it is heard or closes; false = it was refused, as its address has too many of them. */
  admit(stream: ServerHttp2Stream, address: string): boolean
  /** A message of it was read. */
  heard(stream: ServerHttp2Stream): void
}

/** What is known of one address. */
interface Source {
  readonly streams: Set<ServerHttp2Stream>
  /** Streams that may still be opened before it is counted again which of them are silent. */
  room: number
  /** Streams that are refused before that, once there was no room. */
  refusing: number
}

/**
 * Bounds what streams cost that are opened and then say nothing. They stay as long as their client likes, also after
 * the call on them was refused, and each holds several KiB. Callers send their message with the head: under load it
 * may wait here to be read, as a token has to be verified first, but then it is here, and the stream is not silent.
 * At most `perAddress` of one address; 0 = no such limit.
 */
export function createSilentStreams(perAddress: number): SilentStreams {
  // Behind a proxy one address is everybody.
  if (perAddress === 0) return { admit: () => true, heard: () => {} }
  const sources = new Map<string, Source>()
  const addresses = new WeakMap<ServerHttp2Stream, string>()
  const collect = collectEvery(LIMITS.silentStreamsPerCollection)

  const heard = (stream: ServerHttp2Stream) => {
    const address = addresses.get(stream)
    if (address === undefined) return
    addresses.delete(stream)
    const source = sources.get(address)!
    source.streams.delete(stream)
    if (source.streams.size === 0) sources.delete(address)
  }

  const makeRoom = (source: Source) => {
    let silent = 0
    for (const stream of source.streams) if (stream.readableLength === 0) silent += 1
    source.room = Math.max(0, perAddress - silent)
    source.refusing = LIMITS.silentStreamsPerCount
  }

  const refuse = (stream: ServerHttp2Stream) => {
    stream.on('error', () => {})
    stream.close(constants.NGHTTP2_REFUSED_STREAM)
    // Otherwise a flood of refused streams holds as much memory as the streams would.
    collect()
  }

  return {
    admit(stream, address) {
      const source = sources.get(address) ?? { streams: new Set(), room: perAddress, refusing: 0 }
      if (source.room === 0 && --source.refusing <= 0) makeRoom(source)
      if (source.room === 0) {
        refuse(stream)
        return false
      }
      source.room -= 1
      source.streams.add(stream)
      sources.set(address, source)
      addresses.set(stream, address)
      stream.once('close', () => heard(stream))
      return true
    },
    heard,
  }
}
