/** Times of conditions: kept, private, and never a reason not to start. */
import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createConditionStore } from '../../../../../controller/adapters/state/condition-store.ts'
import { tempDir } from '../../../../kit/tempdir.ts'

const TIME = {
  type: 'Accepted',
  status: 'True',
  lastTransitionTime: '2026-11-24T00:00:00Z',
} as const

t.test('are read as they were written', async (t) => {
  const dir = tempDir(t)
  const store = createConditionStore(dir)
  t.equal((await store.load()).size, 0)
  const times = new Map([['Mesh/mesh', [TIME]]])
  await store.save(times)
  t.same(await store.load(), times)
  t.equal(statSync(join(dir, 'conditions.json')).mode & 0o777, 0o600)
})

t.test('what is damaged reads as nothing', async (t) => {
  const dir = tempDir(t)
  const bad = ['', '{}', '[1]', '[["k",[null]]]', '[["k",[{"type":"A"}]]]', '[["k",{}]]']
  const noTime = JSON.stringify([['k', [{ ...TIME, lastTransitionTime: 'soon' }]]])
  for (const text of [...bad, noTime]) {
    writeFileSync(join(dir, 'conditions.json'), text)
    t.equal((await createConditionStore(dir).load()).size, 0, text)
  }
})

t.test('a disk that takes nothing is said', async (t) => {
  const dir = tempDir(t)
  mkdirSync(join(dir, 'conditions.json'))
  await t.rejects(createConditionStore(dir).save(new Map()), { code: 'ERR_STATE_WRITE' })
})
