/**
 * The drawing shows what the imports show: arrows, without those that a longer way implies.
 */
import t from 'tap'
import { arrowsOf, drawHouse, withoutImplied } from '../../../../scripts/architecture/draw.ts'

const HOUSE = {
  files: new Map([
    ['common/a.ts', ''],
    ['controller/core/xds/b.ts', `import '../../../common/a.ts'`],
    ['controller/runtime/c.ts', `import type { B } from '../core/xds/b.ts'`],
    ['controller/adapters/grpc/d.ts', `import '../../runtime/c.ts'\nimport '../../core/xds/b.ts'`],
  ]),
  generated: new Set<string>(),
  testGlobs: [],
  rooms: {
    common: 'shared?',
    'controller/core/xds': 'which?',
    'controller/runtime': 'when?',
    'controller/adapters/grpc': 'how?',
    'controller/adapters/gone': 'never?',
  },
}

t.test('arrows are the imports between rooms', async (t) => {
  const arrows = arrowsOf(HOUSE)
  t.same(
    arrows.get('controller/adapters/grpc'),
    new Set(['controller/runtime', 'controller/core/xds']),
  )
  t.same(arrows.get('common'), new Set())
})

t.test('an arrow that a longer way implies is left out', async (t) => {
  const direct = withoutImplied(
    new Map([
      ['a', new Set(['b', 'c'])],
      ['b', new Set(['c'])],
      ['c', new Set<string>()],
    ]),
  )
  t.same(direct.get('a'), new Set(['b']))
  t.same(direct.get('b'), new Set(['c']))
})

t.test('draws layers, arrows and one row per room that is there', async (t) => {
  const drawing = drawHouse(HOUSE)
  t.match(drawing, 'controller_adapters_grpc --> controller_runtime')
  t.notMatch(drawing, 'controller_adapters_grpc --> controller_core_xds')
  t.match(drawing, '| `controller/core/xds` | which? | `common` |')
  t.notMatch(drawing, 'controller/adapters/gone')
  t.equal(drawHouse({ ...HOUSE, files: new Map([...HOUSE.files].reverse()) }), drawing)
})
