import { expect, test } from 'bun:test'
import { setImmediate as turn } from 'node:timers/promises'
import { LIMITS } from '../../../src/limits.ts'
import { createLogger } from '../../../src/observe/log.ts'
import { createFdSink } from '../../../src/observe/log-sink.ts'
import { createFakeClock } from '../../kit/clock.ts'
import { until } from '../../kit/gateway.ts'

type Step = number | string

/** A file that takes what the script says: all of it, so many bytes, or fails with that code. */
function openFile(script: Step[] = []) {
  let text = ''
  let stuck: (() => void) | null = null
  const file = {
    tries: 0,
    text: () => text,
    script,
    /** A reader that reads nothing, until the returned function is called. */
    block() {
      file.script = ['block']
      return () => stuck?.()
    },
    write(_fd: number, bytes: Uint8Array, done: (error: NodeJS.ErrnoException | null, written: number) => void) {
      file.tries++
      const step = file.script.shift() ?? 'all'
      const take = (count: number) => {
        text += Buffer.from(bytes.subarray(0, count)).toString()
        done(null, count)
      }
      if (step === 'block') stuck = () => take(bytes.length)
      else if (step === 'all') take(bytes.length)
      else if (typeof step === 'number') take(step)
      else done(Object.assign(new Error(step), { code: step }), 0)
    },
  }
  return file
}

const line = (n: number | string, length = 0) => `${`line ${n} `.padEnd(length, 'x')}\n`

test('O-02 1 000 lines in one turn arrive, all and in order, in one write', async () => {
  const file = openFile()
  const sink = createFdSink(9, file.write)
  const lines = Array.from({ length: 1000 }, () => line('the same'))
  for (const text of lines) sink.write(text, false)
  await turn()
  expect(file.text()).toBe(lines.join(''))
  expect(file.tries).toBe(1)
  expect(sink.dropped).toBe(0)
})

test('C-09 a disk that is full costs nothing but time: writing goes on where it stopped', async () => {
  const file = openFile([4, 'ENOSPC', 'EAGAIN'])
  const sink = createFdSink(9, file.write)
  sink.write(line(1), false)
  await until('the first try', () => file.tries === 2)
  sink.write(line(2), true)
  await until('the disk to have room', () => file.text() === line(1) + line(2))
  expect(sink.dropped).toBe(0)
})

test('O-03 a reader that is gone is written to no more, and what it misses is counted', async () => {
  const file = openFile(['EPIPE'])
  const sink = createFdSink(9, file.write)
  expect(sink.fault).toBeNull()
  for (let n = 0; n < 3; n++) {
    sink.write(line(n), true)
    await turn()
  }
  await sink.flush(LIMITS.logFlushMs)
  expect(file.tries).toBe(1)
  expect([sink.fault, sink.dropped, sink.takeDropped()]).toEqual(['gone', 3, 0])
})

test('O-03 a full disk is a fault until it has room again, and costs no line', async () => {
  const file = openFile(['ENOSPC', 'ENOSPC'])
  const sink = createFdSink(9, file.write)
  sink.write(line(1), true)
  await until('the fault', () => sink.fault === 'not writable')
  await until('the disk to have room', () => sink.fault === null)
  expect([file.text(), sink.dropped]).toEqual([line(1), 0])
})

test('O-03 a reader that is far behind is a fault before the first audit line is lost', async () => {
  const file = openFile()
  const read = file.block()
  const sink = createFdSink(9, file.write)
  sink.write(line('first'), true)
  await turn()
  while (sink.fault === null) sink.write(line('more', 10_000), true)
  expect([sink.fault, sink.dropped]).toEqual(['not read', 0])
  read()
  await until('the reader to catch up', () => sink.fault === null)
})

test('decision 26 the queue keeps its bound in bytes: old informational lines go first, audit lines last, all counted', async () => {
  const file = openFile()
  const read = file.block()
  const sink = createFdSink(9, file.write)
  sink.write(line('first'), false)
  await turn()
  const short = 20_000
  for (let n = 0; n < short; n++) sink.write(line(n, 99), false)
  expect(sink.dropped).toBe(short - Math.floor(LIMITS.logQueueBytes / 100))
  sink.write(line('audit'), true)
  // Long lines push out as many short ones as they need.
  for (let n = 0; n < 200; n++) sink.write(line(`long ${n}`, 60_000), false)
  expect(sink.takeDropped()).toBe(0)
  read()
  await turn()
  const rest = file.text().slice(line('first').length)
  expect(rest.length).toBeLessThanOrEqual(LIMITS.logQueueBytes)
  expect(rest.startsWith(line('audit'))).toBe(true)
  expect(rest.endsWith(line('long 199', 60_000))).toBe(true)
  const kept = rest.split('\n').length - 1
  expect(sink.dropped).toBe(short + 1 + 200 - kept)
  expect(sink.takeDropped()).toBe(sink.dropped)
  expect(sink.takeDropped()).toBe(0)
})

test('audit lines may fill the queue further, and have an end too', async () => {
  const file = openFile()
  const read = file.block()
  const sink = createFdSink(9, file.write)
  sink.write(line('first'), false)
  await turn()
  const many = 2 * Math.ceil(LIMITS.logAuditBytes / 1000)
  for (let n = 0; n < many; n++) sink.write(line(n, 999), true)
  sink.write(line('late and informational'), false)
  read()
  await turn()
  expect(file.text().length).toBeLessThanOrEqual(LIMITS.logAuditBytes + 100)
  expect(file.text()).toContain(line(0, 999))
  expect(sink.dropped).toBe(many + 1 - Math.floor(LIMITS.logAuditBytes / 1000))
})

test('what was dropped is said once the reader is back', async () => {
  const file = openFile()
  const read = file.block()
  const sink = createFdSink(9, file.write)
  const log = createLogger({ sink, format: 'json', level: 'info', clock: createFakeClock() })
  log.info('first')
  await turn()
  for (let n = 0; n < 400; n++) log.info('much', { text: 'x'.repeat(8000) })
  read()
  await turn()
  log.info('later')
  await turn()
  const lines = file.text().trimEnd().split('\n')
  const last = lines.slice(-2).map(text => JSON.parse(text))
  expect(last[0]).toMatchObject({ level: 'WARN', message: 'log lines dropped', count: sink.dropped })
  expect(last[1]).toMatchObject({ message: 'later' })
})
