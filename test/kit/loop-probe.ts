/**
 * Asks Health of a gateway again and again, in a process of its own, and tells how long the longest answer took: what
 * keeps the gateway's event loop busy delays this call. Argument: the address. Each line on stdin is answered with the
 * longest time since the last one, in milliseconds.
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
let longestMs = 0
await ask()
console.log('ready')
process.stdin.on('data', () => {
  console.log(longestMs.toFixed(2))
  longestMs = 0
})
process.stdin.on('end', () => process.exit(0))
for (;;) {
  const began = performance.now()
  await ask()
  longestMs = Math.max(longestMs, performance.now() - began)
  await Bun.sleep(1)
}
