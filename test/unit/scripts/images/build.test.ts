/**
 * An image starts Node as bin/postern does, or is not built.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readStarter } from '../../../../scripts/images/build.ts'

const STARTER = `#!/bin/sh
export A_B="\${A_B:-2}"
export C="\${C:-x}"
heap=
[ "$1" = controller ] && heap='--three --four=4'
exec "$node" --one=1 --two $heap "$main" "$@"
`

t.test('takes environment and flags', async (t) => {
  t.same(readStarter(STARTER), {
    env: { A_B: '2', C: 'x' },
    flags: ['--one=1', '--two'],
    controllerFlags: ['--three', '--four=4'],
  })
})

t.test('reads the real one', async (t) => {
  const script = readFileSync(join(import.meta.dirname, '../../../../bin/postern'), 'utf8')
  const { env, flags } = readStarter(script)
  t.ok(Object.keys(env).length > 0)
  t.ok(flags.length > 0)
})

t.test('refuses what it would take half of', async (t) => {
  t.throws(() => readStarter(`${STARTER}export D=1\n`), /form that images read/)
  t.throws(() => readStarter(STARTER.replace('exec', 'eval')), /form that images read/)
})
