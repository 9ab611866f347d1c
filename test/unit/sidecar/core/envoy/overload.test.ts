import t from 'tap'
import { buildOverload, envoyHeapBytes } from '../../../../../sidecar/core/envoy/overload.ts'

t.test('a share of a small container, and never more than the default', async (t) => {
  t.equal(envoyHeapBytes(undefined), 1024 ** 3)
  t.equal(envoyHeapBytes(0), 1024 ** 3, 'no limit is known')
  t.equal(envoyHeapBytes(2 ** 63), 1024 ** 3)
  t.equal(envoyHeapBytes(512 * 1024 ** 2), Math.floor(0.6 * 512 * 1024 ** 2))
})

t.test('what costs least is given up first, requests last', async (t) => {
  const { actions = [] } = buildOverload({ maxConnections: 1, maxHeapBytes: 1000 })
  const steps = actions.flatMap(({ name = '', triggers = [] }) =>
    triggers.flatMap(({ triggerOneof: on }) =>
      on?.case === 'threshold' ? [{ name, at: on.value.value ?? 0 }] : [],
    ),
  )
  t.same(
    [...steps].sort((a, b) => a.at - b.at),
    steps,
  )
  t.match(steps.at(-1)?.name, /stop_accepting_requests$/)
})
