import { Server, ServerCredentials, type ServiceDefinition } from '@grpc/grpc-js'
import { codec, type MessageName, methodsOf, type RpcMethod } from '../../src/wire/codec.ts'
import { createDice } from './dice.ts'

/** A driver whose answers are bytes: valid ones, or what became of them on the way. */
export interface MutantDriver {
  /** Valid answers by RPC; streams give theirs over and over. */
  readonly answers: Map<string, Buffer>
  isSane: boolean
  /** Answers and events given so far. */
  given: number
  close(): void
}

/** Encodes an answer for `MutantDriver.answers`. */
export const answerBytes = (message: MessageName, value: object): Buffer =>
  Buffer.from(codec(message).encode(value as never))

/** The bytes cut short, continued, replaced or with some octets changed. */
function mutate(bytes: Buffer, roll: (below: number) => number): Buffer {
  const noise = (most: number) => Buffer.from(Array.from({ length: roll(most) }, () => roll(256)))
  switch (roll(5)) {
    case 0:
      return bytes.subarray(0, roll(bytes.length + 1))
    case 1:
      return Buffer.concat([bytes, noise(40)])
    case 2:
      return noise(80)
    default: {
      const changed = Buffer.from(bytes)
      for (let times = 1 + roll(5); times > 0 && changed.length > 0; times--) changed[roll(changed.length)] = roll(256)
      return changed
    }
  }
}

/** Serves every RPC of a driver's contract at a Unix socket. */
export async function startMutantDriver(service: string, socket: string, seed: number): Promise<MutantDriver> {
  const roll = createDice(seed)
  const server = new Server()
  const driver: MutantDriver = {
    answers: new Map(),
    isSane: true,
    given: 0,
    close: () => server.forceShutdown(),
  }
  const next = (name: string): Buffer => {
    driver.given++
    const bytes = driver.answers.get(name) ?? Buffer.alloc(0)
    return driver.isSane ? bytes : mutate(bytes, roll)
  }
  const same = (bytes: Buffer) => bytes
  const raw = { requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same }
  const methods: readonly RpcMethod[] = methodsOf(service)
  const isStream = (name: string) => name.startsWith('Watch')
  const definition = Object.fromEntries(
    methods.map(({ name, path }) => [name, { path, requestStream: false, responseStream: isStream(name), ...raw }]),
  ) as ServiceDefinition
  const handlers = Object.fromEntries(
    methods.map(({ name }) => [
      name,
      isStream(name)
        ? (call: { write(bytes: Buffer): void; end(): void; on(event: string, then: () => void): void }) => {
            const timer = setInterval(() => {
              for (let n = 0; n < 10; n++) call.write(next(name))
            }, 5)
            const over = () => clearInterval(timer)
            for (const event of ['cancelled', 'error', 'close']) call.on(event, over)
          }
        : (_call: unknown, answer: (error: null, bytes: Buffer) => void) => answer(null, next(name)),
    ]),
  )
  server.addService(definition, handlers as never)
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), error =>
      error ? reject(error) : resolve(),
    ),
  )
  return driver
}
