/**
 * Every size, count and time the gateway enforces, with one line of reason each (reliability.md §5 unless said
 * otherwise). A number that bounds something stands here and nowhere else.
 */
export const LIMITS = {
  // Messages
  /** What the reference accepts (spec/gateway.md §8.3). */
  receiveMessageBytes: 1_048_576,
  /** Clients accept no more than 4 MiB (decision 20, W25). */
  sendMessageBytes: 4_194_304,
  /** A status text, cut at a character (decision 20). */
  statusTextBytes: 4096,

  // Lists
  pageDefault: 100,
  pageMost: 1000,
} as const
