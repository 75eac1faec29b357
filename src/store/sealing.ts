import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'

/**
 * Credential values at rest (spec/storage.md W10, spec/providers.md W5). A sealed value is
 * `openshell:sealed:v1:<key id>:<base64url of nonce, tag and ciphertext>`, AES-256-GCM, bound to what it is about so that
 * it cannot be moved to another record. Values without that prefix are clear text from before and are read as they are.
 */
export interface CredentialSealer {
  /** The form to store. */
  seal(plain: string, about: string): string
  /** The value behind a stored form. Throws `SealError`. */
  open(stored: string, about: string): string
}

/** A sealed value that none of the keys opens. */
export class SealError extends Error {
  override readonly name = 'SealError'
}

const PREFIX = 'openshell:sealed:v1:'
const KEY_BYTES = 32
const NONCE_BYTES = 12
const TAG_BYTES = 16

interface Key {
  readonly id: string
  readonly bytes: Buffer
}

/**
 * Reads a key file: one 32-byte key a line, hexadecimal or base64; blank lines and `#` lines are skipped. The last key
 * seals, all of them open: a key is rotated by adding a line. Throws an `Error` that names the line, never its content.
 */
export function parseStoreKeys(text: string): Key[] {
  const keys: Key[] = []
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const bytes = decodeKey(line)
    if (bytes?.length !== KEY_BYTES) throw new Error(`line ${index + 1} is not a 32-byte key in hexadecimal or base64`)
    keys.push({ id: createHash('sha256').update('openshell store key').update(bytes).digest('hex').slice(0, 8), bytes })
  }
  if (keys.length === 0) throw new Error('there is no key in it')
  return keys
}

function decodeKey(line: string): Buffer | null {
  if (/^[0-9a-fA-F]{64}$/.test(line)) return Buffer.from(line, 'hex')
  return /^[A-Za-z0-9+/_-]{43}=?$/.test(line) ? Buffer.from(line, 'base64') : null
}

/** Off: files stay interchangeable with the reference (decision 9). A value sealed before is never taken for the secret itself. */
export const CLEAR_TEXT: CredentialSealer = {
  seal: plain => plain,
  open(stored) {
    if (isSealed(stored)) throw new SealError('a sealed value cannot be opened without the key file')
    return stored
  },
}

/** Seals with the last of `keys`. */
export function createSealer(keys: readonly Key[]): CredentialSealer {
  const active = keys.at(-1)!
  const byId = new Map(keys.map(key => [key.id, key]))
  return {
    seal(plain, about) {
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv('aes-256-gcm', active.bytes, nonce)
      cipher.setAAD(Buffer.from(about))
      const body = Buffer.concat([cipher.update(plain, 'utf8'), cipher.final()])
      return `${PREFIX}${active.id}:${Buffer.concat([nonce, cipher.getAuthTag(), body]).toString('base64url')}`
    },
    open(stored, about) {
      if (!stored.startsWith(PREFIX)) return stored
      const [id = '', text = ''] = stored.slice(PREFIX.length).split(':')
      const key = byId.get(id)
      if (!key) throw new SealError(`no key with id '${id.slice(0, 16)}' in the key file`)
      const bytes = Buffer.from(text, 'base64url')
      if (bytes.length < NONCE_BYTES + TAG_BYTES) throw new SealError('sealed value is too short')
      const decipher = createDecipheriv('aes-256-gcm', key.bytes, bytes.subarray(0, NONCE_BYTES), {
        authTagLength: TAG_BYTES,
      })
      decipher.setAAD(Buffer.from(about))
      decipher.setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES))
      try {
        return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString(
          'utf8',
        )
      } catch (cause) {
        throw new SealError('sealed value was changed', { cause })
      }
    },
  }
}

/** Whether a stored form is sealed. */
export const isSealed = (stored: string): boolean => stored.startsWith(PREFIX)
