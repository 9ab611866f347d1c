import { appendFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { findDecision } from '../../../../../sidecar/adapters/fs/decision-log-search.ts'
import { tempDir } from '../../../../kit/tempdir.ts'

const line = (id: string, more: object = {}) =>
  `${JSON.stringify({ decision_id: id, type: 't', ...more })}\n`

t.test('the newest record with the id, wherever it stands', async (t) => {
  const file = join(tempDir(t), 'decisions.jsonl')
  // Lines that cross the boundaries of what is read at once.
  const filler = Array.from({ length: 3000 }, (_, i) => line(`f-${i}`, { pad: 'x'.repeat(1000) }))
  writeFileSync(file, line('first-1', { n: 1 }))
  appendFileSync(file, filler.slice(0, 1500).join(''))
  appendFileSync(file, line('middle-1', { n: 2 }))
  appendFileSync(file, filler.slice(1500).join(''))
  appendFileSync(file, line('middle-1', { n: 3 }) + line('other-1'))
  appendFileSync(file, '{"decision_id":"torn-11')
  t.match(await findDecision(file, 'first-1'), { record: { n: 1 } })
  t.match(await findDecision(file, 'middle-1'), { record: { n: 3 } })
  t.match(await findDecision(file, 'other-1'), { record: { decision_id: 'other-1' } })
  for (const id of ['f-0', 'f-1499', 'f-1500', 'f-2999']) {
    t.equal((await findDecision(file, id)).record?.decision_id, id, id)
  }
  t.same(await findDecision(file, 'torn-11'), {}, 'half a line is no record')
  t.same(await findDecision(file, 'absent-1'), {})
})

t.test('another’s record that quotes the id is not it', async (t) => {
  const file = join(tempDir(t), 'decisions.jsonl')
  const quote = {
    postern: { path: '/x","decision_id":"wanted-1' },
    nested: { decision_id: 'wanted-1' },
  }
  writeFileSync(file, line('wanted-1', { n: 1 }) + line('liar-1', quote))
  t.match(await findDecision(file, 'wanted-1'), { record: { n: 1 } })
})

t.test('says what it did not read', async (t) => {
  const file = join(tempDir(t), 'decisions.jsonl')
  writeFileSync(file, line('early-1') + line('late-1', { pad: 'x'.repeat(3000) }))
  t.match(await findDecision(file, 'early-1', 2500), { limit: /last 2500 bytes/ })
  t.match(await findDecision('-', 'early-1'), { limit: /standard output/ })
  t.same(await findDecision(join(tempDir(t), 'none'), 'early-1'), {})
  t.match(await findDecision(tempDir(t), 'early-1'), { limit: /can't be read/ })
})

t.test('also in the file that was rotated away last', async (t) => {
  const file = join(tempDir(t), 'decisions.jsonl')
  writeFileSync(file, line('rotated-1'))
  renameSync(file, `${file}.1`)
  t.match(await findDecision(file, 'rotated-1'), { record: { decision_id: 'rotated-1' } })
})
