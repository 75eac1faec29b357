/**
 * Asks Health of a gateway again and again, in a process of its own, and tells how long the longest answer took: what
 * keeps the gateway's event loop busy delays this call. Argument: the address. Lines on stdin: `go` starts, `stop` ends
 * it, and is answered with the longest time in milliseconds.
 */
import { Client, credentials } from '@grpc/grpc-js'

const [address] = process.argv.slice(2)
if (!address) throw new Error('usage: loop-probe.ts ADDRESS')
const client = new Client(address, credentials.createInsecure())
const ask = () =>
  new Promise<void>((resolve, reject) =>
    client.makeUnaryRequest(
      '/openshell.v1.OpenShell/Health',
      () => Buffer.alloc(0),
      bytes => bytes,
      null,
      error => (error ? reject(error) : resolve()),
    ),
  )
let isAsking = false

async function watch(): Promise<void> {
  let longestMs = 0
  while (isAsking) {
    const began = performance.now()
    await ask()
    longestMs = Math.max(longestMs, performance.now() - began)
    await Bun.sleep(1)
  }
  console.log(longestMs.toFixed(2))
}

await ask()
console.log('ready')
for await (const line of console) {
  isAsking = line === 'go'
  if (isAsking) {
    void watch()
    console.log('going')
  }
}
process.exit(0)
