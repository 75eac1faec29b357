import { existsSync } from 'node:fs'
import { join } from 'node:path'

/** Why tests with a real peer are skipped, in one plain sentence; or the folder of their scripts and an interpreter. */
export type Peers = { readonly folder: string; readonly python: string } | { readonly skipped: string }

/** Looks for the scripts of OPENSHELL_PEERS and a Python that has `modules`; FOREIGN_PYTHON names one. */
export function findPeers(what: string, modules: readonly string[] = []): Peers {
  const folder = process.env['OPENSHELL_PEERS']
  if (!folder) return { skipped: `${what} needs OPENSHELL_PEERS, the folder with the scripts that fetch it` }
  if (!existsSync(folder)) return { skipped: `${what}: OPENSHELL_PEERS names ${folder}, which does not exist` }
  const python = process.env['FOREIGN_PYTHON'] ?? Bun.which('python3')
  const imports = ['sys', ...modules].join(', ')
  if (!python || Bun.spawnSync([python, '-c', `import ${imports}`], { stderr: 'ignore' }).exitCode !== 0)
    return {
      skipped: `${what} needs python3 with ${modules.join(' and ') || 'nothing else'} (FOREIGN_PYTHON names one)`,
    }
  return { folder, python }
}

/** The path of the command line tool that real users have, fetched if need be. */
export function fetchUpstreamCli(version: string): string | { readonly skipped: string } {
  const peers = findPeers(`the openshell command line tool ${version}`, ['google.protobuf', 'grpc'])
  if ('skipped' in peers) return peers
  const fetched = Bun.spawnSync([peers.python, join(peers.folder, 'upstream.py'), 'cli', version], { stderr: 'pipe' })
  if (fetched.exitCode === 0) return fetched.stdout.toString().trim()
  const last = fetched.stderr.toString().trim().split('\n').at(-1)
  return { skipped: `the openshell command line tool ${version} could not be fetched: ${last}` }
}
