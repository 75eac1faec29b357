import { afterAll, describe, expect, test } from 'bun:test'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readSecretFile } from '../../../src/config/secret-file.ts'

const dir = mkdtempSync(join(tmpdir(), 'secret-file-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

function file(name: string, content: string | Uint8Array, mode = 0o600): string {
  const path = join(dir, name)
  writeFileSync(path, content)
  chmodSync(path, mode)
  return path
}

describe('a secret file', () => {
  test('gives its content without the line break at the end', () => {
    expect(readSecretFile(file('a', 'hush\n'))).toEqual({ ok: true, secret: 'hush', warnings: [] })
    expect(readSecretFile(file('b', ' a b \r\n'))).toEqual({ ok: true, secret: ' a b ', warnings: [] })
    expect(readSecretFile(file('c', 'x\n\n'))).toEqual({ ok: true, secret: 'x\n', warnings: [] })
  })

  test('that others may read is used with a warning', () => {
    const read = readSecretFile(file('open', 'hush', 0o644))
    expect(read.ok && read.warnings[0]).toContain('its mode should be 0600')
  })

  test('is refused when it is missing, a directory, too large or no text, without its content', () => {
    mkdirSync(join(dir, 'd'))
    const reason = 'cannot be read: No such file or directory (os error 2)'
    expect(readSecretFile(join(dir, 'none'))).toEqual({ ok: false, reason })
    expect(readSecretFile(join(dir, 'd'))).toEqual({ ok: false, reason: 'is not a regular file' })
    expect(readSecretFile(file('large', 'x'.repeat(65_537)))).toEqual({
      ok: false,
      reason: 'is larger than 65536 bytes',
    })
    expect(readSecretFile(file('bytes', Uint8Array.of(0xff, 0xfe)))).toEqual({ ok: false, reason: 'is not UTF-8 text' })
  })
})
