import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openWork } from '../../../demo/work.ts'

const MODULE = join(import.meta.dirname, '../../../demo/work.ts')

t.test('what a killed run left is removed at the next start, and nothing else', async (t) => {
  const parent = t.testdir()
  const code = `import { openWork } from ${JSON.stringify(MODULE)}
const work = await openWork('demo', ${JSON.stringify(parent)})
console.log(work.path)
setTimeout(() => {}, 60_000)`
  const run = spawn(process.execPath, ['--input-type=module', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => run.kill('SIGKILL'))
  const theirs = String((await once(run.stdout, 'data'))[0]).trim()
  writeFileSync(join(theirs, 'key.pem'), '')
  for (const name of ['postern-logs-demo-AbC123', 'postern-drill-AbC123', 'postern-demo-mine'])
    mkdirSync(join(parent, name))
  symlinkSync(join(parent, 'postern-drill-AbC123'), join(parent, 'postern-demo-AbC123'))
  const others = readdirSync(parent).sort()

  const beside = await openWork('demo', parent)
  t.ok(existsSync(join(theirs, 'key.pem')), 'a run that lives keeps its folder')
  t.equal(await beside.end(), undefined)
  t.same(readdirSync(parent).sort(), others)

  run.kill('SIGKILL')
  await once(run, 'exit')
  const next = await openWork('demo', parent)
  t.notOk(existsSync(theirs))
  await next.end()
  t.same(
    readdirSync(parent).sort(),
    others.filter((name) => join(parent, name) !== theirs),
  )
})
