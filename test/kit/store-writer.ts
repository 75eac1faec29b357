/**
 * Run as a process of its own by the crash tests: opens the store of the URL given, says `open`, then writes one
 * sandbox with its policy, settings and draft per transaction and prints its number after each commit; every fifth
 * transaction deletes the sandbox written three before and prints `-number`.
 */
import { writeSync } from 'node:fs'
import { systemClock } from '../../src/base/clock.ts'
import type { Logger } from '../../src/observe/log.ts'
import { openStore } from '../../src/store/open.ts'

const silent: Logger = { log() {}, debug() {}, info() {}, warn() {}, error() {}, child: () => silent }
// Synchronous, so that what was said before a kill is known to have been said.
const say = (text: string) => writeSync(1, `${text}\n`)

say('start')
const store = await openStore(process.argv.at(-1)!, { clock: systemClock, log: silent })
say('open')
let first = 1
for await (const { name } of store.scan('sandbox')) first = Math.max(first, Number(name.slice(1)) + 1)
for (let n = first; ; n++) {
  await store.transaction(async tx => {
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
      ...{ confidence: 1, host: 'h', port: 1, binary: 'b', hitCount: 1, firstSeenMs: 1, lastSeenMs: 1, createdAtMs: 1 },
    })
  })
  say(String(n))
  if (n % 5 === 0) {
    await store.transaction(tx => tx.deleteSandbox(`s${n - 3}`))
    say(`-${n - 3}`)
  }
}
