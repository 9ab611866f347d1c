import t from 'tap'
import { formatAge, formatCell, formatTable } from '../../../../cli/output/table.ts'

t.test('pads columns to the widest cell and leaves no trailing space', async (t) => {
  const text = formatTable([
    ['NAME', 'AGE'],
    ['a-long-name', ''],
  ])
  t.equal(text, 'NAME          AGE\na-long-name\n')
})

t.test('shows ages in the largest unit that still tells something', async (t) => {
  const cases: [number, string][] = [
    [0, '0s'],
    [119, '119s'],
    [120, '2m'],
    [7199, '119m'],
    [7200, '2h'],
    [172_800, '2d'],
  ]
  for (const [seconds, text] of cases) t.equal(formatAge(0, seconds * 1000), text)
  t.equal(formatAge(5000, 0), '0s', 'a clock that went back is no negative age')
})

t.test('reads printer columns as CRDs write them', async (t) => {
  const object = {
    metadata: { name: 'a', creationTimestamp: '2026-01-01T00:00:00Z' },
    status: {
      conditions: [
        { type: 'Accepted', status: 'False' },
        { type: 'Enforced', status: 'True' },
      ],
    },
  }
  const column = (jsonPath: string, type = 'string') => ({ name: 'X', type, jsonPath })
  const accepted = column('.status.conditions[?(@.type=="Accepted")].status')
  t.equal(formatCell(accepted, object, 0), 'False')
  t.equal(
    formatCell(column('.status.enforced'), object, 0),
    '',
    'a path that leads nowhere is empty',
  )
  const now = Date.parse('2026-01-01T00:01:00Z')
  t.equal(formatCell(column('.metadata.creationTimestamp', 'date'), object, now), '60s')
})
