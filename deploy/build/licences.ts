import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Ingredient, ingredients, type Licence, notices, parseLock, readLicence } from './sbom.ts'
import { ROOT } from './source.ts'

/** What is compiled into the executable, with the licences that are installed beside it. */
export const compiledIn = (): readonly (Ingredient & { readonly licence: Licence })[] =>
  ingredients(parseLock(readFileSync(join(ROOT, 'bun.lock'), 'utf8'))).map(item => ({
    ...item,
    licence: readLicence(join(ROOT, 'node_modules'), item),
  }))

/** The texts that go wherever an executable goes, by the names of their files. */
export const licenceTexts = (): Readonly<Record<string, string>> => ({
  LICENSE: readFileSync(join(ROOT, 'LICENSE'), 'utf8'),
  'THIRD-PARTY-NOTICES.txt': notices(compiledIn()),
})
