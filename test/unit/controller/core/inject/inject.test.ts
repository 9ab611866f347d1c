/** What the golden cases of test/golden/inject don't show: patches, settings, forms that are none. */
import t from 'tap'
import { readCapture } from '../../../../../controller/core/inject/capture.ts'
import { injectPod } from '../../../../../controller/core/inject/inject.ts'
import { type JsonPatch, toJsonPatch } from '../../../../../controller/core/inject/json-patch.ts'
import type { PodTemplate } from '../../../../../controller/core/inject/pod-spec.ts'
import { defaultSettings, readSettings } from '../../../../../controller/core/inject/settings.ts'
import { readTemplate } from '../../../../../controller/core/inject/template.ts'

const settings = defaultSettings('1.2.3')
const POD: PodTemplate = {
  metadata: { annotations: { 'a/b~c': 'x' } },
  spec: { containers: [{ name: 'app', image: 'x' }], nodeName: 'n' },
}

type Tree = Record<string, unknown>

/** RFC 6902, as far as our patches go. */
function apply(given: unknown, patch: JsonPatch): unknown {
  const root = { '': structuredClone(given) } as Tree
  for (const { op, path, value } of patch) {
    const keys = path.split('/').map((k) => k.replaceAll('~1', '/').replaceAll('~0', '~'))
    const last = keys.pop() ?? ''
    const at = keys.reduce((tree, key) => tree[key] as Tree, root)
    if (op === 'remove') delete at[last]
    else at[last] = value
  }
  return root['']
}

t.test('the patch makes of what was given what was meant', (t) => {
  const injection = injectPod(POD, settings)
  if (injection.kind !== 'injected') throw new Error(injection.kind)
  t.same(apply(POD, injection.patch), injection.pod)
  t.same(injectPod(injection.pod, settings), { ...injection, patch: [] }, 'again: nothing')
  const newer = injectPod(injection.pod, { ...settings, sidecarImage: 'newer' })
  t.match(newer, { patch: [{ op: 'replace', path: '/spec/initContainers' }] })
  const [before, after] = [
    { 'a/b': { c: 1, d: [1] }, 'x~': 1 },
    { 'a/b': { c: 2, d: [2] }, y: 0 },
  ]
  t.same(apply(before, toJsonPatch(before, after)), after)
  t.same(
    toJsonPatch(before, after).map(({ path }) => path),
    ['/a~1b/c', '/a~1b/d', '/x~0', '/y'],
  )
  t.same(toJsonPatch({ a: undefined }, {}), [])
  t.end()
})

t.test('settings: every mistake at once', (t) => {
  t.same(readSettings({ drainSeconds: 9 }, settings), {
    settings: { ...settings, drainSeconds: 9 },
  })
  t.match(readSettings({ controller: 'x', revision: 'A', more: 1 }, settings), {
    mistakes: [/controller must be HOST:PORT/, /revision/, /more is no setting/],
  })
  t.match(readSettings([], settings), { mistakes: [/no object/] })
  t.end()
})

t.test('captures: what is written in many ways', (t) => {
  const read = (cidrs: string) =>
    readCapture({ annotations: { 'postern.dev/exclude-outbound-cidrs': cidrs } })
  t.same(read('10.1.2.3/8, ::ffff:0:0/96').capture.excludedOutboundCidrs, [
    '10.0.0.0/8',
    '::ffff:0:0/96',
  ])
  for (const bad of [
    '10.1/8',
    '0x0a.0.0.1/8',
    '10.0.0.0/33',
    '10.0.0.0/8;',
    'fe80::1%eth0/64',
    '10.0.0.0/8 } accept',
  ])
    t.match(read(bad).refusals, [{ message: /is none/ }], bad)
  t.match(read(Array(65).fill('10.0.0.0/8').join()).refusals, [{ message: /more than 64/ }])
  t.end()
})

t.test('what is no pod', (t) => {
  t.same(readTemplate({ metadata: null, spec: { containers: [], volumes: null } }), {
    spec: { containers: [] },
  })
  const wrong = [
    { containers: {} },
    { containers: [{ name: 1 }] },
    { initContainers: ['x'] },
    { containers: [{ name: 'x', env: 'y' }] },
    { containers: [{ name: 'x', livenessProbe: { httpGet: 1 } }] },
    { containers: [{ name: 'x', livenessProbe: { httpGet: { path: 1 } } }] },
    { containers: [{ name: 'x', livenessProbe: 1 }] },
    { securityContext: 1 },
    { containers: [{ name: 'x', securityContext: { capabilities: { add: 'ALL' } } }] },
  ]
  for (const spec of wrong) t.equal(readTemplate({ spec }), undefined, JSON.stringify(spec))
  for (const value of [null, {}, { spec: {}, metadata: 1 }, { spec: {}, metadata: { labels: 1 } }])
    t.equal(readTemplate(value), undefined, JSON.stringify(value))
  t.end()
})
