import t from 'tap'
import { mergeMutations, NO_MUTATION } from '../../../../../sidecar/core/decision/merge.ts'
import {
  type Mutation,
  PolicyResultError,
} from '../../../../../sidecar/core/decision/policy-result.ts'

function make(over: Partial<Mutation>): Mutation {
  return { ...NO_MUTATION, ...over }
}

t.test('nothing and one stay as they are', async (t) => {
  t.same(mergeMutations([]), NO_MUTATION)
  const one = make({
    headers: [
      ['A', '1'],
      ['a', '2'],
    ],
    headersToRemove: ['a'],
  })
  t.same(mergeMutations([one]), one)
})

t.test('different things are joined in order', async (t) => {
  t.same(
    mergeMutations([
      make({ headers: [['a', '1']], queryToRemove: ['q'], dynamicMetadata: { m: 1 } }),
      make({ headers: [['b', '2']], headersToRemove: ['c'], dynamicMetadata: { n: 2 } }),
      make({ responseHeaders: [['a', '3']], queryToSet: [['r', '4']] }),
    ]),
    {
      headers: [
        ['a', '1'],
        ['b', '2'],
      ],
      headersToRemove: ['c'],
      responseHeaders: [['a', '3']],
      queryToSet: [['r', '4']],
      queryToRemove: ['q'],
      dynamicMetadata: { m: 1, n: 2 },
    },
  )
})

t.test('the same wish twice is one wish', async (t) => {
  const wish = make({
    headers: [
      ['x-a', '1'],
      ['x-a', '2'],
    ],
    headersToRemove: ['b'],
    dynamicMetadata: { m: { deep: [1] } },
  })
  t.same(
    mergeMutations([
      wish,
      wish,
      make({
        headers: [
          ['X-A', '1'],
          ['x-a', '2'],
        ],
      }),
    ]),
    wish,
  )
})

const conflicts: readonly [string, Partial<Mutation>, Partial<Mutation>][] = [
  ['one header with two values', { headers: [['x-a', '1']] }, { headers: [['X-A', '2']] }],
  [
    'one header once and twice',
    { headers: [['a', '1']] },
    {
      headers: [
        ['a', '1'],
        ['a', '1'],
      ],
    },
  ],
  ['a header set and removed', { headers: [['a', '1']] }, { headersToRemove: ['A'] }],
  ['a header removed and set', { headersToRemove: ['a'] }, { headers: [['a', '1']] }],
  ['one response header', { responseHeaders: [['a', '1']] }, { responseHeaders: [['a', '2']] }],
  ['one query parameter', { queryToSet: [['a', '1']] }, { queryToSet: [['a', '2']] }],
  ['a parameter set and removed', { queryToSet: [['a', '1']] }, { queryToRemove: ['a'] }],
  ['one metadata key', { dynamicMetadata: { a: { b: 1 } } }, { dynamicMetadata: { a: { c: 1 } } }],
]
for (const [name, a, b] of conflicts)
  t.test(`${name} is a conflict`, async (t) => {
    t.throws(() => mergeMutations([make(a), make(b)]), PolicyResultError)
    t.throws(() => mergeMutations([make(a), make({}), make(b)]), PolicyResultError)
  })
