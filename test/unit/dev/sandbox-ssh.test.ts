import { expect, test } from 'bun:test'
import { createSandboxSsh } from '../../../src/dev/sandbox-ssh.ts'
import { createCapturedLog } from '../../kit/captured-log.ts'

test('every daemon starts, whatever the digits of its host key (one key of the library in 256 is unfit)', () => {
  const start = () => createSandboxSsh({ dir: '/', environment: {} }, createCapturedLog())
  for (let daemons = 0; daemons < 3000; daemons++) expect(start).not.toThrow()
})
