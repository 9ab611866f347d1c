/** Last good, in every combination: files → reading → proposals → settlement. */
import t from 'tap'
import {
  type AcceptedState,
  NOTHING_ACCEPTED,
} from '../../../../../controller/core/accept/objects.ts'
import { propose } from '../../../../../controller/core/accept/propose.ts'
import { type File, readManifests } from '../../../../../controller/core/accept/reading.ts'
import { type CompileState, settle } from '../../../../../controller/core/accept/settle.ts'
import type { Unit } from '../../../../../controller/core/rego/unit.ts'

type Files = Readonly<Record<string, string | { unreadable: string }>>

const MESH = `
apiVersion: postern.dev/v1alpha1
kind: Mesh
metadata: { name: mesh }
spec: { trustDomain: shop.example }
---
apiVersion: postern.dev/v1alpha1
kind: CertificateAuthority
metadata: { name: postern }
spec: { selfSigned: {} }
`
const entry = (name: string, port: number) => `
---
apiVersion: postern.dev/v1alpha1
kind: WorkloadEntry
metadata: { name: ${name}, namespace: shop }
spec:
  serviceAccount: ${name}
  inbound: [{ name: http, port: ${port}, appPort: ${port + 1000} }]
`
const policy = (name: string, spec: string) => `
---
apiVersion: postern.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop }
spec:
${spec.replace(/^/gm, '  ')}
`
const rules = (path: string) => `rules: [{ to: [{ operation: { paths: ["${path}"] } }] }]`
const rego = (body: string, more = '') =>
  `rego:\n  module: |\n    package envoy.authz\n    ${body}\n${more}`
const library = (name: string, body: string) => `
---
apiVersion: postern.dev/v1alpha1
kind: PolicyLibrary
metadata: { name: ${name}, namespace: shop }
spec:
  modules: [{ name: m.rego, rego: "${body}" }]
  data: { roles: [a] }
`

let uids = 0
const fresh = () => ({ now: '2026-11-24T00:00:00Z', newUid: () => `uid-${++uids}` })

/** A compiler that knows: `bad` doesn't parse, `mismatch` spoils its libraries, `wait` is pending, all else is ready. */
function compiled(unit: Unit): CompileState {
  const isMismatch = unit.modules.some((m) => m.text.includes('mismatch'))
  const bad = unit.modules.find((m) =>
    isMismatch ? m.name.startsWith('library/') : m.text.includes('bad'),
  )
  if (bad !== undefined) {
    const source = { file: bad.name, line: 2, column: 3 }
    const problem = { code: 'ERR_REGO_PARSE' as const, field: 'spec.rego.module', message: 'm' }
    return { kind: 'failed', problems: [{ ...problem, remedy: 'r', source }] }
  }
  if (unit.modules.some((m) => m.text.includes('wait'))) return { kind: 'pending' }
  const rules = ['lib/roles', 'envoy/authz/allow']
  return { kind: 'ready', wasmDigest: `wasm-${unit.digest}`, readsBody: false, rules }
}

function step(state: AcceptedState, files: Files) {
  const list: File[] = Object.entries(files).map(([path, content]) =>
    typeof content === 'string' ? { path, text: content } : { path, ...content },
  )
  const proposals = propose(readManifests(list, state), state, fresh())
  const settlement = settle(proposals.proposals, compiled)
  const problems = [...proposals.problems, ...settlement.problems]
  const next: AcceptedState = { accepted: settlement.accepted, seen: proposals.seen }
  const codes = problems.map((p) => `${p.code} ${p.object?.name ?? ''}`.trim()).sort()
  return { state: next, settlement, problems, codes, model: settlement.model }
}

/** Policies in force on a workload, as text that differs when anything of them differs. */
function inForce(result: ReturnType<typeof step>, workload = 'shop/orders'): string {
  return JSON.stringify(result.model?.workloads.get(workload)?.policySet.policies)
}

const GOOD: Files = {
  'mesh.yaml': MESH,
  'orders.yaml': entry('orders', 8080) + policy('p', rules('/a')),
}
const good = step(NOTHING_ACCEPTED, GOOD)

t.test('good manifests are accepted wholly', async (t) => {
  t.same(good.codes, [])
  t.equal(good.model?.workloads.size, 1)
  t.equal(good.state.accepted.size, 4)
  const again = step(good.state, GOOD)
  t.same(again.state, good.state, 'the same manifests change nothing')
})

t.test('broken documents and files keep what came from them', async (t) => {
  const cases: Record<string, [Files[string], RegExp]> = {
    'not YAML': [`${entry('orders', 8080)}---\na: [`, /ERR_MANIFEST_NOT_YAML/],
    'all not YAML': ['}{', /ERR_MANIFEST_NOT_YAML/],
    'not readable': [{ unreadable: 'permission denied' }, /ERR_MANIFEST_NOT_READABLE/],
    emptied: ['  \n', /ERR_MANIFEST_NOT_READABLE/],
    'unknown kind': [
      (GOOD['orders.yaml'] as string).replace('AuthorizationPolicy', 'AuthorizationPolicies'),
      /ERR_OBJECT_UNKNOWN_KIND/,
    ],
    'no name': [
      (GOOD['orders.yaml'] as string).replace('name: p,', ''),
      /ERR_OBJECT_NAME|ERR_FIELD_REQUIRED/,
    ],
    'unknown field': [entry('orders', 8080) + policy('p', 'rulez: []'), /ERR_FIELD_UNKNOWN p/],
    'wrong type': [entry('orders', 8080) + policy('p', 'rules: 7'), /ERR_FIELD_TYPE p/],
    'rule violated': [
      entry('orders', 8080) + policy('p', 'action: DENY\nrequired: true'),
      /ERR_RULE_VIOLATED p/,
    ],
    'renamed and broken': [entry('orders', 8080) + policy('q', 'rules: 7'), /ERR_FIELD_TYPE q/],
    'reference to nothing': [
      entry('orders', 8080) + policy('p', 'targetRefs: [{ kind: Service, name: nope }]'),
      /ERR_TARGET_SELECTS_NOTHING p/,
    ],
    'bad rego': [entry('orders', 8080) + policy('p', rego('bad')), /ERR_REGO_PARSE p/],
    'missing library': [
      entry('orders', 8080) + policy('p', rego('x := 1', '  libraries: [{ name: nope }]')),
      /ERR_REFERENCE_NOT_FOUND p/,
    ],
  }
  for (const [name, [content, expected]] of Object.entries(cases)) {
    const result = step(good.state, { ...GOOD, 'orders.yaml': content })
    t.match(result.codes.join(), expected, name)
    t.equal(inForce(result), inForce(good), `${name}: what was in force stays`)
    t.same(result.state.accepted, good.state.accepted, `${name}: stored objects stay`)
    const restarted = step(result.state, { ...GOOD, 'orders.yaml': content })
    t.equal(inForce(restarted), inForce(good), `${name}: and after a restart`)
    const mended = step(result.state, GOOD)
    t.same(mended.codes, [], `${name}: mended`)
  }
})

t.test('a lost folder keeps everything', async (t) => {
  for (const files of [{}, { '': { unreadable: 'it does not exist' } }]) {
    const result = step(good.state, files)
    t.same(result.state.accepted, good.state.accepted)
    t.match(result.problems, [{ code: 'ERR_MANIFEST_NOT_READABLE' }])
  }
  const below = step(NOTHING_ACCEPTED, { ...GOOD, 'sub/x.yaml': entry('x', 8090) })
  const lost = step(below.state, { ...GOOD, 'sub/': { unreadable: 'permission denied' } })
  t.same(lost.state.accepted, below.state.accepted)
})

t.test('deletion takes effect, but never of Mesh and authority', async (t) => {
  const without = step(good.state, { ...GOOD, 'orders.yaml': entry('orders', 8080) })
  t.same(without.codes, [])
  t.equal(inForce(without), '[]')
  const gone = step(good.state, { 'orders.yaml': GOOD['orders.yaml'] as string })
  t.same(gone.codes, ['ERR_CA_DELETED postern', 'ERR_MESH_MISSING mesh'])
  t.equal(inForce(gone), inForce(good))
  const unnamed = `${MESH}---\n${MESH.split('---')[1]?.replace('name: postern', 'name: spare')}`
  const two = step(NOTHING_ACCEPTED, { ...GOOD, 'mesh.yaml': unnamed })
  t.equal(two.state.accepted.size, 5)
  t.equal(step(two.state, GOOD).state.accepted.size, 4, 'an authority that nobody names may go')
})

t.test('trust domain and authority of a running mesh stay', async (t) => {
  const domain = step(good.state, { ...GOOD, 'mesh.yaml': MESH.replace('shop.', 'other.') })
  t.same(domain.codes, ['ERR_RULE_VIOLATED mesh'])
  t.equal(domain.model?.mesh.trustDomain, 'shop.example')
  const other = MESH.replace('example }', 'example, certificateAuthorityRef: { name: b } }')
  const authority = step(good.state, {
    ...GOOD,
    'mesh.yaml': `${other}---\n${MESH.split('---')[1]?.replace('name: postern', 'name: b')}`,
  })
  t.match(authority.codes, ['ERR_NOT_ENFORCEABLE mesh'])
  t.equal(authority.model?.certificateAuthority.name, 'postern')
})

t.test('two objects of one name: neither wins', async (t) => {
  const twice = { ...GOOD, 'z.yaml': policy('p', rules('/b')) }
  const known = step(good.state, twice)
  t.same(known.codes, ['ERR_OBJECT_DUPLICATE p', 'ERR_OBJECT_DUPLICATE p'])
  t.equal(inForce(known), inForce(good))
  const fromNothing = step(NOTHING_ACCEPTED, twice)
  t.equal(inForce(fromNothing), '[]')
})

t.test('a new bad object changes nothing', async (t) => {
  for (const spec of ['rules: 7', 'targetRefs: [{ kind: Service, name: nope }]', rego('bad')]) {
    const result = step(good.state, { ...GOOD, 'new.yaml': policy('new', spec) })
    t.equal(result.problems.length, 1)
    t.same(result.model, good.model)
    t.equal(result.settlement.accepted.size, 4)
  }
})

t.test('one bad object does not hold up the others', async (t) => {
  const result = step(good.state, {
    ...GOOD,
    'orders.yaml': entry('orders', 8080) + policy('p', rules('/b')),
    'bad.yaml': policy('bad', 'rules: 7'),
  })
  t.match(inForce(result), /"\/b"/)
})

t.test('a port that two claim stays with the older', async (t) => {
  const result = step(good.state, { ...GOOD, 'x.yaml': entry('x', 8080) })
  t.match(result.codes, [/ERR_PORT_CONFLICT x/])
  t.same(result.model, good.model)
})

t.test('an object that lost what it refers to stays, and says so', async (t) => {
  const target = 'targetRefs: [{ kind: Service, name: orders }]\n'
  const files = {
    ...GOOD,
    'p.yaml': policy('aimed', target + rules('/a')),
    'x.yaml': entry('x', 9000),
  }
  const before = step(NOTHING_ACCEPTED, files)
  t.same(before.codes, [])
  const after = step(before.state, { ...files, 'orders.yaml': policy('p', rules('/a')) })
  t.same(after.codes, ['ERR_TARGET_SELECTS_NOTHING aimed'])
  t.ok(after.state.accepted.has('AuthorizationPolicy/shop/aimed'))
})

t.test('what others refer to is swapped first', async (t) => {
  const x = entry('x', 9000)
  const files = { ...GOOD, 'x.yaml': x }
  const before = step(NOTHING_ACCEPTED, files)
  const target = policy('t', `targetRefs: [{ kind: Service, name: x }]\n${rules('/t')}`)
  // The edit of x is refused, and its service with it; the policy aims at the version that stays.
  const after = step(before.state, { ...files, 'x.yaml': entry('x', 8080) + target })
  t.same(after.codes, ['ERR_PORT_CONFLICT x'])
  t.match(inForce(after, 'shop/x'), /"\/t"/)
})

t.test('rego', async (t) => {
  const files = { ...GOOD, 'r.yaml': policy('r', rego('allow := true')) }
  const ready = step(good.state, files)
  t.same(ready.codes, [])
  t.match(inForce(ready), /"wasmDigest":"wasm-/)

  t.test('the previous version stays while the new one compiles', async (t) => {
    const edited = step(ready.state, { ...files, 'r.yaml': policy('r', rego('wait := true')) })
    t.same(edited.codes, [])
    t.equal(inForce(edited), inForce(ready))
    t.same([...edited.settlement.pending], ['AuthorizationPolicy/shop/r'])
    t.equal(edited.settlement.units.length, 1)
  })

  t.test('a new one is not in force before it is compiled', async (t) => {
    const first = step(good.state, { ...GOOD, 'r.yaml': policy('r', rego('wait := true')) })
    t.equal(inForce(first), inForce(good))
    t.notOk(first.state.accepted.has('AuthorizationPolicy/shop/r'))
  })

  t.test('an error has its place in the file', async (t) => {
    const broken = step(ready.state, { ...files, 'r.yaml': policy('r', rego('bad := true')) })
    t.match(broken.problems, [
      {
        code: 'ERR_REGO_PARSE',
        object: { kind: 'AuthorizationPolicy', name: 'r' },
        field: 'spec.rego.module',
        source: { file: 'r.yaml', document: 1, line: 10, column: 9 },
        message: /line 2, column 3/,
      },
    ])
    t.equal(inForce(broken), inForce(ready))
  })

  t.test('a library: used, broken, deleted', async (t) => {
    const using = policy('r', rego('allow := true', '  libraries: [{ name: lib }]'))
    const withLibrary = (text: string) => ({ ...GOOD, 'r.yaml': using, 'lib.yaml': text })
    const used = step(good.state, withLibrary(library('lib', 'package lib')))
    t.same(used.codes, [])
    t.match(inForce(used), /"data":\{"roles":\["a"\]\}/)

    const broken = step(used.state, withLibrary(library('lib', 'bad')))
    t.match(broken.problems, [
      { code: 'ERR_REGO_PARSE', object: { kind: 'PolicyLibrary' }, field: 'spec.modules[0].rego' },
    ])
    t.equal(inForce(broken), inForce(used))

    const mismatch = step(used.state, {
      ...withLibrary(library('lib', 'package lib')),
      'v0.yaml': policy('v0', rego('mismatch', '  libraries: [{ name: lib }]')),
    })
    t.equal(inForce(mismatch), inForce(used), 'a policy that can’t take the library is left out')
    t.same(mismatch.codes, ['ERR_REGO_PARSE lib', 'ERR_REGO_PARSE v0'])
    t.notOk(mismatch.state.accepted.has('AuthorizationPolicy/shop/v0'))

    const edited = step(used.state, withLibrary(library('lib', 'package lib2')))
    t.same(edited.codes, [])
    t.not(inForce(edited), inForce(used))

    const { 'lib.yaml': _, ...gone } = withLibrary('')
    const deleted = step(used.state, gone)
    t.same(deleted.codes, ['ERR_REFERENCE_NOT_FOUND r'])
    t.equal(inForce(deleted), inForce(used))
  })
})

t.test('nothing of a workload loosens while its DENY is being compiled', async (t) => {
  const deny = (text: string, more = '') => policy('d', rego(text, more).concat('action: DENY'))
  const held = (result: ReturnType<typeof step>) =>
    [...result.settlement.held].map(([key, by]) => `${key.split('/').at(-1)} by ${by}`)
  const waiting: Files = { ...GOOD, 'd.yaml': deny('wait := true') }
  const allow = policy('a', rules('/more'))

  t.test('a new ALLOW, and a changed one', async (t) => {
    const both = step(good.state, { ...waiting, 'a.yaml': allow })
    t.equal(inForce(both), inForce(good))
    t.same(held(both), ['a by AuthorizationPolicy/shop/d'])
    t.same(both.codes, [])
    const wider = entry('orders', 8080) + policy('p', rules('/*'))
    const changed = step(good.state, { ...waiting, 'orders.yaml': wider })
    t.equal(inForce(changed), inForce(good))
    t.same(held(changed), ['p by AuthorizationPolicy/shop/d'])
  })

  t.test('until it is compiled, or given up', async (t) => {
    const both = step(good.state, { ...waiting, 'a.yaml': allow })
    const done = step(both.state, { ...GOOD, 'd.yaml': deny('deny := true'), 'a.yaml': allow })
    t.match(inForce(done), /"name":"d".*"name":"a"/)
    t.same(held(done), [])
    const givenUp = step(both.state, { ...GOOD, 'a.yaml': allow })
    t.match(inForce(givenUp), /"name":"a"/)
  })

  t.test('a changed DENY: its last good stays, and so do they', async (t) => {
    const before = step(good.state, { ...GOOD, 'd.yaml': deny('deny := true') })
    const after = step(before.state, { ...waiting, 'a.yaml': allow })
    t.equal(inForce(after), inForce(before))
    t.same(held(after), ['a by AuthorizationPolicy/shop/d'])
  })

  t.test('a required ALLOW restricts as a DENY does', async (t) => {
    const required = policy('d', `required: true\n${rego('wait := true')}`)
    const both = step(good.state, { ...GOOD, 'd.yaml': required, 'a.yaml': allow })
    t.same(held(both), ['a by AuthorizationPolicy/shop/d'])
  })

  t.test('a DENY that goes waits for the one that comes', async (t) => {
    const old = policy('old', `action: DENY\n${rules('/secret')}`)
    const before = step(good.state, { ...GOOD, 'old.yaml': old })
    const renamed = step(before.state, waiting)
    t.equal(inForce(renamed), inForce(before))
    t.same(held(renamed), ['old by AuthorizationPolicy/shop/d'])
    const again = step(renamed.state, waiting)
    t.equal(inForce(again), inForce(before))
    const done = step(again.state, { ...GOOD, 'd.yaml': deny('deny := true') })
    t.notMatch(inForce(done), /"name":"old"/)
    t.match(inForce(done), /"name":"d"/)
  })

  t.test('a change of the default action', async (t) => {
    const open = MESH.replace('shop.example', 'shop.example, defaultAction: { action: ALLOW }')
    const both = step(good.state, { ...waiting, 'mesh.yaml': open })
    t.equal(both.model?.mesh.defaultAction, 'DENY')
    t.same(held(both), ['mesh by AuthorizationPolicy/shop/d'])
  })

  t.test('but not what takes away, nor other workloads, nor for what only watches', async (t) => {
    const tighter = policy('t', `action: DENY\n${rules('/x')}`)
    const denied = step(good.state, { ...waiting, 't.yaml': tighter })
    t.match(inForce(denied), /"name":"t"/)
    const { 'orders.yaml': _, ...rest } = waiting
    const revoked = step(good.state, { ...rest, 'orders.yaml': entry('orders', 8080) })
    t.equal(inForce(revoked), '[]')
    const elsewhere = entry('x', 9080).replace('namespace: shop', 'namespace: other')
    const other = allow.replace('namespace: shop', 'namespace: other')
    const both = step(good.state, { ...waiting, 'x.yaml': elsewhere + other })
    t.match(inForce(both, 'other/x'), /"name":"a"/)
    for (const more of ['mode: Shadow\naction: DENY', 'action: AUDIT', 'action: ALLOW']) {
      const watching = policy('d', rego('wait := true').concat(more))
      const granted = step(good.state, { ...GOOD, 'd.yaml': watching, 'a.yaml': allow })
      t.match(inForce(granted), /"name":"a"/, more)
    }
  })
})

t.test('uid, generation and age', async (t) => {
  const seen = (result: ReturnType<typeof step>) =>
    result.state.seen.get('WorkloadEntry/shop/orders')
  const first = seen(good)
  t.match(first, { generation: 1, uid: /^uid-/, creationTimestamp: '2026-11-24T00:00:00Z' })
  const edited = step(good.state, { ...GOOD, 'orders.yaml': entry('orders', 8081) })
  t.match(seen(edited), { generation: 2, uid: first?.uid })
  const labels = (GOOD['orders.yaml'] as string).replace(
    'name: orders,',
    'name: orders, labels: { a: b },',
  )
  const labelled = step(good.state, { ...GOOD, 'orders.yaml': labels })
  t.match(seen(labelled), { generation: 1, uid: first?.uid })
  t.same(labelled.model?.workloads.get('shop/orders')?.labels, { a: 'b' })
  const deleted = step(good.state, { ...GOOD, 'orders.yaml': policy('p', rules('/a')) })
  t.equal(seen(deleted), undefined)
  const back = step(deleted.state, GOOD)
  t.not(seen(back)?.uid, first?.uid, 'a uid is never used again')
  t.equal(back.model?.workloads.get('shop/orders')?.uid, seen(back)?.uid)
  const refused = step(good.state, {
    ...GOOD,
    'orders.yaml':
      entry('orders', 8080) + policy('p', 'targetRefs: [{ kind: Service, name: nope }]'),
  })
  t.match(refused.state.seen.get('AuthorizationPolicy/shop/p'), { generation: 2 })
  t.equal(
    refused.state.accepted.get('AuthorizationPolicy/shop/p')?.object.metadata.generation,
    1,
    'the accepted version keeps its number',
  )
})

t.test('without Mesh there is no model', async (t) => {
  const result = step(NOTHING_ACCEPTED, { 'orders.yaml': GOOD['orders.yaml'] as string })
  t.match(result.codes, ['ERR_MESH_MISSING'])
  t.equal(result.model, undefined)
})
