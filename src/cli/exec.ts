import { osErrorText } from '../base/os-error.ts'
import { ClientFailure } from '../client/failure.ts'
import { CallFailed, callOnce } from '../client/grpc-stream.ts'
import { connectGateway, type GatewayClient } from '../client/session.ts'
import { LIMITS } from '../limits.ts'
import type { ExecSandboxRequest } from '../wire/messages.generated.ts'
import { runClient } from './client-command.ts'
import { CLIENT_FLAGS, targetFrom } from './client-flags.ts'
import { defineGatewayCommand } from './command.ts'

/** What stands on standard input when it is not a terminal, up to what an exec may carry. */
async function readStdin(): Promise<Buffer> {
  if (process.stdin.isTTY) return Buffer.alloc(0)
  const parts: Buffer[] = []
  let size = 0
  for await (const part of process.stdin as AsyncIterable<Buffer>) {
    size += part.length
    if (size > LIMITS.execStdinBytes)
      throw new ClientFailure('failed', `standard input exceeds ${LIMITS.execStdinBytes} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts)
}

/** Resolves when somebody has taken the bytes; a reader that is gone ends the command. */
const write = (stream: NodeJS.WriteStream, data: Uint8Array): Promise<void> =>
  new Promise((resolve, reject) => {
    const gone = (cause: NodeJS.ErrnoException) => {
      const why = cause.code === 'EPIPE' ? 'nobody reads the output' : `the output is lost: ${osErrorText(cause)}`
      reject(new ClientFailure('failed', why, { cause }))
    }
    stream.once('error', gone)
    stream.write(data, error => {
      stream.off('error', gone)
      if (error) gone(error)
      else resolve()
    })
  })

/** The id of a sandbox by its name. */
export async function sandboxIdOf(client: GatewayClient, name: string): Promise<string> {
  const { sandbox } = await callOnce(client.open('GetSandbox'), { name })
  return sandbox?.metadata?.id ?? ''
}

/** Runs the command; its exit code. A stream that ends without one is a failure, never a number. */
async function run(client: GatewayClient, request: Partial<ExecSandboxRequest>): Promise<number> {
  const stream = client.open('ExecSandbox')
  await stream.send(request as never)
  stream.end()
  let exitCode: number | null = null
  for await (const event of stream.messages()) {
    if (event.stdout) await write(process.stdout, event.stdout.data)
    else if (event.stderr) await write(process.stderr, event.stderr.data)
    else if (event.exit) exitCode = event.exit.exit_code
  }
  const end = await stream.ended
  if (end.code !== 0 || exitCode === null) throw new CallFailed(end)
  return exitCode
}

/** `exec NAME -- CMD…`: runs a command in a sandbox, with its output, its exit code and what is piped in. */
export const command = defineGatewayCommand({
  flags: [
    ...CLIENT_FLAGS,
    { name: 'workdir', env: null, kind: 'text', default: null, group: 'Sandboxes', help: 'Directory to run in' },
    {
      name: 'timeout',
      env: null,
      kind: 'u32',
      default: '0',
      group: 'Sandboxes',
      help: 'Seconds until exit code 124; 0 = none',
    },
    { name: 'tty', env: null, kind: 'switch', default: null, group: 'Sandboxes', help: 'Run on a terminal' },
  ],
  positionals: [
    { name: 'name', help: 'Name of the sandbox' },
    { name: 'command', help: 'Command and its arguments, behind --; what is piped in goes to it', rest: true },
  ],
  run: (values, io) =>
    runClient(io, async () => {
      const [name = '', ...words] = values.positionals
      const client = await connectGateway(targetFrom(values, io))
      try {
        return await run(client, {
          sandbox_id: await sandboxIdOf(client, name),
          command: words,
          workdir: values.text('workdir'),
          timeout_seconds: values.number('timeout'),
          tty: values.on('tty'),
          stdin: await readStdin(),
        })
      } finally {
        client.close()
      }
    }),
})
