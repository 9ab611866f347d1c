import { t } from 'tap'
import type { PeerAuthenticationSpec } from '../../../../../controller/core/crd/index.ts'
import {
  type PortSubject,
  translatePeerAuthentications,
} from '../../../../../controller/core/translate/peer-authentication.ts'
import { makePeerAuthentication } from '../../../../kit/objects.ts'

const web: PortSubject = {
  namespace: 'shop',
  name: 'web',
  service: 'web',
  serviceAccount: 'web',
  labels: { app: 'web' },
  ports: [8001, 8002],
}

const STRICT = { mtls: { mode: 'STRICT' } } as const
const PERMISSIVE = { mtls: { mode: 'PERMISSIVE' } } as const
const onWeb = { selector: { matchLabels: { app: 'web' } } }
const older = { creationTimestamp: '2026-01-01T00:00:00Z' }
const newer = { creationTimestamp: '2026-01-02T00:00:00Z' }

function make(name: string, spec: PeerAuthenticationSpec, metadata = {}) {
  return makePeerAuthentication(name, spec, metadata)
}

function modeOf(objects: ReturnType<typeof make>[], port = 8001) {
  const forward = translatePeerAuthentications(objects, [web], 'STRICT').modeOf(web, port)
  const backward = translatePeerAuthentications(objects.reverse(), [web], 'STRICT')
  t.equal(backward.modeOf(web, port), forward, 'whatever the order')
  return forward
}

t.test('the Mesh decides when nothing else does', async (t) => {
  t.equal(modeOf([]), 'STRICT')
  t.equal(translatePeerAuthentications([], [web], 'PERMISSIVE').modeOf(web, 8001), 'PERMISSIVE')
})

t.test('nearer wins: workload over namespace over mesh-wide', async (t) => {
  const mesh = make('postern-system/m', PERMISSIVE, older)
  const namespace = make('n', STRICT, newer)
  const workload = make('w', { ...PERMISSIVE, ...onWeb }, newer)
  t.equal(modeOf([mesh]), 'PERMISSIVE')
  t.equal(modeOf([mesh, namespace]), 'STRICT')
  t.equal(modeOf([mesh, namespace, workload]), 'PERMISSIVE')
})

t.test('a port beats a workload, for that port only', async (t) => {
  const port = make('p', { portLevelMtls: { '8001': { mode: 'PERMISSIVE' } } })
  const workload = make('w', { ...STRICT, ...onWeb })
  t.equal(modeOf([port, workload]), 'PERMISSIVE')
  t.equal(modeOf([port, workload], 8002), 'STRICT')
})

t.test('the oldest wins a tie, then the first by name', async (t) => {
  t.equal(modeOf([make('b', PERMISSIVE, older), make('a', STRICT, newer)]), 'PERMISSIVE')
  t.equal(modeOf([make('b', STRICT, older), make('a', PERMISSIVE, older)]), 'PERMISSIVE')
  t.equal(modeOf([make('b', PERMISSIVE), make('a', STRICT, newer)]), 'STRICT', 'no time is newest')
})

t.test('an object that says no mode leaves it to the next', async (t) => {
  t.equal(modeOf([make('a', onWeb, older), make('b', PERMISSIVE, newer)]), 'PERMISSIVE')
})

t.test('one that selects nothing, or a port that nobody serves, is a problem', async (t) => {
  const { problems } = translatePeerAuthentications(
    [
      make('port', { portLevelMtls: { '8001': { mode: 'STRICT' }, '9999': { mode: 'STRICT' } } }),
      make('labels', { ...STRICT, selector: { matchLabels: { app: 'no' } } }),
    ],
    [web],
    'STRICT',
  )
  t.same(
    problems.map((p) => [p.code, p.object?.name, p.field]),
    [
      ['ERR_TARGET_SELECTS_NOTHING', 'labels', 'spec.selector.matchLabels'],
      ['ERR_TARGET_SELECTS_NOTHING', 'port', 'spec.portLevelMtls.9999'],
    ],
  )
})
