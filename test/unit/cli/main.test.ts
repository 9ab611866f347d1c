import t from 'tap'
import { buildProgram, run } from '../../../cli/main.ts'

t.test('knows its verbs', async (t) => {
  const names = buildProgram().commands.map((c) => c.name())
  t.same(names.sort(), ['controller', 'describe', 'get', 'sidecar', 'token', 'version'])
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
