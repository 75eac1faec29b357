import { describe, expect, test } from 'bun:test'
import fc from 'fast-check'
import { Secret } from '../../../src/base/secret.ts'
import { driverCommand } from '../../../src/drivers/command.ts'
import { driverDirectories, findDriver } from '../../../src/drivers/process.ts'
import { createLineCutter } from '../../../src/drivers/process-output.ts'

const search = { driverDir: null, home: '/home/u', executable: '/opt/gw/openshell-gateway' }

describe('decision 6: finding a driver by name', () => {
  test('the directories are looked into in the order of the contract', () =>
    expect(driverDirectories(search)).toEqual([
      '/home/u/.local/libexec/openshell',
      '/usr/local/libexec/openshell',
      '/usr/local/libexec',
      '/opt/gw',
    ]))

  test('--driver-dir replaces the list', () =>
    expect(driverDirectories({ ...search, driverDir: '/d' })).toEqual(['/d', '/opt/gw']))

  test('the first executable wins', () =>
    expect(findDriver('vm', search, path => path.startsWith('/usr'))).toBe(
      '/usr/local/libexec/openshell/openshell-driver-vm',
    ))

  test('not found: the sentence says where it looked', () =>
    expect(() => findDriver('vm', { ...search, driverDir: '/d' }, () => false)).toThrow(
      "vm compute driver binary not found (searched '/d/openshell-driver-vm', '/opt/gw/openshell-driver-vm')",
    ))

  for (const name of ['', '../vm', 'a/b', 'A', '-x', 'x\0'])
    test(`${JSON.stringify(name)} is no driver's name`, () =>
      expect(() => findDriver(name, search, () => true)).toThrow('is not a driver'))
})

describe('how a driver is started', () => {
  const base = {
    logLevel: 'info',
    handshakeSecret: new Secret('canary-secret'),
    environment: {
      PATH: '/bin',
      OPENSHELL_DB_URL: 'postgres://u:p@h/d',
      OPENSHELL_PODMAN_SOCKET: '/p.sock',
      OPENSHELL_SSH_HANDSHAKE_SECRET: 'canary-secret',
      EMPTY: undefined,
    },
  }
  test('vm: flags have the names of the contract, the secret is in the environment alone', () => {
    const { args, environment } = driverCommand({
      ...base,
      name: 'vm',
      settings: { 'grpc-endpoint': 'http://h:1', 'vm-vcpus': '2', 'vm-driver-state-dir': '/s', 'sandbox-image': 'i' },
    })
    expect(args).toEqual([
      '--log-level',
      'info',
      '--openshell-endpoint',
      'http://h:1',
      '--vcpus',
      '2',
      '--state-dir',
      '/s',
    ])
    expect(environment).toEqual({
      PATH: '/bin',
      OPENSHELL_PODMAN_SOCKET: '/p.sock',
      OPENSHELL_SSH_HANDSHAKE_SECRET: 'canary-secret',
    })
  })

  test('others: the gateway’s own names, without those of the vm driver', () =>
    expect(
      driverCommand({ ...base, name: 'podman', settings: { 'sandbox-image': 'i', 'vm-vcpus': '2' } }).args,
    ).toEqual(['--log-level', 'info', '--sandbox-image', 'i']))
})

describe('output of a driver', () => {
  test('however the text arrives, the lines are the same and none is longer than the limit', () =>
    fc.assert(
      fc.property(fc.array(fc.string({ maxLength: 30 })), fc.array(fc.nat({ max: 20 })), (lines, cuts) => {
        const text = lines.map(line => line.replaceAll(/[\r\n]/g, '')).join('\n')
        const got: string[] = []
        const cutter = createLineCutter(8, line => got.push(line))
        let at = 0
        for (const cut of cuts) {
          cutter.push(text.slice(at, at + cut))
          at += cut
        }
        cutter.push(text.slice(at))
        cutter.end()
        expect(got.every(line => line.length <= 8 && line !== '')).toBe(true)
        expect(got.join('')).toBe(text.replaceAll('\n', ''))
      }),
    ))
})
