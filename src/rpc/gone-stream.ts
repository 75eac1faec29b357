import type { Http2Stream } from 'node:http2'

const GONE = new Set(['ERR_HTTP2_INVALID_STREAM', 'ERR_HTTP2_INVALID_SESSION'])

/**
 * Runs what answers on a stream. A connection may be gone before its streams know: the engine then throws at whoever
 * answers, at a moment that the other end chooses. There is nobody to answer any more, and no reason to end the process.
 */
export function ifThere(stream: Http2Stream, answer: () => void): void {
  try {
    answer()
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && GONE.has(String(error.code)))) throw error
    stream.destroy()
  }
}
