import type { ComputeDriver } from '../drivers/contract.ts'

/**
 * Whether the driver has a sandbox, asked two ways: NOT_FOUND of a get alone proves nothing, an absence from the list
 * beside it does (spec/drivers.md §1). Null = the driver could not say.
 */
export async function isListed(driver: ComputeDriver, id: string, name: string): Promise<boolean | null> {
  const got = await driver.getSandbox(id, name).catch(() => undefined)
  if (got?.id === id) return true
  try {
    const listed = await driver.listSandboxes()
    return listed.some(sandbox => sandbox.id === id)
  } catch {
    return null
  }
}
