import t from 'tap'
import { MeshError } from '../../../../common/errors.ts'
import { CompileCache } from '../../../../controller/runtime/compile-cache.ts'
import type { CompileResult, RegoUnit } from '../../../../controller/runtime/ports.ts'

const silent = { debug() {}, info() {}, warn() {}, error() {} }
const unit = (digest: string): RegoUnit => ({
  digest,
  entrypoint: 'e',
  regoVersion: 'V1',
  modules: [],
})
const ready = (digest: string): CompileResult => ({
  ok: true,
  wasm: new TextEncoder().encode(digest),
  wasmDigest: `w-${digest}`,
  readsBody: false,
  rules: [],
})

/** A compiler that answers when the test says so. */
function makeCache(log = silent) {
  const jobs: { digest: string; signal: AbortSignal; job: PromiseWithResolvers<CompileResult> }[] =
    []
  let settled = Promise.withResolvers<void>()
  const cache = new CompileCache({
    retryMs: 1,
    log,
    compiler: {
      compile: ({ digest }, signal) => {
        const job = Promise.withResolvers<CompileResult>()
        jobs.push({ digest, signal, job })
        signal.addEventListener('abort', () => job.reject(signal.reason))
        return job.promise
      },
    },
    onSettled: () => {
      settled.resolve()
      settled = Promise.withResolvers()
    },
  })
  return { cache, jobs, next: () => settled.promise }
}

t.test('each unit is compiled once', async (t) => {
  const { cache, jobs, next } = makeCache()
  t.same(cache.stateOf(unit('a')), { kind: 'pending' })
  cache.want([unit('a'), unit('b')])
  cache.want([unit('a'), unit('b')])
  t.same(
    jobs.map((j) => j.digest),
    ['a', 'b'],
  )
  const settled = next()
  jobs[0]?.job.resolve(ready('a'))
  await settled
  t.match(cache.stateOf(unit('a')), { kind: 'ready', wasmDigest: 'w-a' })
  t.equal(new TextDecoder().decode(cache.wasm().get('w-a')), 'a')
  const failed = next()
  jobs[1]?.job.resolve({ ok: false, problems: [] })
  await failed
  t.same(cache.stateOf(unit('b')), { kind: 'failed', problems: [] })
  cache.want([unit('a'), unit('b')])
  t.equal(jobs.length, 2, 'a policy that fails is not tried again')
  await cache.stop()
})

t.test('what nobody needs any more is ended', async (t) => {
  const { cache, jobs } = makeCache()
  cache.want([unit('a')])
  cache.want([])
  t.equal(jobs[0]?.signal.aborted, true)
  cache.want([unit('a')])
  t.equal(jobs.length, 2)
  await cache.stop()
  t.equal(jobs[1]?.signal.aborted, true)
  cache.want([unit('c')])
  t.equal(jobs.length, 2, 'stopped is stopped')
})

t.test('a failure of the world is logged and tried again', async (t) => {
  const codes: unknown[] = []
  const again = Promise.withResolvers<void>()
  const { cache, jobs } = makeCache({
    ...silent,
    error: (fields?: object) => void codes.push((fields as { code?: string })?.code),
  })
  cache.want([unit('a')])
  jobs[0]?.job.reject(new MeshError('ERR_TOOL_MISSING', 'no opa'))
  const timer = setInterval(() => jobs.length === 2 && again.resolve(), 1)
  await again.promise
  clearInterval(timer)
  t.same(codes, ['ERR_TOOL_MISSING'])
  t.same(cache.stateOf(unit('a')), { kind: 'pending' })
  await cache.stop()
})

t.test('an edit that is taken back finds its result, for a while', async (t) => {
  const { cache, jobs } = makeCache()
  for (let i = 0; i < 70; i++) {
    cache.seed(
      `u${i}`,
      { wasmDigest: i < 2 ? 'shared' : `w${i}`, readsBody: true },
      new Uint8Array([i]),
    )
  }
  cache.want([])
  t.match(cache.stateOf(unit('u69')), { kind: 'ready', readsBody: true, rules: [] })
  t.same(cache.stateOf(unit('u0')), { kind: 'pending' }, 'the oldest are forgotten')
  t.equal(cache.wasm().size, 64)
  cache.want([unit('u69')])
  t.equal(jobs.length, 0)
  await cache.stop()
})
