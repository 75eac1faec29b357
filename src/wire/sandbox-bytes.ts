import { WireError } from './codec.ts'

/** Field numbers of `openshell.v1.Sandbox`. */
const STATUS = 3
const PHASE = 4
const POLICY_VERSION = 5
/** Where later releases keep phase and policy version: in `SandboxStatus` (decision 10). */
const STATUS_PHASE_TAG = (6 << 3) | 0
const STATUS_POLICY_VERSION_TAG = (7 << 3) | 0

const EMPTY = new Uint8Array()

/** The outer fields of stored sandbox bytes, found without decoding the rest. */
export interface SandboxOutline {
  readonly phase: number
  readonly policyVersion: number
  /** Start of the status field's tag, of its content, and its end; null when absent. */
  readonly status: { readonly tagAt: number; readonly from: number; readonly to: number } | null
}

/** Walks the outer fields of a stored sandbox. Throws `WireError` when they are damaged (S-13). */
export function outlineSandbox(bytes: Uint8Array): SandboxOutline {
  let phase = 0
  let policyVersion = 0
  let status: SandboxOutline['status'] = null
  const reader = new Walker(bytes)
  while (!reader.done) {
    const tagAt = reader.at
    const tag = reader.varint()
    const field = Math.floor(tag / 8)
    if (tag % 8 === 2) {
      const length = reader.varint()
      const from = reader.at
      reader.skip(length)
      if (field === STATUS) status = { tagAt, from, to: reader.at }
    } else {
      const value = reader.scalar(tag % 8)
      if (field === PHASE) phase = value
      if (field === POLICY_VERSION) policyVersion = value
    }
  }
  return { phase, policyVersion, status }
}

/** Reads tags, lengths and scalars; every step stays inside the buffer. */
class Walker {
  at = 0
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get done(): boolean {
    return this.at >= this.#bytes.length
  }

  varint(): number {
    let value = 0
    for (let place = 1, read = 0; read < 10; read++, place *= 128) {
      if (this.done) throw new WireError('buffer underflow')
      const byte = this.#bytes[this.at++]!
      value += (byte & 0x7f) * place
      if (byte < 0x80) return value
    }
    throw new WireError('invalid varint')
  }

  skip(count: number): void {
    if (count > this.#bytes.length - this.at) throw new WireError('buffer underflow')
    this.at += count
  }

  scalar(wireType: number): number {
    if (wireType === 0) return this.varint()
    if (wireType === 1) this.skip(8)
    else if (wireType === 5) this.skip(4)
    else throw new WireError(`invalid wire type ${wireType}`)
    return 0
  }
}

/**
 * The parts of a stored sandbox as clients get it: phase and policy version stand at the places of both generations
 * of the contract whenever a status is there (decision 10). Stored bytes are not touched.
 */
export function emittedSandbox(bytes: Uint8Array): Uint8Array[] {
  const { phase, policyVersion, status } = outlineSandbox(bytes)
  if (!status) return [bytes]
  const added = [...scalar(STATUS_PHASE_TAG, phase), ...scalar(STATUS_POLICY_VERSION_TAG, policyVersion)]
  if (added.length === 0) return [bytes]
  const length = status.to - status.from + added.length
  return [
    bytes.subarray(0, status.tagAt),
    Uint8Array.from([(STATUS << 3) | 2, ...varint(length)]),
    bytes.subarray(status.from, status.to),
    Uint8Array.from(added),
    status.to < bytes.length ? bytes.subarray(status.to) : EMPTY,
  ]
}

const scalar = (tag: number, value: number): number[] => (value === 0 ? [] : [tag, ...varint(value)])

function varint(value: number): number[] {
  const bytes: number[] = []
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest]
    bytes.push((rest % 128) | 0x80)
  }
}
