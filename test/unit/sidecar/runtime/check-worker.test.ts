import t from 'tap'
import type {
  Beat,
  CheckThread,
  FromWorker,
  LastRequest,
  ToWorker,
} from '../../../../sidecar/runtime/check-ports.ts'
import { startCheckWorker } from '../../../../sidecar/runtime/check-worker.ts'
import { DecisionTally } from '../../../../sidecar/runtime/decision-tally.ts'
import { LABELS, makeBundle, makePolicy, makeRegoPolicy, makeSet } from '../../../kit/check.ts'
import { waitFor } from '../../../kit/wait.ts'

const REQUEST = { decisionId: 'stuck-1', requestedBy: '127.0.0.1:1', path: '/loop' }
const SILENT = { debug() {}, info() {}, warn() {}, error() {} }

/** A thread as the supervisor sees it: answers as told, hangs and ends on demand. */
class FakeThread implements CheckThread {
  readonly heard: ToWorker[] = []
  answer: (message: ToWorker) => FromWorker | undefined = (m) =>
    m.kind === 'start'
      ? { kind: 'ready' }
      : m.kind === 'activate'
        ? { kind: 'activated', id: m.id }
        : undefined
  busySinceNs: bigint | undefined
  isEnded = false
  #onMessage: (message: FromWorker) => void = () => {}
  readonly #onEnd: ((error: Error | undefined) => void)[] = []

  post(message: ToWorker): void {
    this.heard.push(message)
    const answer = this.answer(message)
    if (message.kind === 'stop') this.end()
    else if (answer !== undefined) queueMicrotask(() => this.#onMessage(answer))
  }

  onMessage(listener: (message: FromWorker) => void): void {
    this.#onMessage = listener
  }

  onEnd(listener: (error: Error | undefined) => void): void {
    this.#onEnd.push(listener)
  }

  end(error?: Error): void {
    if (this.isEnded) return
    this.isEnded = true
    for (const listener of this.#onEnd) listener(error)
  }

  async terminate(): Promise<void> {
    this.end()
  }

  beat(): Beat {
    return { busySinceNs: this.busySinceNs, sequence: 1n }
  }

  last(): LastRequest | undefined {
    return this.busySinceNs === undefined ? undefined : { request: REQUEST, policy: 'shop/endless' }
  }
}

const rego = makeRegoPolicy(Buffer.from('module'), { name: 'endless' })
const withRego = await makeBundle(makeSet([rego.policy]), [rego.wasm])
const rulesOnly = await makeBundle(makeSet([makePolicy({ rules: [] })]))

async function start(t: { teardown(f: () => Promise<void>): void }, first?: FakeThread) {
  const threads: FakeThread[] = []
  const records: unknown[] = []
  const tally = new DecisionTally()
  const worker = await startCheckWorker({
    spawn: () => {
      const thread = threads.length === 0 && first !== undefined ? first : new FakeThread()
      threads.push(thread)
      return thread
    },
    compile: async () => new WebAssembly.Module(Buffer.from('\0asm\x01\0\0\0', 'latin1')),
    decisionLog: { append: (record) => records.push(record) > 0 },
    labels: LABELS,
    tally,
    socket: { mark() {}, isSame: () => true },
    log: SILENT,
  })
  t.teardown(() => worker.stop(0))
  return { worker, threads, records, tally }
}

t.test('a bundle is active when the thread says so', async (t) => {
  const { worker, threads } = await start(t)
  let changes = 0
  const leave = worker.onChange(() => changes++)
  t.equal(worker.activeRevision(), undefined)
  await worker.activate(rulesOnly)
  t.equal(worker.activeRevision(), rulesOnly.revision)
  t.equal(worker.activeSet()?.workload, 'shop/orders')
  t.equal(changes, 1)
  leave()
  await worker.activate(withRego)
  t.equal(changes, 1)
  t.equal(threads.length, 2, 'a standby only for a set with Rego')
})

t.test('a bundle that the thread refuses changes nothing', async (t) => {
  const { worker, threads } = await start(t)
  await worker.activate(rulesOnly)
  const [thread] = threads
  if (thread === undefined) return t.fail()
  thread.answer = (m) =>
    m.kind === 'activate' ? { kind: 'refused', id: m.id, message: 'no' } : undefined
  await t.rejects(worker.activate(withRego), { code: 'ERR_BUNDLE_INVALID', message: 'no' })
  t.equal(worker.activeRevision(), rulesOnly.revision)
})

t.test('a thread that hangs is ended, recorded, and the standby takes its place', async (t) => {
  const { worker, threads, records } = await start(t)
  await worker.activate(withRego)
  const [stuck, standby] = threads
  if (stuck === undefined || standby === undefined) return t.fail()
  stuck.busySinceNs = process.hrtime.bigint() - 400_000_000n
  await waitFor(() => standby.heard.length > 0)
  t.equal(stuck.isEnded, true)
  t.match(standby.heard[0], { kind: 'start', bundle: { revision: withRego.revision } })
  const started = standby.heard[0]
  t.ok(started?.kind === 'start' && started.breakers.has('shop/endless'), 'the policy is set aside')
  t.match(records, [
    {
      decision_id: 'stuck-1',
      error: { code: 'ERR_POLICY_TIMEOUT' },
      postern: { allowed: false, policy: 'shop/endless', httpStatus: 503, path: '/loop' },
    },
  ])
  t.equal(worker.wasRecorded('stuck-1'), true)
  t.equal(worker.wasRecorded('other'), false)
  await waitFor(() => threads.length === 3)
})

t.test('a thread that ends by itself is replaced with the same bundle', async (t) => {
  const { worker, threads } = await start(t)
  await worker.activate(rulesOnly)
  threads[0]?.end(new Error('out of memory'))
  await waitFor(() => threads[1]?.heard.length)
  t.match(threads[1]?.heard[0], { kind: 'start', bundle: { revision: rulesOnly.revision } })
  await worker.activate(withRego)
  t.equal(worker.activeRevision(), withRego.revision)
})

t.test('a thread that ends while it activates refuses the bundle', async (t) => {
  const { worker, threads } = await start(t)
  await worker.activate(rulesOnly)
  const [thread] = threads
  if (thread === undefined) return t.fail()
  thread.answer = () => undefined
  const activation = worker.activate(withRego)
  await waitFor(() => thread.heard.some((m) => m.kind === 'activate' && m.id === 2))
  thread.end()
  await t.rejects(activation, { code: 'ERR_BUNDLE_INVALID' })
  t.equal(worker.activeRevision(), rulesOnly.revision)
})

t.test('a thread that cannot start is tried again, the first time it is an error', async (t) => {
  const broken = new FakeThread()
  broken.answer = () => ({ kind: 'failed', message: 'socket is taken' })
  await t.rejects(start(t, broken), { code: 'ERR_CONFIG', message: 'socket is taken' })
})

t.test('the log is opened again in the thread', async (t) => {
  const { worker, threads } = await start(t)
  worker.reopenLog()
  t.match(threads[0]?.heard.at(-1), { kind: 'reopen-log' })
})
