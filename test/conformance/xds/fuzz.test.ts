/**
 * Random, doubled, reordered, cut and senseless streams from six identities at once, against the controller's port and
 * two sidecars' sockets, while the configuration changes. Nothing ends but streams, nobody is told another's resources,
 * and afterwards each server serves a well-behaved client. COUNT messages; SEED repeats a run.
 */
import t from 'tap'
import { PUBLISH_ORDER, TYPE_URLS, type XdsSnapshot } from '../../../common/xds.ts'
import { toXdsResource, toXdsSnapshot } from '../../../common/xds-snapshot.ts'
import { type FuzzPeer, type FuzzResult, fuzz } from '../../../drills/fuzz-peer.ts'
import type { DeltaDiscoveryResponse } from '../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js'
import { makeCa } from '../../kit/identity.ts'
import { makeWorkloadSvid, startTestController } from '../../kit/mesh-parts.ts'
import { waitFor } from '../../kit/wait.ts'
import { controllerServer, freshStream, type Server, sidecarServer } from '../../kit/xds-fuzz.ts'

const COUNT = Number(process.env.COUNT ?? 6000)
const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))
const DIRECT = ['web', 'orders', 'payments', 'ledger']
const THROUGH_SIDECARS = ['cart', 'mail']
const WORKLOADS = [...DIRECT, ...THROUGH_SIDECARS]
const TYPES = Object.keys(TYPE_URLS)

const marker = (workload: string) => `<only for ${workload}>`
const nameOf = (workload: string, i: number) => `${workload}-${i}`

/** Some resources of each type, all with the workload's mark; which ones changes with the generation. */
function snapshotFor(workload: string, generation: number): XdsSnapshot {
  const list = [0, 1, 2, 3]
    .filter((i) => (generation + i) % 5 !== 0)
    .map((i) => {
      const text = `${marker(workload)} ${Math.floor((generation + i) / 3)}`
      return toXdsResource(nameOf(workload, i), Buffer.from(text))
    })
  return toXdsSnapshot(new Map(PUBLISH_ORDER.map((type) => [type, list])))
}

function judgeFor(workload: string): FuzzPeer['judge'] {
  return (response: DeltaDiscoveryResponse) => {
    for (const { name, resource } of response.resources) {
      const text = Buffer.from(resource?.value ?? []).toString()
      if (!text.startsWith(marker(workload))) return `was sent ${name}: ${text}`
    }
    return undefined
  }
}

t.test(`COUNT=${COUNT} SEED=${SEED}`, async (t) => {
  const ca = await makeCa()
  const controller = await startTestController(t, ca, { workloads: WORKLOADS })
  const port = controller.server.port()
  let generation = 1
  const publish = () => {
    generation += 1
    const all = WORKLOADS.map((w) => [`shop/${w}/uid-${w}`, snapshotFor(w, generation)] as const)
    controller.ads.publish(new Map(all))
  }
  publish()
  const servers: { workload: string; server: Server }[] = []
  for (const workload of WORKLOADS) {
    const made = { serviceAccount: workload, workloadUid: `uid-${workload}` }
    const svid = await makeWorkloadSvid(ca, made)
    const own = { ...svid, workload: { ...svid.workload, name: workload } }
    const server = DIRECT.includes(workload)
      ? controllerServer(t, port, own)
      : await sidecarServer(t, port, own)
    servers.push({ workload, server })
  }
  const peers = servers.map(({ workload, server }): FuzzPeer => {
    const { nodeId, headers, connect } = server
    const others = servers.map((s) => s.server.nodeId).filter((id) => id !== nodeId)
    const names = WORKLOADS.flatMap((w) => [0, 1, 2, 3].map((i) => nameOf(w, i)))
    return { name: workload, nodeId, headers, connect, others, names, judge: judgeFor(workload) }
  })
  const count = Math.ceil(COUNT / peers.length)
  const results = await Promise.all(
    peers.map((peer, i) => fuzz(peer, { seed: SEED + i, count, onBurst: publish })),
  )
  for (const { findings } of results) t.same(findings, [], `SEED=${SEED}`)
  t.comment(summary(results, generation))
  t.ok(
    results.every(({ responses }) => responses > 0),
    'every identity was told something',
  )

  for (const { workload, server } of servers) {
    const stream = freshStream(server, TYPES)
    const wanted = [
      ...(snapshotFor(workload, generation).resources.get(TYPE_URLS.listener)?.values() ?? []),
    ]
    const has = new Map<string, string>()
    const isComplete = async () => {
      for (const text of await stream.drained()) {
        if (text.startsWith('-')) has.delete(text.slice(1))
        else has.set(text.slice(0, text.indexOf('@')), text.slice(text.indexOf('@') + 1))
      }
      return (
        has.size === wanted.length &&
        wanted.every((r) => has.get(r.name) === `${Buffer.from(r.value)}`)
      )
    }
    await waitFor(isComplete, { what: `${workload} to have what is published` })
    stream.call.cancel()
  }
  await waitFor(() => controller.ads.buffered() === 0)
})

function summary(results: readonly FuzzResult[], generation: number): string {
  const sum = (key: 'sent' | 'streams' | 'connections' | 'responses') =>
    results.reduce((total, result) => total + result[key], 0)
  return `${sum('sent')} messages, ${sum('streams')} streams, ${sum('connections')} connections, ${sum('responses')} responses, ${generation} generations`
}
