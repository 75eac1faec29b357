/**
 * What a call costs: `bun run bench [OTHER_EXECUTABLE …]` measures dist/openshell-gateway and any other gateway
 * executable with the same flags in one run, and prints a table. The load comes from h2load (Debian's nghttp2-client)
 * on the same machine: compare columns of one run, not runs.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SETTLE_MS } from '../src/gateway/quiet-memory.ts'
import { messageFromJson } from '../src/wire/json.ts'
import { type Bench, startBench } from './gateway.ts'

const WARM_UP_SECS = 3
const MEASURED_SECS = 6
const SANDBOXES = 100

type Figures = Record<string, string>

const percentile = (sorted: readonly number[], part: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]!
const ms = (value: number): string => `${value.toFixed(2)} ms`

/** Closed loop of 8 connections × 16 streams. */
function saturate(
  bench: Bench,
  rpc: string,
  body: Buffer,
  secs: number,
): { rate: number; p99Ms: number; cpuMicros: number } {
  const dir = mkdtempSync(join(tmpdir(), 'h2load-'))
  const frame = Buffer.concat([Buffer.alloc(5), body])
  frame.writeUInt32BE(body.length, 1)
  writeFileSync(join(dir, 'body'), frame)
  const headers = ['content-type: application/grpc', 'te: trailers', `authorization: Bearer ${bench.token}`].flatMap(
    header => ['-H', header],
  )
  const cpuBefore = bench.cpuSecs()
  const run = spawnSync(
    'h2load',
    [
      '-c',
      '8',
      '-m',
      '16',
      '-t',
      '1',
      '-D',
      String(secs),
      '-d',
      join(dir, 'body'),
      `--log-file=${join(dir, 'log')}`,
      ...headers,
      `http://127.0.0.1:${bench.port}/openshell.v1.OpenShell/${rpc}`,
    ],
    { encoding: 'utf8' },
  )
  const cpu = bench.cpuSecs() - cpuBefore
  if (run.status !== 0) throw new Error(`h2load failed: ${run.error?.message ?? run.stderr}`)
  const rows = readFileSync(join(dir, 'log'), 'utf8')
    .trim()
    .split('\n')
    .map(line => line.split('\t').map(Number))
  rmSync(dir, { recursive: true })
  if (rows.some(row => row[1] !== 200)) throw new Error(`${rpc}: not every answer was 200`)
  const times = rows.map(row => row[2]! / 1000).sort((a, b) => a - b)
  return { rate: rows.length / secs, p99Ms: percentile(times, 0.99), cpuMicros: (cpu / rows.length) * 1e6 }
}

async function oneAtATime(
  bench: Bench,
  calls: number,
  rpc: string,
  request: (index: number) => unknown,
): Promise<number[]> {
  const times: number[] = []
  for (let index = 0; index < calls; index++) times.push(await bench.call(rpc, request(index)))
  return times
}

async function measure(executable: string): Promise<Figures> {
  const bench = await startBench(executable)
  try {
    const startMib = bench.memoryMib()
    await Bun.sleep(SETTLE_MS)
    const idleMib = bench.memoryMib()
    for (let index = 0; index < SANDBOXES; index++)
      await bench.call('CreateSandbox', {
        name: `bench-${index}`,
        spec: { environment: { A: 'b'.repeat(400) }, template: { image: 'bench/image:1', labels: { app: 'bench' } } },
        labels: { env: 'bench', team: 'a' },
      })
    const get = messageFromJson('openshell.v1.GetSandboxRequest', { name: 'bench-50' })
    const list = messageFromJson('openshell.v1.ListSandboxesRequest', { limit: SANDBOXES })
    saturate(bench, 'GetSandbox', get, WARM_UP_SECS)
    await oneAtATime(bench, 500, 'GetSandbox', () => ({ name: 'bench-50' }))
    const single = (await oneAtATime(bench, 2000, 'GetSandbox', () => ({ name: 'bench-50' }))).sort((a, b) => a - b)
    const gets = saturate(bench, 'GetSandbox', get, MEASURED_SECS)
    const lists = saturate(bench, 'ListSandboxes', list, MEASURED_SECS)
    const provider = (index: number) => ({
      provider: { metadata: { name: `p-${index}` }, type: 'generic', credentials: { KEY: 'value' } },
    })
    const begun = performance.now()
    await oneAtATime(bench, 1000, 'CreateProvider', provider)
    const createRate = 1000 / ((performance.now() - begun) / 1000)
    const peakMib = bench.memoryMib()
    await Bun.sleep(SETTLE_MS)
    return {
      'start to first Health': ms(bench.startMs),
      'memory at start / idle': `${startMib.toFixed(0)} / ${idleMib.toFixed(0)} MiB`,
      'GetSandbox one at a time, p50 / mean / p99': `${percentile(single, 0.5).toFixed(2)} / ${(single.reduce((a, b) => a + b) / single.length).toFixed(2)} / ${percentile(single, 0.99).toFixed(2)} ms`,
      'GetSandbox saturated, rate': `${gets.rate.toFixed(0)}/s`,
      'GetSandbox saturated, p99': ms(gets.p99Ms),
      'GetSandbox saturated, server CPU a call': `${gets.cpuMicros.toFixed(0)} µs`,
      'ListSandboxes of 100 saturated, rate': `${lists.rate.toFixed(0)}/s`,
      'ListSandboxes of 100 saturated, p99': ms(lists.p99Ms),
      'CreateProvider one at a time, durable': `${createRate.toFixed(0)}/s`,
      'memory at the end of the run / idle again': `${peakMib.toFixed(0)} / ${bench.memoryMib().toFixed(0)} MiB`,
    }
  } finally {
    await bench.stop()
  }
}

const executables = [
  process.env['GATEWAY_BIN'] ?? join(import.meta.dir, '../dist/openshell-gateway'),
  ...process.argv.slice(2),
]
const columns: Figures[] = []
for (const executable of executables) columns.push(await measure(executable))
console.log(
  `warm-up ${WARM_UP_SECS} s, measured ${MEASURED_SECS} s; 8 connections × 16 streams; idle = quiet for ${SETTLE_MS / 1000} s; OIDC on, SQLite file, plaintext`,
)
console.log(`| Figure | ${executables.join(' | ')} |\n|---|${'---|'.repeat(executables.length)}`)
for (const figure of Object.keys(columns[0]!))
  console.log(`| ${figure} | ${columns.map(column => column[figure]).join(' | ')} |`)
