const GONE = (id: string) => `NOT EXISTS (SELECT 1 FROM objects AS s WHERE s.object_type = 'sandbox' AND s.id = ${id})`

/**
 * Rows whose sandbox is gone, as table and condition, in SQL of both databases. The reference leaves them behind, and
 * a stale settings row keeps a new sandbox of the same name from having settings (W8).
 */
export const ORPHANS: readonly (readonly [table: string, where: string])[] = [
  ['objects', `object_type = 'sandbox_settings' AND id LIKE 'settings:%' AND ${GONE('substr(objects.id, 10)')}`],
  ['sandbox_policies', `sandbox_id <> '__global__' AND ${GONE('sandbox_policies.sandbox_id')}`],
  ['draft_policy_chunks', GONE('draft_policy_chunks.sandbox_id')],
  ['openshell_draft_versions', GONE('openshell_draft_versions.sandbox_id')],
]
