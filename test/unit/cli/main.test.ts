import { join } from 'node:path'
import t from 'tap'
import { buildProgram, run } from '../../../cli/main.ts'
import { MeshError } from '../../../common/errors.ts'
import { AdminServer } from '../../../controller/adapters/http/admin.ts'
import { tempDir } from '../../kit/tempdir.ts'

t.test('knows its verbs', async (t) => {
  const names = buildProgram().commands.map((c) => c.name())
  t.same(names.sort(), [
    'analyze',
    'controller',
    'describe',
    'explain',
    'get',
    'inject',
    'proxy',
    'sidecar',
    'token',
    'uninject',
    'version',
  ])
})

t.test('exit codes: 2 for a wrong command line, 1 when no controller answers', async (t) => {
  const stderr = t.capture(process.stderr, 'write', () => true)
  t.equal(await run(['nonsense']), 2)
  t.equal(await run(['get', 'pods', '--state', t.testdir()]), 2)
  t.equal(await run(['get', 'meshes', '--state', t.testdir()]), 1)
  const text = stderr()
    .map((c) => String(c.args[0]))
    .join('')
  t.match(text, /ERR_CONTROLLER_UNAVAILABLE/)
  t.match(text, /postern controller --manifests/, 'says what to do')
})

t.test('what is not there is exit code 1 and one clear line', async (t) => {
  const state = tempDir(t)
  const server = new AdminServer({
    socketPath: join(state, 'admin.sock'),
    objects: () => new Map(),
    problems: () => [],
    views: {},
    createJoinToken: async () => {
      throw new MeshError('ERR_WORKLOAD_NOT_FOUND', 'there is none')
    },
    log: { debug() {}, info() {}, warn() {}, error() {} },
  })
  await server.start()
  t.teardown(() => server.stop())
  const stderr = t.capture(process.stderr, 'write', () => true)
  const ask = async (...argv: string[]) => {
    const code = await run([...argv, '--state', state])
    return { code, said: stderr().map((c) => String(c.args[0])) }
  }
  const inShop = ['-n', 'shop']
  t.same(await ask('get', 'pap', 'x', ...inShop), {
    code: 1,
    said: [
      'error: there is no AuthorizationPolicy x in namespace shop; `postern get authorizationpolicies -A` lists all [ERR_NOT_FOUND]\n',
    ],
  })
  t.match(await ask('get', 'mesh', 'x'), { code: 1, said: [/there is no Mesh x;/] })
  t.match(await ask('describe', 'pap', 'x', ...inShop), {
    code: 1,
    said: [/there is no AuthorizationPolicy x in namespace shop;.* \[ERR_NOT_FOUND\]\n$/],
  })
  t.match(await ask('token', 'create', '--workload', 'shop/x'), {
    code: 1,
    said: [/there is no WorkloadEntry shop\/x;.* \[ERR_WORKLOAD_NOT_FOUND\]\n$/],
  })
})
