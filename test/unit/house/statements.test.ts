import { expect, test } from 'bun:test'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Glob } from 'bun'

const SRC = join(import.meta.dir, '../../../src')
const STATEMENT = /`[^`]*\b(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|WHERE|VALUES|PRAGMA|ALTER TABLE)\b[^`]*`/g
const JOINED = /['"`][^'"`]*\b(?:SELECT|INSERT INTO|DELETE FROM|WHERE|VALUES)\b[^'"`]*['"`]\s*\+/
const CONSTANT = /^(?:[A-Z][A-Z_]*|LIMITS\.\w+)$/

/** Names and columns that the store itself puts together, each of constants. */
const PARTS = new Set([
  'store/orphans.ts id',
  'store/postgres-reads.ts draftColumns(false)',
  'store/postgres-schema.ts table',
  'store/postgres-schema.ts where',
  'store/postgres-writes.ts where',
  'store/sqlite-orphans.ts table',
  'store/sqlite-orphans.ts where',
  'store/sqlite-reads.ts counted',
  'store/sqlite-reads.ts draft',
  'store/sqlite-reads.ts draftColumns(false)',
  'store/sqlite-reads.ts newest',
  "store/sqlite-writes.ts DRAFT_COLUMNS.split(',').fill('?').join(', ')",
  "store/sqlite-writes.ts draftColumns(make.columns('draft_policy_chunks').has('approval'))",
  'store/sqlite-writes.ts where',
])

const files = [...new Glob('**/*.ts').scanSync(SRC)].map(file => [file, readFileSync(join(SRC, file), 'utf8')] as const)

test('I-08 statements are made of constants, whatever comes from outside is a parameter', () => {
  const found = files.flatMap(([file, text]) =>
    [...text.matchAll(STATEMENT)].flatMap(([statement]) =>
      [...statement.matchAll(/\$\{([^}]*)\}/g)]
        .map(match => match[1]!)
        .filter(part => !CONSTANT.test(part))
        .map(part => `${file} ${part}`),
    ),
  )
  expect(new Set(found)).toEqual(PARTS)
  expect(files.flatMap(([file, text]) => (JOINED.test(text) ? [file] : []))).toEqual([])
})
