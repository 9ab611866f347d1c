/** What 0.1 stored is read with today's defaults; what a later version stored is named and not used. */
import t from 'tap'
import type { AcceptedState } from '../../../../../controller/core/accept/objects.ts'
import { readStoredState } from '../../../../../controller/core/accept/stored.ts'
import type { PosternObject } from '../../../../../controller/core/crd/index.ts'
import { makeMesh, makePolicy } from '../../../../kit/objects.ts'

function stateOf(...objects: PosternObject[]): AcceptedState {
  const accepted = objects.map(
    (object) =>
      [`${object.kind}/${object.metadata.name}`, { object, source: { file: 'f' } }] as const,
  )
  return { accepted: new Map(accepted), seen: new Map() }
}

const with_ = (object: PosternObject, spec: object) => ({ ...object, spec }) as PosternObject

t.test('fields that came since have their defaults', async (t) => {
  const old = with_(makeMesh(), {
    trustDomain: 'shop.example',
    defaultAction: { action: 'ALLOW' },
  })
  const { state, unknown } = readStoredState(stateOf(old))
  t.same(unknown, [])
  t.match(state.accepted.get('Mesh/mesh')?.object.spec, {
    trustDomain: 'shop.example',
    defaultAction: { action: 'ALLOW', mode: 'Enforce' },
    outboundTrafficPolicy: { mode: 'RegistryOnly' },
  })
})

t.test('fields and kinds of a later version are named, and stay', async (t) => {
  const policy = makePolicy('p', {})
  const later = with_(policy, { ...policy.spec, onlyAtFullMoon: true })
  const kind = { ...policy, kind: 'MoonPolicy', metadata: { name: 'q' } } as never
  const { state, unknown } = readStoredState(stateOf(later, kind))
  t.same(unknown, ['AuthorizationPolicy/p spec.onlyAtFullMoon', 'MoonPolicy/q'])
  t.match(state.accepted.get('AuthorizationPolicy/p')?.object.spec, { onlyAtFullMoon: true })
})
