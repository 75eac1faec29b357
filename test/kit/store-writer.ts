/**
 * Run as a process of its own by the crash tests, with a URL and how many sandboxes to write (absent: no end): opens the
 * store, says `open`, then writes one sandbox with its policy, settings and draft per transaction and prints its number
 * after each commit; every fifth transaction deletes the sandbox written three before and prints `-number`. What the
 * database refuses is printed as `!kind`, a start that fails as `!start: text`.
 */
import { writeSync } from 'node:fs'
import { systemClock } from '../../src/base/clock.ts'
import { StartError } from '../../src/base/errors.ts'
import type { Logger } from '../../src/observe/log.ts'
import { openStore } from '../../src/store/open.ts'
import { StoreFailure } from '../../src/store/store.ts'

const silent: Logger = { log() {}, debug() {}, info() {}, warn() {}, error() {}, child: () => silent }
// Synchronous, so that what was said before a kill is known to have been said.
const say = (text: string) => writeSync(1, `${text}\n`)

/** Says `done` when the database took it, else why not. */
async function attempt(done: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work()
    say(done)
  } catch (error) {
    if (!(error instanceof StoreFailure)) throw error
    say(`!${error.kind}`)
  }
}

const [url, most] = process.argv.slice(2)
say('start')
const store = await openStore(url!, { clock: systemClock, log: silent }).catch((error: unknown) => {
  if (!(error instanceof StartError)) throw error
  say(`!start: ${error.message}`)
  process.exit(0)
})
say('open')
let first = 1
await attempt('ready', async () => {
  for await (const { name } of store.scan('sandbox')) first = Math.max(first, Number(name.slice(1)) + 1)
})
for (let n = first; n < first + Number(most ?? Number.POSITIVE_INFINITY); n++) {
  await attempt(String(n), () =>
    store.transaction(async tx => {
      const payload = Buffer.alloc(300 + (n % 7) * 2000, n % 256)
      await tx.insert({ type: 'sandbox', id: `s${n}`, name: `n${n}`, payload, labels: new Map([['n', String(n)]]) })
      await tx.insert({ type: 'sandbox_settings', id: `settings:s${n}`, name: `n${n}`, payload: Buffer.from('{}') })
      await tx.insertPolicy({ sandboxId: `s${n}`, version: 1, payload, hash: 'h' })
      await tx.putDraft({
        ...{
          id: `d${n}`,
          sandboxId: `s${n}`,
          draftVersion: 1,
          ruleName: 'r',
          proposedRule: payload,
          rationale: '',
          securityNotes: '',
        },
        ...{
          ...{ confidence: 1, host: 'h', port: 1, binary: 'b', hitCount: 1 },
          ...{ firstSeenMs: 1, lastSeenMs: 1, createdAtMs: 1 },
        },
      })
    }),
  )
  if (n % 5 === 0) await attempt(`-${n - 3}`, () => store.transaction(tx => tx.deleteSandbox(`s${n - 3}`)))
}
await store.close()
