/**
 * Addresses and networks as numbers. Only the strict spellings are addresses: dotted quads without leading zeros and
 * RFC 4291 text without brackets and zones (spec/policy.md §2.3).
 */

export interface IpAddress {
  readonly version: 4 | 6
  readonly bits: bigint
}

export interface IpNetwork {
  /** With host bits cleared. */
  readonly base: IpAddress
  readonly prefix: number
}

const WIDTH = { 4: 32, 6: 128 } as const
const OCTET = /^(?:0|[1-9]\d{0,2})$/
const GROUP = /^[0-9a-fA-F]{1,4}$/
const MAPPED = 0xffffn

function parseV4(text: string): bigint | null {
  const octets = text.split('.', 5)
  if (octets.length !== 4) return null
  let bits = 0n
  for (const octet of octets) {
    if (!OCTET.test(octet) || Number(octet) > 255) return null
    bits = (bits << 8n) | BigInt(octet)
  }
  return bits
}

/** 16-bit groups of one side of `::`; null when one is malformed. A dotted quad may stand last. */
function parseGroups(text: string, mayEndDotted: boolean): bigint[] | null {
  if (text === '') return []
  const groups: bigint[] = []
  const parts = text.split(':', 9)
  for (const [index, part] of parts.entries()) {
    if (mayEndDotted && index === parts.length - 1 && part.includes('.')) {
      const quad = parseV4(part)
      if (quad === null) return null
      groups.push(quad >> 16n, quad & 0xffffn)
    } else if (GROUP.test(part)) groups.push(BigInt(`0x${part}`))
    else return null
  }
  return groups
}

function parseV6(text: string): bigint | null {
  if (text.length > 45) return null
  const sides = text.split('::', 3)
  if (sides.length > 2) return null
  const head = parseGroups(sides[0]!, sides.length === 1)
  const tail = sides.length === 2 ? parseGroups(sides[1]!, true) : []
  if (!head || !tail) return null
  const missing = 8 - head.length - tail.length
  if (sides.length === 1 ? missing !== 0 : missing < 1) return null
  const groups = [...head, ...Array<bigint>(missing).fill(0n), ...tail]
  return groups.reduce((bits, group) => (bits << 16n) | group, 0n)
}

/** The address `text` spells, or null. */
export function parseIp(text: string): IpAddress | null {
  if (text.includes(':')) {
    const bits = parseV6(text)
    return bits === null ? null : { version: 6, bits }
  }
  const bits = parseV4(text)
  return bits === null ? null : { version: 4, bits }
}

const masked = (address: IpAddress, prefix: number): bigint => {
  const host = BigInt(WIDTH[address.version] - prefix)
  return (address.bits >> host) << host
}

/** The network `text` spells (`address/digits`, or one address), or null. Host bits may be set; `/08` counts, `/008` does not. */
export function parseNetwork(text: string): IpNetwork | null {
  const slash = text.indexOf('/')
  const address = parseIp(slash < 0 ? text : text.slice(0, slash))
  if (!address) return null
  if (slash < 0) return { base: address, prefix: WIDTH[address.version] }
  const digits = text.slice(slash + 1)
  if (!(address.version === 4 ? /^\d{1,2}$/ : /^\d{1,3}$/).test(digits)) return null
  const prefix = Number(digits)
  if (prefix > WIDTH[address.version]) return null
  return { base: { version: address.version, bits: masked(address, prefix) }, prefix }
}

const contains = (network: IpNetwork, address: IpAddress): boolean =>
  network.base.version === address.version && masked(address, network.prefix) === network.base.bits

const overlap = (a: IpNetwork, b: IpNetwork): boolean =>
  a.prefix < b.prefix ? contains(a, b.base) : contains(b, a.base)

const networks = (...texts: string[]): IpNetwork[] => texts.map(text => parseNetwork(text)!)

/** The IPv4 address inside `::ffff:0:0/96`, else the address itself. */
export function unmapped(address: IpAddress): IpAddress {
  return address.version === 6 && address.bits >> 32n === MAPPED
    ? { version: 4, bits: address.bits & 0xffffffffn }
    : address
}

const BLOCKED = networks('127.0.0.0/8', '169.254.0.0/16', '0.0.0.0/32', '::1/128', '::/128', 'fe80::/10')
const BLOCKED_RANGES = networks('127.0.0.0/8', '169.254.0.0/16')
const BLOCKED_INSIDE = ['::1', '::', 'fe80::'].map(text => parseIp(text)!)

/** Loopback, link-local or unspecified: never reachable from a sandbox, whatever its policy (spec/policy.md §2.3). */
export const isAlwaysBlocked = (address: IpAddress): boolean =>
  BLOCKED.some(network => contains(network, unmapped(address)))

/** Whether a network touches what is always blocked, in the reference's terms (spec/policy.md §2.3). */
export function isAlwaysBlockedNetwork(network: IpNetwork): boolean {
  if (network.base.version === 4)
    return network.base.bits === 0n || BLOCKED_RANGES.some(range => overlap(range, network))
  return BLOCKED_INSIDE.some(address => contains(network, address)) || isAlwaysBlocked(network.base)
}

const INTERNAL = networks(
  '0.0.0.0/32',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '::/128',
  '::1/128',
  'fc00::/7',
  'fe80::/10',
)

/** Whether an address is inside someone's own network; advice only (spec/policy.md §2.3). */
export const isInternal = (address: IpAddress): boolean =>
  INTERNAL.some(network => contains(network, unmapped(address)))

/** Whether any address of a network is internal. */
export function isInternalNetwork(network: IpNetwork): boolean {
  const base = unmapped(network.base)
  const plain = base.version === network.base.version ? network : { base, prefix: Math.max(0, network.prefix - 96) }
  return INTERNAL.some(range => overlap(range, plain))
}

/** TABLE of what is not a public IPv4 address (IANA special-purpose registry, RFC 6890). */
const NOT_PUBLIC_V4 = networks(
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
)
const GLOBAL_V6 = parseNetwork('2000::/3')!
/** Inside 2000::/3: IETF protocol assignments with Teredo, documentation, and 6to4, which carries any IPv4 address. */
const NOT_PUBLIC_V6 = networks('2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20')

/** Whether a connection to this address may leave the premises and nothing else (reliability I-12, decision 29). */
export function isPublic(address: IpAddress): boolean {
  const plain = unmapped(address)
  if (plain.version === 4) return !NOT_PUBLIC_V4.some(network => contains(network, plain))
  return contains(GLOBAL_V6, plain) && !NOT_PUBLIC_V6.some(network => contains(network, plain))
}
