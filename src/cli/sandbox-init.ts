import { OWNER_VARIABLE, watchOwner } from '../dev/owner-watch.ts'
import { defineGatewayCommand } from './command.ts'

/**
 * The process of a sandbox without a supervisor: it waits until it is told to end, or until no driver has looked after
 * it for a while.
 */
export const command = defineGatewayCommand({
  flags: [],
  async run() {
    const { promise, resolve } = Promise.withResolvers<number>()
    process.once('SIGTERM', () => resolve(0))
    const file = process.env[OWNER_VARIABLE]
    const watch = file ? watchOwner(file, () => resolve(1)) : null
    const alive = setInterval(() => undefined, 1 << 30)
    const code = await promise
    clearInterval(alive)
    watch?.close()
    return code
  },
})
