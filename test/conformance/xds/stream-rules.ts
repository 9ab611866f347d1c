/** Rules of streams: who may open one, how it is told who asks, what a reconnect costs, and how it ends. */
import * as grpc from '@grpc/grpc-js'
import { ADS } from '../../kit/xds-stream.ts'
import { defineRules } from './rule.ts'

const versionsOf = (resources: readonly { readonly name: string; readonly version: string }[]) =>
  Object.fromEntries(resources.map((r) => [r.name, r.version]))

const SINGLE = {
  cluster: 'envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters',
  endpoint: 'envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints',
  listener: 'envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners',
  route: 'envoy.service.route.v3.RouteDiscoveryService/DeltaRoutes',
  secret: 'envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets',
  extensionConfig:
    'envoy.service.extension.v3.ExtensionConfigDiscoveryService/DeltaExtensionConfigs',
} as const
const TYPES = Object.keys(SINGLE) as (keyof typeof SINGLE)[]

export const streamRules = defineRules('Streams and peers', [
  {
    title: 'the node identifier is needed in the first request only',
    anchor: '#basic-protocol-overview',
    sentence: 'Only the first request on a stream is guaranteed to carry the node identifier',
    async run(w) {
      w.publish({ listener: { a: '1' }, cluster: { c: '1' } })
      const stream = await w.open()
      stream.send({ node: 'shop/web/uid-web', subscribe: ['*'] })
      w.t.same(await stream.taken(), ['a@1'])
      stream.send({ type: 'cluster', subscribe: ['*'] })
      w.t.same(await stream.taken(), ['c@1'])
      stream.send({ type: 'cluster', node: 'shop/web/uid-web', subscribe: ['c'] })
      w.t.same(await stream.taken(), ['c@1'], 'the same once more')
    },
  },
  {
    title: 'a node identifier that changes ends the stream',
    anchor: '#basic-protocol-overview',
    sentence:
      'The node identifier should always be identical if present more than once on the stream',
    only: 'controller',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.settled('listener')
      stream.send({ node: 'shop/orders/uid-orders' })
      w.t.equal((await stream.ended()).code, grpc.status.INVALID_ARGUMENT)
    },
  },
  {
    title: 'a peer that proves nothing is told nothing',
    anchor: 'Postern',
    sentence:
      'The controller asks for a certificate of the mesh, the sidecar for the secret that it made when it started',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.open('nobody')
      stream.send({ subscribe: ['*'] })
      w.t.equal((await stream.ended()).code, grpc.status.UNAUTHENTICATED)
      w.t.same(stream.responses, [])
    },
  },
  {
    title: 'what a peer gets follows its certificate, not what it says of itself',
    anchor: 'Postern',
    sentence: 'node.id, SPIFFE id and workload UID must agree; another sidecar’s secret is none',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.open('other')
      stream.send({ subscribe: ['*'] })
      const { code } = await stream.ended()
      w.t.ok([grpc.status.PERMISSION_DENIED, grpc.status.UNAUTHENTICATED].includes(code))
      w.t.same(stream.responses, [])
    },
  },
  {
    title: 'the state-of-the-world variant is refused, so that nobody waits for it',
    anchor: '#four-variants',
    sentence: 'Incremental ADS: incremental, aggregate stream for all resource types',
    async run(w) {
      const stream = await w.open('own', ADS.replace('Delta', 'Stream'))
      stream.send({ subscribe: ['*'] })
      w.t.equal((await stream.ended()).code, grpc.status.UNIMPLEMENTED)
    },
  },
  {
    title: 'an aggregated request says its type',
    anchor: 'DiscoveryRequest.type_url',
    sentence:
      'This is implicit in requests made via singleton xDS APIs such as CDS, LDS, etc. but is required for ADS',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.open()
      stream.send({ type: '', subscribe: ['*'] })
      w.t.equal((await stream.ended()).code, grpc.status.INVALID_ARGUMENT)
    },
  },
  {
    title: 'each type has a service of its own, too',
    anchor: '#rpc-services-and-methods-for-each-variant',
    sentence: 'Incremental xDS: incremental, separate gRPC stream for each resource type',
    only: 'controller',
    async run(w) {
      w.publish(Object.fromEntries(TYPES.map((type) => [type, { [type]: '1' }])))
      for (const type of TYPES) {
        const stream = await w.open('own', SINGLE[type])
        stream.send({ type: '', subscribe: ['*'] })
        w.t.same(await stream.taken(), [`${type}@1`])
      }
    },
  },
  {
    title: 'a service of one type refuses the others',
    anchor: '#rpc-services-and-methods-for-each-variant',
    sentence: 'there is a separate RPC service for each resource type',
    only: 'controller',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.open('own', SINGLE.cluster)
      stream.send({ type: 'listener', subscribe: ['*'] })
      w.t.equal((await stream.ended()).code, grpc.status.INVALID_ARGUMENT)
      w.t.same(stream.responses, [])
    },
  },
  {
    title: 'types may be spread over streams, each with its own state',
    anchor: '#four-variants',
    sentence: 'Incremental xDS: incremental, separate gRPC stream for each resource type',
    only: 'controller',
    async run(w) {
      w.publish({ cluster: { c: '1' }, listener: { l: '1' } })
      const [clusters, listeners] = [await w.open(), await w.open()]
      clusters.send({ type: 'cluster', subscribe: ['*'] })
      listeners.send({ type: 'listener', subscribe: ['*'] })
      w.t.same(await clusters.taken(), ['c@1'])
      w.t.same(await listeners.taken(), ['l@1'])
      w.publish({ cluster: { c: '1' }, listener: { l: '2' } })
      await w.isSilent(clusters, 'not its type')
      w.t.same(await listeners.taken(), ['l@2'])
    },
  },
  {
    title: 'a newer stream of Envoy takes the place of the one before',
    anchor: '#xds-protocol-ads',
    sentence: 'A single ADS stream is available per Envoy instance',
    only: 'sidecar',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const before = await w.settled('listener')
      const stream = await w.open()
      stream.send({ subscribe: ['*'] })
      w.t.equal((await before.ended()).code, grpc.status.ABORTED)
      w.t.same(await stream.taken(), ['a@1'])
    },
  },
  {
    title: 'a stream that its client half-closes ends well',
    anchor: '#xds-protocol-delta',
    sentence: 'An Incremental xDS session is always in the context of a gRPC bidirectional stream',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.settled('listener')
      stream.call.end()
      w.t.equal((await stream.ended()).code, grpc.status.OK)
    },
  },
  {
    title: 'what is no message ends its stream, and no other',
    anchor: 'Postern',
    sentence: 'A malformed request is its stream’s end; nothing of it is taken',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.settled('listener')
      stream.call.write(Buffer.from([0xff, 0xff, 0xff, 0x07]))
      w.t.equal((await stream.ended()).code, grpc.status.INTERNAL)
      const next = await w.open()
      next.send({ subscribe: ['*'] })
      w.t.same(await next.taken(), ['a@1'])
    },
  },
  {
    title: 'a stream that asks for more names than a mesh has is ended',
    anchor: 'Postern',
    sentence: 'What one client makes a server remember is bounded',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.open()
      const names = Array.from({ length: 21_000 }, (_, i) => `name-${i}`)
      stream.send({ type: 'endpoint', subscribe: names })
      w.t.equal((await stream.ended()).code, grpc.status.RESOURCE_EXHAUSTED)
    },
  },
])

export const reconnectRules = defineRules('Reconnecting', [
  {
    title: 'nothing that the client still has is sent again',
    anchor: '#xds-protocol-delta',
    sentence:
      'On reconnect the Incremental xDS client may tell the server of its known resources to avoid resending them over the network by sending them in initial_resource_versions',
    async run(w) {
      w.publish({ cluster: { a: '1', b: '1' } })
      const before = await w.open()
      before.send({ type: 'cluster', subscribe: ['*'] })
      const initial = versionsOf((await before.next()).resources)
      const stream = await w.open()
      stream.send({ type: 'cluster', subscribe: ['*'], initial })
      await w.isSilent(stream, 'it has all')
      w.publish({ cluster: { a: '1', b: '2' } })
      w.t.same(await stream.drained(), ['b@2'])
    },
  },
  {
    title: 'what changed meanwhile is sent, what vanished is removed',
    anchor: '#deleting-resources',
    sentence:
      'the server signals the client that a resource should be deleted via the removed_resources field of the response',
    async run(w) {
      w.publish({ cluster: { a: '1', b: '1', c: '1' } })
      const before = await w.open()
      before.send({ type: 'cluster', subscribe: ['*'] })
      const initial = versionsOf((await before.next()).resources)
      before.call.cancel()
      w.publish({ cluster: { a: '1', b: '2', d: '1' } })
      const stream = await w.open()
      stream.send({ type: 'cluster', subscribe: ['*'], initial })
      w.t.same([...(await stream.drained())].sort(), ['-c', 'b@2', 'd@1'])
    },
  },
  {
    title: 'named resources are compared alike, and those that vanished are removed',
    anchor: '#xds-protocol-delta',
    sentence:
      'Because no state is assumed to be preserved from the previous stream, the reconnecting client must provide the server with all resource names it is interested in',
    async run(w) {
      w.publish({ endpoint: { a: '1', b: '1', c: '1' } })
      const before = await w.open()
      before.send({ type: 'endpoint', subscribe: ['a', 'b', 'c'] })
      const initial = versionsOf((await before.next()).resources)
      before.call.cancel()
      w.publish({ endpoint: { a: '1', b: '2' } })
      const stream = await w.open()
      stream.send({ type: 'endpoint', subscribe: ['a', 'b', 'c'], initial })
      w.t.same([...(await stream.drained())].sort(), ['-c', 'b@2'])
    },
  },
  {
    title: 'a client that claims nothing is sent everything',
    anchor: '#xds-protocol-delta',
    sentence: 'no state is assumed to be preserved from the previous stream',
    async run(w) {
      w.publish({ cluster: { a: '1', b: '1' } })
      const before = await w.settled('cluster')
      before.call.cancel()
      const stream = await w.open()
      stream.send({ type: 'cluster', subscribe: ['*'] })
      w.t.same(await stream.taken(), ['a@1', 'b@1'])
    },
  },
  {
    title: 'claims count in the first request of a type only',
    anchor: 'DeltaDiscoveryRequest.initial_resource_versions',
    sentence:
      'It will not be populated in any message after the first in a stream (for a given type_url), since the server will already be correctly tracking the client’s state',
    async run(w) {
      w.publish({ endpoint: { a: '1', b: '1' } })
      const before = await w.open()
      before.send({ type: 'endpoint', subscribe: ['a', 'b'] })
      const initial = versionsOf((await before.next()).resources)
      const stream = await w.open()
      stream.send({ type: 'endpoint', subscribe: ['a'] })
      await stream.drained()
      stream.send({ type: 'endpoint', subscribe: ['b'], initial })
      w.t.same(await stream.drained(), ['b@1'])
    },
  },
  {
    title: 'each type of a reconnected stream has its own claims',
    anchor: 'DeltaDiscoveryRequest.initial_resource_versions',
    sentence:
      'In ADS, the first message of each type_url of a reconnected stream populates this map',
    async run(w) {
      w.publish({ cluster: { a: '1' }, listener: { a: '1' } })
      const before = await w.open()
      before.send({ type: 'cluster', subscribe: ['*'] })
      const initial = versionsOf((await before.next()).resources)
      const stream = await w.open()
      stream.send({ type: 'cluster', subscribe: ['*'], initial })
      stream.send({ type: 'listener', subscribe: ['*'] })
      w.t.same(await stream.drained(), ['a@1'], 'the listener')
    },
  },
  {
    title: 'claims of names that are not subscribed are ignored',
    anchor: '#xds-protocol-delta',
    sentence:
      'the reconnecting client must provide the server with all resource names it is interested in',
    async run(w) {
      w.publish({ endpoint: { a: '1' } })
      const stream = await w.open()
      stream.send({ type: 'endpoint', subscribe: ['a'], initial: { other: '1' } })
      w.t.same(await stream.drained(), ['a@1'], 'and not -other')
    },
  },
])
