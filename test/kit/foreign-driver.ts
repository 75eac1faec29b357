import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const SCRIPT = join(import.meta.dir, 'foreign/compute_driver.py')
const PYTHON = process.env['FOREIGN_PYTHON'] ?? Bun.which('python3')

/** Whether this machine can run it; says why not, once, when it cannot. */
export function canRunForeignDriver(): boolean {
  const can = PYTHON !== null && Bun.spawnSync([PYTHON, '-c', 'import grpc'], { stderr: 'ignore' }).exitCode === 0
  if (!can)
    console.log('skipped: the driver of another gRPC stack needs python3 with grpcio (FOREIGN_PYTHON names one)')
  return can
}

/** The compute driver of another gRPC stack, in its own process. */
export interface ForeignDriver {
  /** SIGKILL, and waits until it is gone. */
  kill(): Promise<void>
}

/** Starts it and waits until it serves. `cluster` is a file that outlives it: what it made is there when it returns. */
export async function startForeignDriver(socket: string, watchSecs: number, cluster?: string): Promise<ForeignDriver> {
  const args = [SCRIPT, socket, String(watchSecs), ...(cluster ? [cluster] : [])]
  const child = spawn(PYTHON ?? '', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const gone = new Promise<void>(resolve => child.once('exit', () => resolve()))
  const ready = new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', line => line === 'ready' && resolve())
    child.once('exit', code => reject(new Error(`the foreign driver ended with ${code}`)))
  })
  await ready
  return {
    kill() {
      child.kill('SIGKILL')
      return gone
    },
  }
}
