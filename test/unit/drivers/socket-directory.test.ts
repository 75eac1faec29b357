import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeSocketDirectory } from '../../../src/drivers/socket-directory.ts'

let parent: string
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'sockets-'))
})
afterEach(() => rmSync(parent, { recursive: true, force: true }))

/** As a gateway that was killed leaves it. */
const abandon = (name: string, ...files: string[]): string => {
  mkdirSync(join(parent, name), { mode: 0o700 })
  for (const file of files) writeFileSync(join(parent, name, file), '')
  return name
}

test('P-11: it is private, and gone when it is closed', () => {
  const directory = makeSocketDirectory(parent)
  expect(statSync(directory.path).mode & 0o777).toBe(0o700)
  writeFileSync(join(directory.path, 'compute-driver.sock'), '')
  directory.close()
  expect(readdirSync(parent)).toEqual([])
})

describe.skipIf(process.platform !== 'linux')('what a killed gateway left', () => {
  test('is removed by the next one, with or without a socket in it; what is in use is not', () => {
    abandon('openshell-driver-aaaaaa.locked', 'compute-driver.sock')
    abandon('openshell-driver-bbbbbb.locked')
    const [first, second] = [makeSocketDirectory(parent), makeSocketDirectory(parent)]
    expect(
      readdirSync(parent)
        .map(name => join(parent, name))
        .sort(),
    ).toEqual([first.path, second.path].sort())
    first.close()
    second.close()
  })

  test('P-12: a link, a foreign file and a directory with something else in it stay as they are', () => {
    const elsewhere = join(parent, abandon('elsewhere', 'compute-driver.sock'))
    symlinkSync(elsewhere, join(parent, 'openshell-driver-cccccc.locked'))
    writeFileSync(join(parent, 'openshell-driver-dddddd.locked'), '')
    abandon('openshell-driver-eeeeee.locked', 'disk.img')
    abandon('openshell-driver-ffffff', 'compute-driver.sock')
    const before = readdirSync(parent, { recursive: true })
    makeSocketDirectory(parent).close()
    expect(readdirSync(parent, { recursive: true })).toEqual(before)
    expect(existsSync(join(elsewhere, 'compute-driver.sock'))).toBe(true)
  })
})
