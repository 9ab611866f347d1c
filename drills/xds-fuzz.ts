/**
 * Drill: random, doubled, reordered, cut and senseless xDS streams from six identities at once, against the running
 * controller and against two sidecars' servers that it feeds, while a policy changes (issue 5, Shows 1). Nothing ends
 * but streams, nobody is told what is another's, and the shop goes on.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { TYPE_URLS } from '../common/xds.ts'
import { startLoad } from '../demo/load.ts'
import { waitFor } from '../demo/process.ts'
import type { Stack } from '../demo/stack.ts'
import { fetchSvid } from '../demo/tester.ts'
import type { DeltaDiscoveryResponse } from '../proto/gen/envoy/service/discovery/v3/discovery_pb.js'
import { controllerServer, freshStream, type Server, sidecarServer } from '../test/kit/xds-fuzz.ts'
import { type FuzzPeer, type FuzzResult, fuzz } from './fuzz-peer.ts'
import { isAlive } from './outage.ts'
import { type Claim, claim, type DrillReport } from './report.ts'

const DIRECT = ['fuzz-a', 'fuzz-b', 'fuzz-c', 'fuzz-d']
const THROUGH_SIDECARS = ['fuzz-e', 'fuzz-f']
const NAMES = [...DIRECT, ...THROUGH_SIDECARS]
/** Ports of the fuzzed workloads: what their resources are known by. Nothing listens there. */
const FIRST_PORT = 29_001
const TYPES = Object.keys(TYPE_URLS)
/** Shared by all: the trust bundle. */
const SHARED = 'ROOTCA'
const EDIT_EVERY = 200

interface Fuzzed {
  readonly name: string
  readonly server: Server
}

function manifest(revision: number): string {
  const entries = NAMES.map(
    (name, i) => `apiVersion: postern.dev/v1alpha1
kind: WorkloadEntry
metadata: { name: ${name}, namespace: fuzz }
spec:
  serviceAccount: ${name}
  inbound: [{ name: http, port: ${FIRST_PORT + i}, appPort: ${FIRST_PORT + 100 + i} }]
---
apiVersion: postern.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: fuzz }
spec:
  targetRefs: [{ group: "", kind: Service, name: ${name} }]
  rules: [{ to: [{ operation: { paths: ["/${name}/${revision}"] } }] }]
`,
  )
  return entries.join('---\n')
}

/** What decides at a port, as proxies of this version and older ones are given it. */
function decidingNames(port: number): readonly string[] {
  return ['authz', 'rbac', 'ext_authz'].map((part) => `${part}/${port}/tls`)
}

/** Everything that names a port or a path of another of the fuzzed workloads, or of the shop, is not its own. */
function judgeFor(name: string): FuzzPeer['judge'] {
  const port = FIRST_PORT + NAMES.indexOf(name)
  const own = new Set([`inbound/${port}`, ...decidingNames(port), SHARED])
  const others = NAMES.filter((other) => other !== name)
  return (response: DeltaDiscoveryResponse) => {
    for (const { name: resource, resource: content } of response.resources) {
      if (!own.has(resource)) return `was sent ${resource}`
      const text = Buffer.from(content?.value ?? []).toString('latin1')
      const leak = others.find((other) => text.includes(`/${other}/`))
      if (leak !== undefined) return `was sent a rule of ${leak} in ${resource}`
    }
    return undefined
  }
}

async function enlist(stack: Stack, teardown: { teardown(f: () => unknown): void }) {
  writeFileSync(join(stack.manifests, 'fuzz.yaml'), manifest(0))
  const isThere = async () => (await stack.postern('get', 'workloadentry', '-A')).includes('fuzz-f')
  await waitFor('the fuzzed workloads', isThere, { timeoutMs: 10_000 })
  const fuzzed: Fuzzed[] = []
  for (const name of NAMES) {
    const svid = await fetchSvid(stack, `fuzz/${name}`)
    const server = DIRECT.includes(name)
      ? controllerServer(teardown, stack.controllerPort, svid)
      : await sidecarServer(teardown, stack.controllerPort, svid)
    fuzzed.push({ name, server })
  }
  return fuzzed
}

function toPeers(fuzzed: readonly Fuzzed[]): FuzzPeer[] {
  const ports = NAMES.map((_, i) => FIRST_PORT + i)
  const names = ports.flatMap((p) => [`inbound/${p}`, ...decidingNames(p)])
  return fuzzed.map(({ name, server }) => ({
    name,
    nodeId: server.nodeId,
    headers: server.headers,
    connect: server.connect,
    others: fuzzed.map((f) => f.server.nodeId).filter((id) => id !== server.nodeId),
    names: [...names, 'inbound/21002', 'outbound/shop/orders/http', SHARED, 'default'],
    judge: judgeFor(name),
  }))
}

/** How many of the servers give a well-behaved client its listener, and nothing of others. */
async function countServing(fuzzed: readonly Fuzzed[]): Promise<number> {
  let serving = 0
  for (const { name, server } of fuzzed) {
    const stream = freshStream(server, TYPES)
    const wanted = `inbound/${FIRST_PORT + NAMES.indexOf(name)}@`
    const has = async () => (await stream.drained()).some((text) => text.startsWith(wanted))
    await waitFor(`${name} is served`, has, { timeoutMs: 10_000 }).then(
      () => (serving += 1),
      () => {},
    )
    stream.call.cancel()
  }
  return serving
}

interface Outcome {
  readonly results: readonly FuzzResult[]
  readonly seconds: number
  readonly serving: number
}

/** Lets all of them write at once while their policies change, then asks each server as it should be asked. */
async function runAll(
  stack: Stack,
  options: { readonly count: number; readonly seed: number },
  undo: (() => unknown)[],
): Promise<Outcome> {
  const fuzzed = await enlist(stack, { teardown: (f) => undo.push(f) })
  let bursts = 0
  const onBurst = () => {
    bursts += 1
    if (bursts % EDIT_EVERY === 0)
      writeFileSync(join(stack.manifests, 'fuzz.yaml'), manifest(bursts / EDIT_EVERY))
  }
  const count = Math.ceil(options.count / fuzzed.length)
  const startedMs = performance.now()
  const results = await Promise.all(
    toPeers(fuzzed).map((peer, i) => fuzz(peer, { seed: options.seed + i, count, onBurst })),
  )
  const seconds = (performance.now() - startedMs) / 1000
  return { results, seconds, serving: await countServing(fuzzed) }
}

/** `count` messages in all; `seed` repeats what was drawn. */
export async function drillXdsFuzz(
  stack: Stack,
  options: { readonly count: number; readonly seed: number },
): Promise<DrillReport> {
  const undo: (() => unknown)[] = []
  const common = { path: '/orders/42', http1: 1, http2: 1, ratePerSecond: 50 }
  const load = startLoad({ ...common, port: stack.ports.webToOrders })
  const pid = stack.controller?.pid ?? -1
  try {
    const outcome = await runAll(stack, options, undo)
    await load.stop()
    const failed = load.answers.filter((a) => a.status !== 200).length
    const claims = toClaims(outcome, isAlive(pid), options.seed)
    const calls = `${failed} of ${load.answers.length} failed`
    const goesOn = claim('the shop’s calls go on meanwhile', failed === 0, calls)
    return { name: 'senseless xDS streams from six identities', claims: [...claims, goesOn] }
  } finally {
    await load.stop()
    for (const f of undo.reverse()) await f()
  }
}

function toClaims({ results, seconds, serving }: Outcome, lives: boolean, seed: number): Claim[] {
  const [finding] = results.flatMap((r) => r.findings)
  const streams = `${total(results, 'streams')} streams on ${total(results, 'connections')} connections`
  const figures = `${streams}, ${seconds.toFixed(0)} s, seed ${seed}`
  const looked = `${total(results, 'responses')} responses, each looked at`
  const served = `${serving} of ${results.length}`
  return [
    claim(`${total(results, 'sent')} messages crash nothing`, lives, figures),
    claim('no identity is told what is another’s', finding === undefined, finding ?? looked),
    claim('well-behaved clients are served afterwards', serving === results.length, served),
  ]
}

function total(
  results: readonly FuzzResult[],
  key: 'sent' | 'streams' | 'connections' | 'responses',
): number {
  return results.reduce((sum, result) => sum + result[key], 0)
}
