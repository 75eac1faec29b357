import { expect, test } from 'bun:test'
import { isOpenToOthers } from '../../../src/base/file-mode.ts'

test.each([
  ['its owner’s alone', 1000, 0o600, false],
  ['read-only', 65_532, 0o400, false],
  ['open to a group', 1000, 0o640, true],
  ['open to all', 1000, 0o644, true],
  ['root’s and open to one group, as Kubernetes mounts a secret with fsGroup', 0, 0o440, false],
  ['root’s, which a group may change', 0, 0o460, true],
  ['root’s and open to all', 0, 0o444, true],
])('a file %s', (_what, uid, mode, isOpen) => {
  expect(isOpenToOthers({ uid, mode: 0o100_000 | mode })).toBe(isOpen)
})
