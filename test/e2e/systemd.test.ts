import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client, credentials } from '@grpc/grpc-js'
import { type Certificates, createCertificates } from '../kit/certificates.ts'
import { callUnary, EXECUTABLE, until } from '../kit/gateway.ts'
import { type Systemd, startSystemd, whyNoSystemd } from '../kit/systemd.ts'

setDefaultTimeout(60_000)

const hindrance = whyNoSystemd()
if (hindrance) console.log(`skipped: the system unit under a real systemd, because ${hindrance}`)

const UNIT = 'openshell-gateway.service'
const SETTINGS = [
  'OPENSHELL_SERVER_PORT=0',
  'OPENSHELL_LOG_FORMAT=json',
  'OPENSHELL_COMPUTE_DRIVER_SOCKET=/run/absent.sock',
  // Would run code of the working directory in the gateway.
  'BUN_OPTIONS=--preload ./planted.ts',
]
/** Nothing of a usual boot is inside, and the log is read from outside. */
const DROP_IN = `[Unit]
DefaultDependencies=no
[Service]
StandardOutput=append:/run/test/gateway.log
StandardError=append:/run/test/gateway.log
WatchdogSec=2
RestartSec=100ms
LoadCredential=store-key:/etc/openshell/credentials/store-key
Environment=OPENSHELL_STORE_KEY_FILE=%d/store-key
`

describe.skipIf(hindrance !== null)('the system unit under systemd', () => {
  let folder: string
  let systemd: Systemd
  let files: Certificates
  const log = () => readFileSync(join(folder, 'gateway.log'), 'utf8')
  const addresses = () => [...log().matchAll(/"Server listening","address":"([^"]+)"/g)].map(match => match[1]!)
  const trusted = () => {
    const [root, key, chain] = ['ca.crt', 'client.key', 'client.crt'].map(name => readFileSync(files.path(name)))
    return credentials.createSsl(root!, key!, chain!)
  }
  const useCertificate = (name: string) => {
    for (const kind of ['crt', 'key']) copyFileSync(files.path(`${name}.${kind}`), join(folder, `tls.${kind}`))
    systemd.run('install -m 0600 /run/test/tls.crt /run/test/tls.key /etc/openshell/tls/server/')
  }

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'systemd-test-'))
    files = createCertificates()
    files.authority('ca')
    for (const name of ['first', 'second']) files.leaf(name, 'ca', 'serverAuth')
    files.leaf('client', 'ca', 'clientAuth')
    copyFileSync(files.path('ca.crt'), join(folder, 'ca.crt'))
    writeFileSync(join(folder, 'settings'), `${SETTINGS.join('\n')}\n`)
    mkdirSync(join(folder, 'drop-in'))
    writeFileSync(join(folder, 'drop-in/test.conf'), DROP_IN)
    systemd = await startSystemd(folder, EXECUTABLE)
    systemd.run('openshell-gateway install --systemd && cat /run/test/settings >> /etc/openshell/gateway.env')
    systemd.run(`cp -r /run/test/drop-in /etc/systemd/system/${UNIT}.d && mkdir -p /etc/openshell/tls/server`)
    systemd.run('cp /run/test/ca.crt /etc/openshell/tls/')
    systemd.run(`echo ${'5e'.repeat(32)} > /etc/openshell/credentials/store-key`)
    useCertificate('first')
    systemd.run(`systemctl daemon-reload && systemctl start ${UNIT}`)
  })
  afterAll(async () => {
    await systemd?.stop()
    files?.[Symbol.dispose]()
    if (folder) rmSync(folder, { recursive: true, force: true })
  })

  test('starts, says that it is ready only when it listens, and serves (P-06)', async () => {
    expect(systemd.show(UNIT, 'ActiveState')).toBe('active')
    expect(addresses().length).toBe(1)
    const client = new Client(`localhost:${addresses()[0]!.split(':')[1]}`, trusted())
    const provider = { type: 'generic', metadata: { name: 'p' }, credentials: { KEY: 'value' } }
    expect((await callUnary(client, 'CreateProvider', { provider })).code).toBe('OK')
    client.close()
  })

  test('runs as a user made for it, without rights, behind a filter, with its secret as a credential (P-02, P-05)', () => {
    const pid = systemd.show(UNIT, 'MainPID')
    const status = systemd.run(`cat /proc/${pid}/status`)
    expect(Number(/^Uid:\s+(\d+)/m.exec(status)![1])).toBeGreaterThan(60_000)
    expect(status).toMatch(/^CapBnd:\s+0+$/m)
    expect(status).toMatch(/^NoNewPrivs:\s+1$/m)
    expect(status).toMatch(/^Seccomp:\s+2$/m)
    const environment = systemd.run(`tr '\\0' '\\n' < /proc/${pid}/environ`)
    expect(environment).not.toContain('BUN_OPTIONS')
    expect(environment).toContain('OPENSHELL_SSH_HANDSHAKE_SECRET_FILE=/run/credentials/')
    const secret = systemd.run('cat /etc/openshell/credentials/handshake-secret').trim()
    for (const text of [environment, systemd.run(`cat /proc/${pid}/cmdline`), log()]) expect(text).not.toContain(secret)
    expect(log()).not.toContain('can be read by other users')
  })

  test('a reload takes over a new certificate from a place that root alone can read, and a new log level (C-03)', async () => {
    useCertificate('second')
    systemd.run(`echo debug > /etc/openshell/log-level && systemctl reload ${UNIT}`)
    const subject = () =>
      systemd.run(`openssl s_client -connect ${addresses().at(-1)} </dev/null 2>/dev/null | grep ^subject || true`)
    await until('the second certificate', () => /CN ?= ?second/.test(subject()))
    await until('a line of level debug', () => log().includes('"level":"DEBUG"'))
    expect(systemd.show(UNIT, 'NRestarts')).toBe('0')
  })

  test('a gateway whose event loop stands still is started anew by the watchdog', async () => {
    systemd.run(`kill -STOP ${systemd.show(UNIT, 'MainPID')}`)
    await until(
      'the second start',
      () => addresses().length === 2 && systemd.show(UNIT, 'ActiveState') === 'active',
      20_000,
    )
    expect(systemd.show(UNIT, 'NRestarts')).toBe('1')
  })

  test('a stop ends it cleanly', () => {
    systemd.run(`systemctl stop ${UNIT}`)
    expect(systemd.show(UNIT, 'Result')).toBe('success')
    expect(log()).toContain('Shutdown signal received')
  })

  test('a command line that cannot work is not tried again', async () => {
    systemd.run(
      `echo OPENSHELL_SERVER_PORT=many >> /etc/openshell/gateway.env; systemctl reset-failed; systemctl start ${UNIT} || true`,
    )
    await until('the failure', () => systemd.show(UNIT, 'ActiveState') === 'failed')
    expect(systemd.show(UNIT, 'ExecMainStatus')).toBe('2')
    expect(systemd.show(UNIT, 'NRestarts')).toBe('0')
  })
})
