/**
 * Whether others than its owner may read a file with a secret. One of root's that is open to one group is not: that is
 * how systemd and Kubernetes hand secrets over.
 */
export const isOpenToOthers = (file: { readonly mode: number; readonly uid: number }): boolean =>
  (file.mode & (file.uid === 0 ? 0o037 : 0o077)) !== 0
