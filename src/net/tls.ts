import { type FSWatcher, watch } from 'node:fs'
import { dirname } from 'node:path'
import { createSecureContext, createServer, type SecureContextOptions, type Server, type TLSSocket } from 'node:tls'
import { type Clock, systemClock, type Timer } from '../base/clock.ts'
import { errorText, StartError } from '../base/errors.ts'
import type { TlsConfig } from '../config/config.ts'
import { LIMITS } from '../limits.ts'
import type { Logger } from '../observe/log.ts'
import { changeMark, loadTlsMaterial, type TlsMaterial } from './tls-files.ts'

/** TLS in front of a listener: who may connect, with which certificate, renewed while running (spec/gateway.md §7). */
export interface TlsTermination {
  /** A TLS server with the current material. Later reloads reach every server made here. */
  createServer(sockets: { readonly allowHalfOpen: boolean }): Server
  /**
   * SHA-256 fingerprint of the client's certificate when it verified; null = none was shown and none is required;
   * `refused` = one was shown that did not verify.
   */
  identify(socket: TLSSocket): string | null | 'refused'
  /** Reads the files again (SIGHUP). False = the new files are unusable and the old material stays. */
  reload(): boolean
  /** End of the certificate's validity, milliseconds since the epoch. */
  notAfterMs(): number
  /** Watches the files: their folders at once, their change times every 30 s (T-05). */
  startWatching(): void
  close(): void
}

/** AEAD suites with forward secrecy only; TLS 1.3 suites are not configurable and all of that kind (T-08). */
const CIPHERS = [
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':')

const DAY_MS = 86_400_000
/** A line at each of these many days before the end, and one at the end (T-04). */
const WARN_DAYS = [0, 1, 7, 30]

/** Loads and verifies the files; throws the StartError of spec/gateway.md §5 when they are unusable. */
export function createTls(config: TlsConfig, log: Logger, clock: Clock = systemClock): TlsTermination {
  const termination = new Termination(config, log, clock)
  return termination
}

class Termination implements TlsTermination {
  readonly #config: TlsConfig
  readonly #log: Logger
  readonly #clock: Clock
  readonly #servers = new Set<Server>()
  readonly #watchers: FSWatcher[] = []
  #material: TlsMaterial
  #mark: string
  #poll: Timer | null = null
  #debounce: Timer | null = null
  #warnedDays = Number.POSITIVE_INFINITY

  constructor(config: TlsConfig, log: Logger, clock: Clock) {
    this.#config = config
    this.#log = log
    this.#clock = clock
    this.#mark = changeMark(config)
    this.#material = loadTlsMaterial(config, log)
    this.#verify(this.#material)
    this.#report()
  }

  createServer(sockets: { readonly allowHalfOpen: boolean }): Server {
    const server = createServer({
      ...sockets,
      ...this.#context(this.#material),
      requestCert: true,
      rejectUnauthorized: !this.#config.clientCertificateOptional,
      ALPNProtocols: ['h2', 'http/1.1'],
      handshakeTimeout: LIMITS.tlsHandshakeMs,
    })
    this.#servers.add(server)
    server.once('close', () => this.#servers.delete(server))
    return server
  }

  identify(socket: TLSSocket): string | null | 'refused' {
    const certificate = socket.getPeerX509Certificate()
    if (certificate === undefined) return this.#config.clientCertificateOptional ? null : 'refused'
    return socket.authorized ? certificate.fingerprint256.replaceAll(':', '').toLowerCase() : 'refused'
  }

  reload(): boolean {
    try {
      const mark = changeMark(this.#config)
      const material = loadTlsMaterial(this.#config, this.#log)
      this.#verify(material)
      this.#mark = mark
      this.#material = material
    } catch (error) {
      this.#log.error('TLS reload failed, the previous certificate stays in use', { error: errorText(error) })
      return false
    }
    for (const server of this.#servers) server.setSecureContext(this.#context(this.#material))
    this.#warnedDays = Number.POSITIVE_INFINITY
    this.#report()
    return true
  }

  notAfterMs(): number {
    return this.#material.notAfterMs
  }

  startWatching(): void {
    const { certFile, keyFile, clientCaFile } = this.#config
    for (const folder of new Set([certFile, keyFile, clientCaFile].map(file => dirname(file)))) {
      try {
        // Folders, not files: secrets are replaced by renames and by switching a link.
        const watcher = watch(folder, { persistent: false }, () => this.#settle())
        watcher.on('error', error => this.#log.debug('TLS folder watch ended', { folder, error: errorText(error) }))
        this.#watchers.push(watcher)
      } catch (error) {
        this.#log.debug('TLS folder cannot be watched', { folder, error: errorText(error) })
      }
    }
    this.#pollAgain()
  }

  close(): void {
    this.#poll?.cancel()
    this.#debounce?.cancel()
    for (const watcher of this.#watchers.splice(0)) watcher.close()
  }

  #pollAgain(): void {
    this.#poll = this.#clock.after(LIMITS.tlsPollMs, () => {
      this.#reloadIfChanged()
      this.#warnBeforeEnd()
      this.#pollAgain()
    })
  }

  /** Several events belong to one replacement; the last one counts. */
  #settle(): void {
    this.#debounce?.cancel()
    this.#debounce = this.#clock.after(LIMITS.tlsDebounceMs, () => this.#reloadIfChanged())
  }

  #reloadIfChanged(): void {
    const mark = changeMark(this.#config)
    if (mark === this.#mark) return
    // A bad set is read again only when it changes once more, not at every poll.
    if (!this.reload()) this.#mark = mark
  }

  #context(material: TlsMaterial): SecureContextOptions {
    return { cert: material.cert, key: material.key, ca: [...material.ca], minVersion: 'TLSv1.2', ciphers: CIPHERS }
  }

  #verify(material: TlsMaterial): void {
    try {
      createSecureContext(this.#context(material))
    } catch (error) {
      throw new StartError(`TLS error: failed to create TLS config: ${errorText(error)}`, 1, { cause: error })
    }
  }

  #report(): void {
    const { notAfterMs, fingerprint } = this.#material
    this.#log.info('TLS certificate loaded', {
      file: this.#config.certFile,
      not_after: new Date(notAfterMs).toISOString(),
      fingerprint,
    })
    this.#warnBeforeEnd()
  }

  #warnBeforeEnd(): void {
    const daysLeft = (this.#material.notAfterMs - this.#clock.nowMs()) / DAY_MS
    const step = WARN_DAYS.find(days => daysLeft <= days)
    if (step === undefined || step >= this.#warnedDays) return
    this.#warnedDays = step
    const message = daysLeft <= 0 ? 'TLS certificate has expired' : 'TLS certificate expires soon'
    this.#log.warn(message, { file: this.#config.certFile, days_left: Math.floor(daysLeft) })
  }
}
