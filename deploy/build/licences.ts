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

/** File with the licences of what is compiled in. */
export const NOTICES = 'THIRD-PARTY-NOTICES.txt'

/** The texts that go wherever an executable goes, by the names of their files. */
export const licenceTexts = (): Readonly<Record<'LICENSE' | typeof NOTICES, string>> => ({
  LICENSE: readFileSync(join(ROOT, 'LICENSE'), 'utf8'),
  [NOTICES]: notices(compiledIn()),
})
