import { expect, test } from 'bun:test'
import { createLogFilter, type LogFilter } from '../../../src/domain/log-filter.ts'

const LEVELS = ['ERROR', 'warn', 'INFO', 'OCSF', 'Debug', 'TRACE', 'odd', '']
const shown = (filter: Partial<LogFilter>) => {
  const passes = createLogFilter({ sinceMs: 0, sources: [], minLevel: '', ...filter })
  return LEVELS.filter((level, at) => passes({ level, timestampMs: at, source: 'sandbox' }))
}

test.each([
  ['', LEVELS],
  ['ERROR', ['ERROR']],
  ['WARN', ['ERROR', 'warn']],
  ['info', ['ERROR', 'warn', 'INFO', 'OCSF']],
  ['OCSF', ['ERROR', 'warn', 'INFO', 'OCSF']],
  ['DEBUG', ['ERROR', 'warn', 'INFO', 'OCSF', 'Debug']],
  ['TRACE', ['ERROR', 'warn', 'INFO', 'OCSF', 'Debug', 'TRACE']],
  ['loud', LEVELS],
  [' INFO', LEVELS],
])('least level %p (spec/sandbox.md §6.3)', (minLevel, expected) => {
  expect(shown({ minLevel })).toEqual(expected)
})

test('a time of 0 or less is no bound, any other is inclusive', () => {
  expect(shown({ sinceMs: -5 })).toHaveLength(8)
  expect(shown({ sinceMs: 6 })).toEqual(['odd', ''])
})

test('sources are exact; no source is the gateway', () => {
  const line = { level: 'INFO', timestampMs: 1, source: '' }
  const passes = (sources: string[]) => createLogFilter({ sinceMs: 0, sources, minLevel: '' })(line)
  expect([passes(['gateway']), passes(['Gateway']), passes(['']), passes(['x', 'gateway']), passes([])]).toEqual([
    true,
    false,
    false,
    true,
    true,
  ])
})
