import { afterAll, beforeAll, expect, test } from 'bun:test'
import { type DataPlane, startDataPlane } from '../kit/data-plane.ts'

let plane: DataPlane
let dir: string

beforeAll(async () => {
  plane = await startDataPlane()
  await plane.addSandbox('s1')
  ;({ dir } = await plane.supervise('s1'))
})
afterAll(() => plane.stop())

const exec = async (command: string[], more: object = {}) => {
  const answer = await plane.call('ExecSandbox', { sandbox_id: 's1', command, ...more })
  const text = (kind: 'stdout' | 'stderr') =>
    Buffer.concat(answer.messages.map(event => event[kind]?.data ?? Buffer.alloc(0))).toString()
  return {
    code: answer.code,
    stdout: text('stdout'),
    stderr: text('stderr'),
    exit: answer.messages.at(-1)?.exit?.exit_code ?? null,
  }
}

test('a command runs in the directory of the sandbox', async () => {
  expect(await exec(['pwd'])).toEqual({ code: 0, stdout: `${dir}\n`, stderr: '', exit: 0 })
})

test('stdout, stderr, exit code, environment and stdin arrive', async () => {
  expect(
    await exec(['sh', '-c', 'cat; echo "$A" >&2; exit 7'], { environment: { A: "it's" }, stdin: Buffer.from('in') }),
  ).toEqual({
    code: 0,
    stdout: 'in',
    stderr: "it's\n",
    exit: 7,
  })
})
