/** Bundles over the one connection: the controller's service and the sidecar's source, by real gRPC. */
import * as grpc from '@grpc/grpc-js'
import t, { type Test } from 'tap'
import { MeshError } from '../../common/errors.ts'
import { createBundleService } from '../../controller/adapters/grpc/bundle-service.ts'
import { BundleDesk, type BundleResult } from '../../controller/runtime/bundle-desk.ts'
import { SessionBundleSource } from '../../sidecar/adapters/grpc/bundle-client.ts'
import type { BundleAnswer } from '../../sidecar/runtime/bundle-ports.ts'

const SILENT = { debug() {}, info() {}, warn() {}, error() {} }
const WEB = { spiffeId: 'spiffe://x/ns/shop/sa/web', workloadUid: 'uid-web' }

const bundle = (revision: string, requires?: string[]) => ({
  workloadUid: 'uid-web',
  workload: 'shop/web',
  revision,
  pack: async () => {
    if (revision === 'broken') throw new Error('no')
    return new TextEncoder().encode(`web ${revision}`)
  },
  ...(requires === undefined ? {} : { requires }),
})

async function start(t: Test, options: { readonly hasService?: boolean; workload?: string } = {}) {
  const state: { peer: typeof WEB | undefined } = { peer: WEB }
  const counted: BundleResult[] = []
  const desk = new BundleDesk({
    workloadOf: (uid) => (uid === 'uid-web' ? { spiffeId: WEB.spiffeId } : undefined),
  })
  const { service, implementation } = createBundleService({
    peerOf: () => state.peer,
    desk,
    meter: { answeredBundle: (result) => counted.push(result) },
    clock: { now: () => Date.now() + 60_000, monotonic: () => performance.now() },
    log: SILENT,
  })
  const server = new grpc.Server()
  if (options.hasService ?? true) server.addService(service, implementation)
  const port = await new Promise<number>((resolve, reject) => {
    const credentials = grpc.ServerCredentials.createInsecure()
    server.bindAsync('127.0.0.1:0', credentials, (e, p) => (e === null ? resolve(p) : reject(e)))
  })
  const asked: string[] = []
  const older = {
    fetch: async (): Promise<BundleAnswer> => {
      asked.push('older')
      return { kind: 'unchanged' }
    },
  }
  const source = new SessionBundleSource({ workload: options.workload ?? 'shop/web', older })
  const attach = () => {
    const channel = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure())
    const abort = new AbortController()
    source.attach({ channel, signal: abort.signal })
    t.teardown(() => channel.close())
    return abort
  }
  t.teardown(() => {
    desk.stop()
    server.forceShutdown()
  })
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  const fetch = (etag?: string, waitSeconds = 0, signal = stop.signal) =>
    source.fetch({ etag, waitSeconds, signal })
  return { desk, state, counted, asked, attach, fetch, source }
}

const textOf = (answer: BundleAnswer) =>
  answer.kind === 'bundle' ? new TextDecoder().decode(answer.archive) : answer.kind

t.test('one’s own bundle, then news of it, and nothing else', async (t) => {
  const { desk, counted, attach, fetch } = await start(t)
  const early = fetch()
  attach()
  await t.rejects(early, { code: 'ERR_CONTROLLER_UNAVAILABLE' }, 'nothing is published yet')
  desk.publish([bundle('r1')])
  const first = await fetch()
  t.match(first, { kind: 'bundle', etag: '"r1"' })
  t.equal(textOf(first), 'web r1')
  t.ok(first.kind === 'bundle' && Number(first.skewMs) > 50_000, 'how far the clocks are apart')
  t.match(await fetch('"r1"', 1), { kind: 'unchanged' })
  const waiting = fetch('"r1"', 100)
  await fetch('"r1"')
  desk.publish([bundle('r2')])
  t.equal(textOf(await waiting), 'web r2')
  desk.publish([bundle('broken')])
  await t.rejects(fetch('"r2"'), { code: 'ERR_CONTROLLER_UNAVAILABLE' })
  t.same(counted, ['unavailable', 'sent', 'unchanged', 'unchanged', 'sent', 'refused'])
})

t.test('a stranger, and who asks for another’s', async (t) => {
  const own = await start(t)
  own.attach()
  own.desk.publish([bundle('r1')])
  own.state.peer = undefined
  await t.rejects(own.fetch(), { code: 'ERR_PEER_FORBIDDEN' })
  own.state.peer = { ...WEB, spiffeId: 'spiffe://x/ns/shop/sa/other' }
  await t.rejects(own.fetch('"r1"', 100), { code: 'ERR_PEER_FORBIDDEN' }, 'nor is it kept waiting')
  const other = await start(t, { workload: 'shop/orders' })
  other.attach()
  other.desk.publish([bundle('r1'), { ...bundle('r9'), workload: 'shop/orders', workloadUid: 'o' }])
  await t.rejects(other.fetch(), { code: 'ERR_PEER_FORBIDDEN' })
})

t.test('a sidecar that lacks a feature is not given the bundle', async (t) => {
  const { desk, attach, fetch } = await start(t)
  attach()
  desk.publish([bundle('r2', ['of/the-future'])])
  await t.rejects(fetch(), { code: 'ERR_BUNDLE_INVALID', message: /of\/the-future/ })
  t.match(await fetch('"r1"'), { kind: 'unchanged', withheld: /of\/the-future.*upgrade/ })
})

t.test('the connection’s end ends a wait, and the next one is used', async (t) => {
  const { desk, attach, fetch, source } = await start(t)
  desk.publish([bundle('r1')])
  const missed = fetch()
  source.missed(new MeshError('ERR_CONTROLLER_UNTRUSTED', 'another one'))
  await t.rejects(missed, { code: 'ERR_CONTROLLER_UNTRUSTED' }, 'who waits hears why')
  const abort = attach()
  const waiting = fetch('"r1"', 100)
  await fetch('"r1"')
  abort.abort()
  t.match(await waiting, { kind: 'interrupted' })
  const next = fetch('"r1"')
  attach()
  t.match(await next, { kind: 'unchanged' })
  const stop = new AbortController()
  const last = fetch('"r1"', 100, stop.signal)
  stop.abort()
  await t.rejects(last, { code: 'ERR_CONTROLLER_UNAVAILABLE' })
})

t.test('an older controller is asked by its own API', async (t) => {
  const { asked, attach, fetch } = await start(t, { hasService: false })
  attach()
  t.match(await fetch(), { kind: 'unchanged' })
  t.match(await fetch(), { kind: 'unchanged' })
  t.same(asked, ['older', 'older'])
})
