import t from 'tap'
import { nodeId } from '../../../../controller/core/model/mesh.ts'
import { translate } from '../../../../controller/core/translate/index.ts'
import { History } from '../../../../controller/runtime/history.ts'
import type { Publication } from '../../../../controller/runtime/publication.ts'
import { makeInput, makeMesh, makeWorkloadEntry } from '../../../kit/objects.ts'

const { model: translated } = translate(
  makeInput({
    mesh: makeMesh(),
    workloadEntries: [makeWorkloadEntry('web', {}), makeWorkloadEntry('orders', {})],
  }),
)
if (translated === undefined) throw new Error('the mesh is not valid')
const model = translated
const ids = [...model.workloads.values()].map(nodeId)
const [id = ''] = ids
const nothing = { enforcedGeneration: '', bundleRevision: '' }

function publication(version: string): Publication {
  const all = <T>(value: T) => new Map(ids.map((i) => [i, value]))
  return {
    model,
    snapshots: all({ version, resources: new Map() }),
    bundles: all({ revision: `r${version}` } as never),
    generation: version,
  }
}

t.test('what a proxy still enforces is kept until it enforces a newer one', async (t) => {
  const history = new History()
  const at = (enforced: string) => [{ ...nothing, nodeId: id, enforcedGeneration: enforced }]
  history.note(publication('0'), [], 0)
  for (const n of [1, 2, 3, 4, 5, 6, 7]) history.note(publication(`${n}`), at('1'), n)
  t.match(history.newest(id), { snapshot: { version: '7' }, sinceMs: 7 })
  t.match(history.withGeneration(id, '1'), { sinceMs: 1, bundle: { revision: 'r1' } })
  t.match(history.withRevision(id, 'r5'), { sinceMs: 5 })
  t.equal(history.withGeneration(id, '2'), undefined, 'nobody is at it')
  history.note(publication('8'), at('7'), 8)
  t.equal(history.withGeneration(id, '1'), undefined, 'nobody is at it any more')
})

t.test('a publication that changes nothing for a proxy has no new time', async (t) => {
  const history = new History()
  history.note(publication('0'), [], 1)
  history.note(publication('0'), [], 2)
  t.equal(history.newest(id)?.sinceMs, 1)
})

t.test('a workload that is gone is forgotten', async (t) => {
  const history = new History()
  history.note(publication('0'), [], 1)
  t.ok(history.nodeOf(id.split('/').slice(0, 2).join('/')))
  history.note({ ...publication('1'), model: { ...model, workloads: new Map() } }, [], 2)
  t.same([...history.nodes()], [])
  t.equal(history.newest(id), undefined)
})

t.test(
  'a version that comes again hides none in between, and a lost stream forgets none',
  async (t) => {
    const history = new History()
    const at = (generation: string) => [
      {
        nodeId: id,
        enforcedGeneration: generation,
        bundleRevision: generation && `r${generation}`,
      },
    ]
    history.note(publication('a'), at('a'), 1)
    history.note(publication('b'), at('a'), 2)
    history.note(publication('a'), at('a'), 3)
    t.ok(history.withGeneration(id, 'b'), 'it may be on its way to b')
    for (const n of [1, 2, 3, 4, 5, 6])
      history.note(publication(`${n}`), at(n < 3 ? 'a' : ''), 3 + n)
    t.ok(history.withGeneration(id, 'a'), 'its status stream is away')
  },
)
