import { once } from 'node:events'
import t, { type Test } from 'tap'
import { packBundle } from '../../../../common/bundle.ts'
import { MeshError } from '../../../../common/errors.ts'
import { type BundleLoop, startBundleLoop } from '../../../../sidecar/runtime/bundle-loop.ts'
import type { BundleAnswer } from '../../../../sidecar/runtime/bundle-ports.ts'

const SET = {
  workload: 'shop/web',
  trustDomain: 'a.example',
  defaultAction: 'DENY',
  defaultMode: 'Enforce',
  policies: [],
} as const
const log = { debug() {}, info() {}, warn() {}, error() {} }

/** A loop whose source gives `answers` one by one, then waits; resolves when all were taken. */
async function runLoop(
  t: Pick<Test, 'teardown'>,
  stored: Uint8Array,
  answers: (BundleAnswer | MeshError)[],
) {
  const done = new EventTarget()
  const said: (string | undefined)[] = []
  const waits: number[] = []
  const waiting = once(done, 'done')
  const loop = await startBundleLoop({
    source: {
      async fetch({ signal, waitSeconds }) {
        waits.push(waitSeconds)
        const next = answers.shift()
        if (next instanceof MeshError) throw next
        if (next !== undefined) return next
        done.dispatchEvent(new Event('done'))
        await once(signal, 'abort')
        throw new Error('stopped')
      },
    },
    store: { load: async () => stored, save: async () => {} },
    worker: {
      activate: async () => {},
      activeRevision: () => undefined,
      isAnswering: () => true,
      onChange: () => () => {},
    },
    workload: 'shop/web',
    log,
    random: () => 0,
  })
  loop.onChange(() => said.push(loop.problem()))
  t.teardown(() => loop.stop())
  await waiting
  const { problem, requires, figures } = bound(loop)
  return { problem, requires, figures, said, waits }
}

function bound(loop: BundleLoop) {
  return {
    problem: () => loop.problem(),
    requires: () => loop.requires(),
    figures: () => loop.figures(),
  }
}

t.test('the first answer comes at once, and its time outlives a jump of our clock', async (t) => {
  const { archive } = await packBundle({ set: SET, wasm: new Map() })
  const loop = await runLoop(t, archive, [{ kind: 'unchanged', skewMs: 2000 }])
  t.same(loop.waits, [0, 50])
  const about = (ms: number) => Math.abs((loop.figures().skewMs ?? Number.NaN) - ms) < 500
  t.ok(about(2000))
  const real = Date.now
  t.teardown(() => {
    Date.now = real
  })
  Date.now = () => real() + 3_600_000
  t.ok(about(2000 - 3_600_000), 'without another answer')
})

t.test(
  'an outage is no problem any more once the controller says that nothing changed',
  async (t) => {
    const { archive } = await packBundle({ set: SET, wasm: new Map() })
    const away = new MeshError('ERR_CONTROLLER_UNAVAILABLE', 'controller not reached')
    const during = await runLoop(t, archive, [away])
    t.match(during.problem(), 'ERR_CONTROLLER_UNAVAILABLE')
    const after = await runLoop(t, archive, [away, { kind: 'unchanged' }])
    t.equal(after.problem(), undefined)
  },
)

t.test('a renewal that cuts the wait says nothing about the bundle', async (t) => {
  const { archive } = await packBundle({ set: SET, wasm: new Map() })
  const broken = new MeshError('ERR_BUNDLE_INVALID', 'module does not compile')
  const loop = await runLoop(t, archive, [broken, { kind: 'interrupted' }])
  t.match(loop.problem(), 'ERR_BUNDLE_INVALID')
})

t.test('what an older controller gives does not replace what it does not know', async (t) => {
  const newer = { ...SET, requires: ['when/source.ip'] }
  const stored = (await packBundle({ set: newer, wasm: new Map() })).archive
  const { archive } = await packBundle({ set: SET, wasm: new Map() })
  const answer = { kind: 'bundle', archive, etag: '"old"' } as const
  const kept = await runLoop(t, stored, [{ ...answer, features: [] }])
  t.match(kept.problem(), /the controller does not know when\/source.ip, which is in force here/)
  t.same(kept.requires(), ['when/source.ip'])
  const followed = await runLoop(t, stored, [{ ...answer, features: ['when/source.ip'] }])
  t.equal(followed.problem(), undefined)
  t.same(followed.requires(), [])
})

t.test('says when what is wrong comes, changes and ends, and only then', async (t) => {
  const { archive } = await packBundle({ set: SET, wasm: new Map() })
  const broken = new MeshError('ERR_BUNDLE_INVALID', 'module does not compile')
  const { said } = await runLoop(t, archive, [
    { kind: 'unchanged' },
    broken,
    broken,
    { kind: 'unchanged' },
  ])
  t.match(said.slice(-2), [/module does not compile/, undefined])
  t.equal(said.filter((problem) => problem !== undefined).length, 1)
})
