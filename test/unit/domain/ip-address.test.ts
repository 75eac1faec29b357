import { describe, expect, test } from 'bun:test'
import {
  isAlwaysBlocked,
  isAlwaysBlockedNetwork,
  isInternal,
  isPublic,
  parseIp,
  parseNetwork,
} from '../../../src/domain/ip-address.ts'

/** As an HTTP client reads the host of a URL. */
const hostOf = (host: string): string => new URL(`http://${host}/`).hostname.replace(/^\[|\]$/g, '')

describe('addresses that verification may reach (I-12)', () => {
  test.each([
    '127.0.0.1',
    '127.1',
    '0x7f.1',
    '0x7f000001',
    '2130706433',
    '017700000001',
    '0177.0.0.1',
    '127.0.0.1.',
    '0',
    '0.0.0.0',
    '0.1.2.3',
    '10.0.0.1',
    '10.255.255.255',
    '100.64.0.1',
    '100.127.255.255',
    '169.254.169.254',
    '169.254.0.1',
    '172.16.0.1',
    '172.31.255.255',
    '192.0.0.1',
    '192.0.2.1',
    '192.88.99.1',
    '192.168.0.1',
    '198.18.0.1',
    '198.19.255.255',
    '198.51.100.7',
    '203.0.113.7',
    '224.0.0.1',
    '239.255.255.255',
    '240.0.0.1',
    '255.255.255.255',
    '[::]',
    '[::1]',
    '[0:0:0:0:0:0:0:1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[::ffff:169.254.169.254]',
    '[::ffff:10.0.0.1]',
    '[::127.0.0.1]',
    '[fe80::1]',
    '[febf::1]',
    '[fc00::1]',
    '[fd00:ec2::254]',
    '[fec0::1]',
    '[ff02::1]',
    '[64:ff9b::7f00:1]',
    '[64:ff9b:1::1]',
    '[100::1]',
    '[2001::1]',
    '[2001:db8::1]',
    '[2001:10::1]',
    '[2002:7f00:1::]',
    '[2002:a00:1::]',
    '[3fff::1]',
    '[4000::1]',
    '[::ffff:0:127.0.0.1]',
  ])('%s is not public', host => {
    const parsed = parseIp(hostOf(host).replace(/\.$/, ''))
    expect(parsed).not.toBeNull()
    expect(isPublic(parsed!)).toBe(false)
  })

  test.each([
    '1.1.1.1',
    '8.8.8.8',
    '9.255.255.255',
    '11.0.0.0',
    '100.63.255.255',
    '100.128.0.1',
    '172.15.0.1',
    '172.32.0.1',
    '192.167.0.1',
    '[2606:4700::1]',
    '[2a00::1]',
    '[::ffff:8.8.8.8]',
  ])('%s is public', host => expect(isPublic(parseIp(hostOf(host))!)).toBe(true))
})

describe('spellings', () => {
  test.each([
    '',
    '1.2.3',
    '1.2.3.4.5',
    '01.2.3.4',
    '256.1.1.1',
    '1.2.3.4 ',
    ':::',
    '1::2::3',
    '12345::',
    '[::1]',
    '::1%eth0',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '::1.2.3',
    'localhost',
  ])('%p is no address', text => expect(parseIp(text)).toBeNull())
  test('a long text is refused at once (I-02)', () => {
    const started = performance.now()
    for (const text of [':'.repeat(100_000), '1.'.repeat(50_000), '0'.repeat(100_000), `${'a:'.repeat(50_000)}`])
      expect(parseIp(text)).toBeNull()
    expect(performance.now() - started).toBeLessThan(50)
  })
})

describe('what a policy may never open (spec/policy.md §2.3)', () => {
  test.each([
    ['127.0.0.1', true],
    ['127.255.255.254', true],
    ['169.254.1.1', true],
    ['0.0.0.0', true],
    ['::1', true],
    ['::', true],
    ['fe80::1', true],
    ['::ffff:127.0.0.1', true],
    ['::ffff:0.0.0.0', true],
    ['0.0.0.1', false],
    ['10.0.0.1', false],
    ['8.8.8.8', false],
    ['fec0::1', false],
    ['fc00::1', false],
    ['::ffff:8.8.8.8', false],
    ['::127.0.0.1', false],
  ])('address %s: %p', (text, blocked) => expect(isAlwaysBlocked(parseIp(text)!)).toBe(blocked))

  test.each([
    ['127.0.0.0/8', true],
    ['126.0.0.0/7', true],
    ['128.0.0.0/8', false],
    ['169.254.10.0/24', true],
    ['0.0.0.0/0', true],
    ['9.9.9.9/0', true],
    ['0.0.0.1/32', false],
    ['10.0.0.0/8', false],
    ['8.8.8.0/24', false],
    ['::1/128', true],
    ['::/0', true],
    ['::2/127', false],
    ['fe80::/10', true],
    ['f000::/4', true],
    ['fc00::/7', false],
    ['fec0::/10', false],
    ['::ffff:127.0.0.0/104', true],
    ['::ffff:0:0/96', true],
    ['::ffff:126.0.0.0/103', false],
    ['2001:db8::/32', false],
    ['127.0.0.1/08', true],
  ])('network %s: %p', (text, blocked) => expect(isAlwaysBlockedNetwork(parseNetwork(text)!)).toBe(blocked))

  test.each([
    '127.0.0.1/008',
    '127.0.0.1/33',
    '127.0.0.1/',
    '127.0.0.1/+8',
    '::1/0128',
    '::1/129',
    '1.2.3.4/255.0.0.0',
  ])('%s is no network', text => expect(parseNetwork(text)).toBeNull())

  test.each([
    ['100.63.255.255', false],
    ['100.64.0.0', true],
    ['100.127.255.255', true],
    ['100.128.0.1', false],
    ['192.168.1.1', true],
    ['fd00::1', true],
    ['::ffff:10.0.0.1', true],
  ])('internal, for advice: %s: %p', (text, internal) => expect(isInternal(parseIp(text)!)).toBe(internal))
})
