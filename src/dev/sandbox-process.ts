import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import type { Terminal } from 'bun'
import type { ServerChannel } from 'ssh2'
import { LIMITS } from '../limits.ts'

/** What a process of a sandbox starts with. */
export interface SandboxProcessOptions {
  readonly dir: string
  /** The whole environment; nothing is inherited. */
  readonly environment: Readonly<Record<string, string>>
}

/** A terminal as the client asked for it; sizes below 1 count as 80 by 24. */
export interface TerminalRequest {
  readonly term: string
  readonly cols: number
  readonly rows: number
}

/** A running process joined to its channel. */
export interface SandboxProcess {
  resize(cols: number, rows: number): void
  signal(name: NodeJS.Signals): void
  /** Ends the process and all it started: SIGHUP, then SIGKILL. */
  kill(): void
}

const SHELLS = ['/bin/bash', '/bin/sh']
const SHELL = SHELLS.find(path => existsSync(path)) ?? '/bin/sh'

/** The command line of the shell: an interactive one, or one that runs `command` (spec/relay.md §7.2). */
const argumentsFor = (command: string | null, terminal: boolean): string[] =>
  command === null ? (terminal ? ['-i'] : []) : [SHELL.endsWith('bash') ? '-lc' : '-c', command]

/** Starts a shell on a channel, with a terminal when there is one to be; reports its end on the channel. */
export function startProcess(
  channel: ServerChannel,
  command: string | null,
  terminal: TerminalRequest | null,
  options: SandboxProcessOptions,
): SandboxProcess {
  return terminal ? startOnTerminal(channel, command, terminal, options) : startOnPipes(channel, command, options)
}

/** Signals a process group; one that is gone already is as good. */
function signalGroup(pid: number | undefined, name: NodeJS.Signals): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, name)
  } catch {
    // ESRCH: nobody left.
  }
}

function killer(pid: () => number | undefined): () => void {
  return () => {
    signalGroup(pid(), 'SIGHUP')
    setTimeout(() => signalGroup(pid(), 'SIGKILL'), LIMITS.sandboxKillMs).unref()
  }
}

function startOnPipes(channel: ServerChannel, command: string | null, options: SandboxProcessOptions): SandboxProcess {
  const child: ChildProcess = spawn(SHELL, argumentsFor(command, false), {
    cwd: options.dir,
    env: { ...options.environment, TERM: 'dumb' },
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  })
  const { stdin, stdout, stderr } = child
  stdin!.on('error', () => {})
  channel.on('error', () => {})
  channel.pipe(stdin!)
  stdout!.pipe(channel, { end: false })
  stderr!.pipe(channel.stderr, { end: false })
  child.once('error', () => {
    channel.exit(127)
    channel.end()
  })
  child.once('close', (code, signal) => {
    if (signal) channel.exit(signal.replace(/^SIG/, ''), false, '')
    else channel.exit(code ?? 1)
    channel.end()
  })
  const kill = killer(() => child.pid)
  channel.once('close', () => child.exitCode === null && child.signalCode === null && kill())
  return {
    resize() {},
    signal: name => signalGroup(child.pid, name),
    kill,
  }
}

function startOnTerminal(
  channel: ServerChannel,
  command: string | null,
  request: TerminalRequest,
  options: SandboxProcessOptions,
): SandboxProcess {
  let waiting = 0
  const child = Bun.spawn([SHELL, ...argumentsFor(command, true)], {
    cwd: options.dir,
    env: { ...options.environment, TERM: request.term || 'xterm' },
    terminal: {
      cols: request.cols > 0 ? request.cols : 80,
      rows: request.rows > 0 ? request.rows : 24,
      data(_terminal: Terminal, bytes: Uint8Array) {
        waiting += bytes.length
        if (waiting > LIMITS.sandboxTerminalBytes) return kill()
        channel.write(Buffer.from(bytes), () => (waiting -= bytes.length))
      },
    },
  })
  const terminal = child.terminal!
  const kill = killer(() => child.pid)
  channel.on('error', () => {})
  channel.on('data', (bytes: Buffer) => void (terminal.closed || terminal.write(bytes)))
  void child.exited.then(code => {
    // The last output is still on its way out of the terminal.
    setTimeout(() => {
      if (typeof child.signalCode === 'string') channel.exit(child.signalCode.replace(/^SIG/, ''), false, '')
      else channel.exit(code)
      channel.end()
      if (!terminal.closed) terminal.close()
    }, 10)
  })
  channel.once('close', () => {
    if (child.exitCode === null) kill()
  })
  return {
    resize: (cols, rows) => void (terminal.closed || terminal.resize(Math.max(cols, 1), Math.max(rows, 1))),
    signal: name => signalGroup(child.pid, name),
    kill,
  }
}
