import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

/** A private PostgreSQL server in a temporary directory. */
export interface PostgresServer {
  readonly port: number
  /** Directory of its Unix socket. */
  readonly socketDirectory: string
  /** URL of a new, empty database. */
  createDatabase(): Promise<string>
  /** Runs SQL in a database of `createDatabase` and returns rows of texts. */
  query(url: string, sql: string): string[][]
  /** Ends the server as a crash would; `start` brings it back with its data. */
  kill(): Promise<void>
  start(): Promise<void>
  /** Starts it again with TLS beside plain connections; files in PEM. */
  secure(certificate: string, key: string): Promise<void>
  /** Freezes and thaws every process of the server. */
  freeze(): void
  thaw(): void
  stop(): Promise<void>
}

const SECONDS = 1000

/** The directory with `initdb` and `postgres`, or null when this machine has none. */
function findBinaries(): string | null {
  const debian = '/usr/lib/postgresql'
  const versions = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : []
  const onPath = Bun.which('postgres')
  const places = [
    process.env['PG_BIN'] ?? '',
    ...versions.map(v => join(debian, v, 'bin')),
    onPath ? dirname(onPath) : '',
  ]
  return (
    places.find(place => place !== '' && existsSync(join(place, 'initdb')) && existsSync(join(place, 'postgres'))) ??
    null
  )
}

/** PostgreSQL refuses to run as root: then it runs as `postgres` or `nobody`. */
function unprivileged(): { uid: number; gid: number } | null {
  if (process.getuid?.() !== 0) return null
  for (const user of ['postgres', 'nobody']) {
    const ids = ['-u', '-g'].map(flag => spawnSync('id', [flag, user], { encoding: 'utf8' }).stdout.trim())
    if (ids.every(id => /^\d+$/.test(id))) return { uid: Number(ids[0]), gid: Number(ids[1]) }
  }
  return null
}

function freePort(): Promise<number> {
  const server = createServer()
  return new Promise(resolve =>
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    }),
  )
}

async function until(done: () => boolean, ms: number, what: string): Promise<void> {
  const deadline = performance.now() + ms
  while (!done()) {
    if (performance.now() > deadline) throw new Error(`${what} within ${ms} ms`)
    await Bun.sleep(20)
  }
}

/** Starts a server, or says in one line why there is none and returns null. */
export async function startPostgres(): Promise<PostgresServer | null> {
  const bin = findBinaries()
  if (bin === null) {
    console.log(
      'PostgreSQL tests are skipped: no initdb and postgres on this machine (PG_BIN, /usr/lib/postgresql, PATH)',
    )
    return null
  }
  const directory = mkdtempSync(join(tmpdir(), 'gateway-pg-'))
  const user = unprivileged()
  const [data, socketDirectory] = [join(directory, 'data'), join(directory, 'run')]
  chmodSync(directory, 0o755)
  for (const made of [data, socketDirectory]) {
    mkdirSync(made, { mode: 0o700 })
    if (user) chownSync(made, user.uid, user.gid)
  }
  chmodSync(socketDirectory, 0o755)
  const options = { cwd: '/', ...user }
  const init = spawnSync(
    join(bin, 'initdb'),
    ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-sync', '--locale=C'],
    { ...options, encoding: 'utf8' },
  )
  if (init.status !== 0) throw new Error(`initdb failed: ${init.stderr}`)
  const port = await freePort()
  const args = [
    '-D',
    data,
    '-p',
    String(port),
    '-k',
    socketDirectory,
    '-c',
    'listen_addresses=127.0.0.1',
    '-c',
    'fsync=off',
  ]
  let child: ChildProcess | null = null
  let made = 0

  const psql = (database: string, sql: string) =>
    spawnSync(
      existsSync(join(bin, 'psql')) ? join(bin, 'psql') : 'psql',
      [
        '-h',
        socketDirectory,
        '-p',
        String(port),
        '-U',
        'postgres',
        '-d',
        database,
        '-XAt',
        '-F',
        '\t',
        '-v',
        'ON_ERROR_STOP=1',
        '-c',
        sql,
      ],
      { encoding: 'utf8' },
    )
  const processes = () => {
    const own = child?.pid
    if (own === undefined) return []
    const found = spawnSync('pgrep', ['-P', String(own)], { encoding: 'utf8' })
      .stdout.split('\n')
      .filter(Boolean)
      .map(Number)
    return [own, ...found]
  }
  const end = async (signal: NodeJS.Signals) => {
    const running = child
    child = null
    if (running === null || running.exitCode !== null) return
    const gone = new Promise(resolve => running.once('exit', resolve))
    running.kill(signal)
    await gone
  }

  const server: PostgresServer = {
    port,
    socketDirectory,
    async createDatabase() {
      const name = `test_${++made}`
      const result = psql('postgres', `CREATE DATABASE ${name}`)
      if (result.status !== 0) throw new Error(result.stderr)
      return `postgres://postgres@127.0.0.1:${port}/${name}`
    },
    query(url, sql) {
      const result = psql(new URL(url).pathname.slice(1), sql)
      if (result.status !== 0) throw new Error(result.stderr)
      return result.stdout
        .split('\n')
        .filter(Boolean)
        .map(line => line.split('\t'))
    },
    async start() {
      // A killed server's workers keep its memory for a moment; a new one starts when they are gone.
      for (let attempt = 0; ; attempt++) {
        const started = spawn(join(bin, 'postgres'), args, { ...options, stdio: 'ignore' })
        child = started
        await until(
          () => started.exitCode !== null || psql('postgres', 'SELECT 1').stdout === '1\n',
          20 * SECONDS,
          'server starts',
        )
        if (started.exitCode === null) return
        if (attempt === 20) throw new Error(`postgres ended with ${started.exitCode}`)
        await Bun.sleep(200)
      }
    },
    kill: () => end('SIGKILL'),
    async secure(certificate, key) {
      for (const [name, from] of [
        ['server.crt', certificate],
        ['server.key', key],
      ] as const) {
        const file = join(data, name)
        writeFileSync(file, readFileSync(from), { mode: 0o600 })
        if (user) chownSync(file, user.uid, user.gid)
      }
      await end('SIGINT')
      args.push('-c', 'ssl=on')
      await server.start()
    },
    freeze() {
      for (const pid of processes()) process.kill(pid, 'SIGSTOP')
    },
    thaw() {
      for (const pid of processes()) process.kill(pid, 'SIGCONT')
    },
    async stop() {
      await end('SIGINT')
      rmSync(directory, { recursive: true, force: true })
    },
  }
  await server.start()
  return server
}
