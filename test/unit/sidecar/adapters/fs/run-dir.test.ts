/** Sockets have a place of their own on a machine whose disk takes nothing; nobody else gets in, and nothing is left. */
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openRunDir } from '../../../../../sidecar/adapters/fs/run-dir.ts'
import { makeReadOnly } from '../../../../kit/small-disk.ts'
import { tempDir } from '../../../../kit/tempdir.ts'
import { waitFor } from '../../../../kit/wait.ts'

const skip = process.geteuid?.() !== 0 && 'needs root'

t.test('a directory that works is the one', async (t) => {
  const wanted = join(tempDir(t), 'run')
  const run = await openRunDir(wanted)
  t.equal(run.dir, wanted)
  t.equal(run.problem(), undefined)
  t.same(readdirSync(wanted), [], 'nothing stays of trying')
  await run.close()
})

t.test('one that is open to others is refused, not gone round', async (t) => {
  const wanted = tempDir(t)
  chmodSync(wanted, 0o755)
  await t.rejects(openRunDir(wanted), { code: 'ERR_CONFIG' })
})

t.test(
  'read-only: the first other place that works, until it can be written',
  { skip },
  async (t) => {
    const state = tempDir(t)
    const place = tempDir(t)
    const wanted = join(state, 'run')
    const end = makeReadOnly(t, state)
    const run = await openRunDir(wanted, { places: ['/proc/nowhere', place], lookEveryMs: 5 })
    t.ok(run.dir.startsWith(`${place}/postern-0-`))
    t.equal(statSync(run.dir).mode & 0o777, 0o700)
    t.match(run.problem(), { code: 'ERR_STATE_WRITE' })
    t.equal(
      run.problem()?.message,
      `cannot write in ${wanted} (EROFS); the sockets are in ${run.dir} until the next start`,
    )
    end()
    await waitFor(() => run.problem() === undefined, { what: 'the disk to be noticed' })
    await run.close()
    t.notOk(existsSync(run.dir))
  },
)

t.test('a link in the other place is not followed; with no place it ends', { skip }, async (t) => {
  const state = tempDir(t)
  const place = tempDir(t)
  const wanted = join(state, 'run')
  const end = makeReadOnly(t, state)
  const { dir } = await openRunDir(wanted, { places: [place] })
  const target = join(tempDir(t), 'target')
  mkdirSync(target, { mode: 0o700 })
  const other = tempDir(t)
  symlinkSync(target, join(other, dir.slice(place.length + 1)))
  await t.rejects(openRunDir(wanted, { places: [other] }), {
    code: 'ERR_STATE_WRITE',
    message: `cannot write in ${wanted} (EROFS); make room there, or give a --run-dir on another disk`,
  })
  t.same(readdirSync(target), [])
  end()
})
