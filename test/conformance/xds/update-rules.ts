/** Rules of updates: what is sent when something changes, what an ACK and a NACK do, and in which order types come. */
import { brief, typeOf, type XdsStream } from '../../kit/xds-stream.ts'
import type { Plain } from '../../kit/xds-targets.ts'
import { defineRules } from './rule.ts'

const ALL = ['secret', 'cluster', 'endpoint', 'extensionConfig', 'listener', 'route'] as const
const each = (text: string): Plain =>
  Object.fromEntries(ALL.map((type) => [type, { [type]: text }])) as Plain

/** NACKs everything until nothing comes any more; returns what came. */
async function refuseAll(stream: XdsStream, limit: number): Promise<readonly string[]> {
  const came: string[] = []
  for (let round = 0; round < limit; round++) {
    const rest = await stream.rest()
    if (rest.length === 0) return came
    for (const response of rest) {
      came.push(...brief(response))
      stream.nack(response, 'all of it is bad')
    }
  }
  return [...came, 'and so on']
}

export const updateRules = defineRules('Updates', [
  {
    title: 'only what changed is sent',
    anchor: '#grouping-resources-into-responses',
    sentence:
      'if the server has previously sent 100 resources and only one of them has changed, it may send a response containing only the changed resource; it does not need to resend the 99 resources that have not changed',
    async run(w) {
      const names = Array.from({ length: 100 }, (_, i) => `n${i}`)
      const all = Object.fromEntries(names.map((name) => [name, '1']))
      w.publish({ cluster: all })
      const stream = await w.settled('cluster')
      w.publish({ cluster: { ...all, n42: '2' } })
      w.t.same(await stream.drained(), ['n42@2'])
    },
  },
  {
    title: 'nothing is sent when nothing changed',
    anchor: '#xds-protocol-resource-update',
    sentence:
      'The management server should only send updates to the Envoy client when the resources in the DiscoveryResponse have changed',
    async run(w) {
      w.publish(each('1'))
      const stream = await w.settled(...ALL)
      w.publish(each('1'))
      await w.isSilent(stream, 'the same again')
    },
  },
  {
    title: 'what is deleted comes in removed_resources',
    anchor: '#deleting-resources',
    sentence:
      'the server signals the client that a resource should be deleted via the removed_resources field of the response',
    async run(w) {
      w.publish({ listener: { a: '1', b: '1' } })
      const stream = await w.settled('listener')
      w.publish({ listener: { a: '1' } })
      w.t.same(await stream.drained(), ['-b'])
    },
  },
  {
    title: 'what was deleted and is made anew is sent, whatever its content',
    anchor: '#xds-protocol-resource-not-existed',
    sentence:
      'Clients that initially see a resource that does not exist must be prepared for the resource to be created at any time',
    async run(w) {
      w.publish({ listener: { a: '1', b: '1' } })
      const stream = await w.settled('listener')
      w.publish({ listener: { a: '1' } })
      await stream.drained()
      w.publish({ listener: { a: '1', b: '1' } })
      w.t.same(await stream.drained(), ['b@1'])
    },
  },
  {
    title: 'a response names no resource twice',
    anchor: '#duplicate-resource-names',
    sentence:
      'It is an error for a server to send a single response that contains the same resource name twice',
    async run(w) {
      w.publish({ listener: { a: '1', b: '1' } })
      const stream = await w.open()
      stream.send({ subscribe: ['*', 'a', 'a', 'b', 'none', 'none'] })
      for (const response of await stream.rest()) {
        const names = [...response.resources.map((r) => r.name), ...response.removedResources]
        w.t.equal(new Set(names).size, names.length, names.join())
      }
    },
  },
  {
    title: 'every response has a nonce of its own',
    anchor: '#xds-protocol-delta',
    sentence:
      'the nonce field is required and used to pair a DeltaDiscoveryResponse to a DeltaDiscoveryRequest ACK or NACK',
    async run(w) {
      w.publish(each('1'))
      const stream = await w.open()
      for (const type of ALL) stream.send({ type, subscribe: ['*'] })
      const nonces = (await stream.rest()).map((r) => r.nonce)
      w.t.equal(nonces.length, ALL.length)
      w.t.notOk(nonces.includes(''))
      w.t.equal(new Set(nonces).size, nonces.length)
    },
  },
  {
    title: 'a version is a property of the content: equal on every stream, other for other content',
    anchor: '#xds-ack-nack',
    sentence:
      'the version for a resource type is not a property of an individual xDS stream but rather a property of the resources themselves',
    async run(w) {
      w.publish({ listener: { a: '1', b: '1', c: '2' } })
      const versions = async () => {
        const stream = await w.open()
        stream.send({ subscribe: ['*'] })
        const { resources } = await stream.next()
        return Object.fromEntries(resources.map((r) => [r.name, r.version]))
      }
      const first = await versions()
      w.t.same(await versions(), first)
      w.t.equal(first.a, first.b)
      w.t.not(first.a, first.c)
    },
  },
  {
    title: 'each resource says its type as the response does',
    anchor: 'DeltaDiscoveryResponse.type_url',
    sentence:
      'Type URL for resources. Identifies the xDS API when muxing over ADS. Must be consistent with the type_url in the Any within resources',
    async run(w) {
      w.publish(each('1'))
      const stream = await w.open()
      for (const type of ALL) stream.send({ type, subscribe: ['*'] })
      for (const { typeUrl, resources } of await stream.rest())
        for (const { resource } of resources) w.t.equal(resource?.typeUrl, typeUrl)
    },
  },
  {
    title: 'changes while a response waits for its ACK come as one, the newest',
    anchor: '#xds-protocol-resource-update',
    sentence:
      'the management server only needs to respond to the latest DiscoveryRequest on each stream for any given resource type',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.open()
      stream.send({ subscribe: ['*'] })
      const first = await stream.next()
      for (const text of ['2', '3', '4']) w.publish({ listener: { a: text } })
      await w.isSilent(stream, 'one response of a type at a time')
      stream.ack(first)
      w.t.same(await stream.drained(), ['a@4'])
    },
  },
])

export const verdictRules = defineRules('ACK and NACK', [
  {
    title: 'an ACK is not answered',
    anchor: '#xds-protocol-resource-update',
    sentence: 'Envoy does not expect a DiscoveryResponse for every DiscoveryRequests it issues',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.open()
      stream.send({ subscribe: ['*'] })
      stream.ack(await stream.next())
      await w.isSilent(stream, 'after an ACK')
    },
  },
  {
    title: 'a refused version is not sent again',
    anchor: '#xds-protocol-resource-update',
    sentence:
      'If the management server provides the same set of resources rather than waiting for a change to occur, it will cause needless work on both the client and the management server, which could have a severe performance impact',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.settled('listener')
      w.publish({ listener: { a: '2' } })
      stream.nack(await stream.next(), 'a: bad')
      w.publish({ listener: { a: '2', b: '1' } })
      w.t.notOk((await stream.drained()).includes('a@2'))
    },
  },
  {
    title: 'a client that refuses everything is not sent it over and over',
    anchor: '#xds-protocol-resource-update',
    sentence:
      'A management server does not need to send an update until it determines a new version is available',
    async run(w) {
      w.publish(each('1'))
      const stream = await w.open()
      for (const type of ALL) stream.send({ type, subscribe: ['*'] })
      const came = await refuseAll(stream, 20)
      const counts = ALL.map((type) => came.filter((text) => text === `${type}@1`).length)
      w.t.same(counts, [1, 1, 1, 1, 1, 1], came.join())
    },
  },
  {
    title: 'of several refused together, each is sent at most once more',
    anchor: '#xds-protocol-resource-update',
    sentence:
      'A management server does not need to send an update until it determines a new version is available',
    async run(w) {
      w.publish({ listener: { a: '1', b: '1', c: '1' } })
      const stream = await w.open()
      stream.send({ subscribe: ['*'] })
      const came = await refuseAll(stream, 20)
      for (const name of ['a', 'b', 'c'])
        w.t.ok(came.filter((text) => text === `${name}@1`).length <= 2, came.join())
      w.t.notOk(came.includes('and so on'))
    },
  },
  {
    title: 'after a NACK a new version is sent, and may be taken',
    anchor: '#nack',
    sentence: 'After a NACK, an API update may succeed at a new version Y',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.settled('listener')
      w.publish({ listener: { a: '2' } })
      stream.nack(await stream.next(), 'a: bad')
      await stream.drained()
      w.publish({ listener: { a: '3' } })
      w.t.same(await stream.drained(), ['a@3'])
    },
  },
  {
    title: 'a NACK holds up nothing else of its type',
    anchor: '#xds-ack-nack',
    sentence:
      'This provides a way for the server to determine when it sends a version that the client considers invalid',
    async run(w) {
      w.publish({ cluster: { a: '1', b: '1' } })
      const stream = await w.settled('cluster')
      w.publish({ cluster: { a: '2', b: '1' } })
      stream.nack(await stream.next(), 'a: bad')
      await stream.drained()
      w.publish({ cluster: { a: '2', b: '2' } })
      w.t.ok((await stream.drained()).includes('b@2'))
    },
  },
  {
    title: 'a refused change that is taken back leaves the client with what was before',
    anchor: '#nack',
    sentence:
      'NACK signifies unsuccessful configuration and is indicated by the presence of the error_detail field',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.settled('listener')
      w.publish({ listener: { a: '2' } })
      stream.nack(await stream.next(), 'a: bad')
      const after = await stream.drained()
      w.publish({ listener: { a: '1' } })
      const all = [...after, ...(await stream.drained())]
      w.t.equal(all.at(-1), 'a@1', 'it may be half applied')
    },
  },
  {
    title: 'the presence of error_detail is a NACK, without a text too',
    anchor: '#nack',
    sentence:
      'The preferred mechanism for a server to detect a NACK is to look for the presence of the error_detail field in the request sent by the client',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.open()
      stream.send({ subscribe: ['*'] })
      stream.nack(await stream.next(), '')
      await stream.drained()
      w.t.equal(w.target.refusals().length, 1)
    },
  },
  {
    title: 'the words of a NACK are kept with the resource, until it is taken',
    anchor: '#nack',
    sentence:
      'The error_detail has more details around the exact error message populated in the message field',
    async run(w) {
      w.publish({ listener: { a: '1', b: '1' } })
      const stream = await w.settled('listener')
      w.publish({ listener: { a: '2', b: '1' } })
      stream.nack(await stream.next(), 'a: no such filter')
      await stream.drained()
      w.t.match(w.target.refusals(), [/^a: .*no such filter/])
      w.publish({ listener: { a: '2', b: '2' } })
      await stream.drained()
      w.t.match(w.target.refusals(), [/^a: .*no such filter/], 'another’s ACK says nothing of it')
      w.publish({ listener: { a: '3', b: '2' } })
      await stream.drained()
      w.t.same(w.target.refusals(), [])
    },
  },
  {
    title: 'a subscription that comes with a stale nonce counts',
    anchor: '#xds-protocol-delta',
    sentence: 'the server must honor changes to the subscription state even if the nonce is stale',
    async run(w) {
      w.publish({ endpoint: { a: '1', b: '1' } })
      const stream = await w.open()
      stream.send({ type: 'endpoint', subscribe: ['a'] })
      const first = await stream.next()
      stream.ack(first)
      w.publish({ endpoint: { a: '2', b: '1' } })
      stream.ack(await stream.next())
      stream.send({ type: 'endpoint', subscribe: ['b'], nonce: first.nonce })
      w.t.same(await stream.drained(), ['b@1'])
    },
  },
  {
    title: 'a stale nonce is no verdict on what was sent since',
    anchor: '#xds-protocol-delta',
    sentence: 'The nonce may be used to correlate an ack/nack with a server response',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.open()
      stream.send({ subscribe: ['*'] })
      const first = await stream.next()
      stream.ack(first)
      w.publish({ listener: { a: '2' } })
      await stream.next()
      stream.ack(first)
      w.publish({ listener: { a: '3' } })
      await w.isSilent(stream, 'the second still waits for its verdict')
    },
  },
  {
    title: 'a nonce of an earlier stream answers nothing',
    anchor: '#basic-protocol-overview',
    sentence:
      'the nonce is valid only in the context of an individual xDS stream; it does not survive stream restarts',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const before = await w.open()
      before.send({ subscribe: ['*'] })
      const old = await before.next()
      before.call.cancel()
      await before.ended()
      const stream = await w.open()
      stream.send({ subscribe: ['*'] })
      const fresh = await stream.next()
      w.t.not(fresh.nonce, old.nonce)
      stream.nack(old, 'a: bad')
      w.publish({ listener: { a: '2' } })
      await w.isSilent(stream, 'the first still waits for its verdict')
      w.t.same(w.target.refusals(), [])
    },
  },
  {
    title: 'a request without a nonce is no ACK',
    anchor: '#xds-protocol-delta',
    sentence:
      'Spontaneous DeltaDiscoveryRequests from the client. This can be done to dynamically add or remove elements from the tracked resource_names set. In this case response_nonce must be omitted',
    async run(w) {
      w.publish({ endpoint: { a: '1', b: '1' } })
      const stream = await w.open()
      stream.send({ type: 'endpoint', subscribe: ['a'] })
      const first = await stream.next()
      stream.send({ type: 'endpoint', subscribe: ['b'] })
      await w.isSilent(stream, 'the first waits')
      stream.ack(first)
      w.t.same(await stream.drained(), ['b@1'])
    },
  },
  {
    title: 'a nonce of one type says nothing of another',
    anchor: '#rpc-services-and-methods-for-each-variant',
    sentence:
      'treating requests and responses for each resource type as a separate sub-stream on the single aggregated stream',
    async run(w) {
      w.publish({ cluster: { a: '1' }, listener: { l: '1' } })
      const stream = await w.open()
      stream.send({ type: 'cluster', subscribe: ['*'] })
      stream.send({ type: 'listener', subscribe: ['*'] })
      const [clusters] = [await stream.next(), await stream.next()]
      stream.send({ type: 'listener', nonce: clusters.nonce, error: 'l: bad' })
      await w.isSilent(stream, 'it answers nothing')
      w.t.same(w.target.refusals(), [])
    },
  },
])

export const orderRules = defineRules('Order', [
  {
    title: 'additions come in make-before-break order, secrets before their users',
    anchor: '#xds-protocol-eventual-consistency-considerations',
    sentence:
      'CDS updates (if any) must always be pushed first. EDS updates (if any) must arrive after CDS updates for the respective clusters. LDS updates must arrive after corresponding CDS/EDS updates. RDS updates related to the newly added listeners must arrive after CDS/EDS/LDS updates',
    async run(w) {
      w.publish(each('1'))
      const stream = await w.settled(...ALL.toReversed())
      w.publish(each('2'))
      const order: string[] = []
      for (let i = 0; i < ALL.length; i++) {
        const response = await stream.next()
        order.push(typeOf(response))
        stream.ack(response)
      }
      w.t.same(order, ALL)
    },
  },
  {
    title: 'what is not used any more goes last, after its users',
    anchor: '#xds-protocol-eventual-consistency-considerations',
    sentence:
      'Stale CDS clusters and related EDS endpoints (ones no longer being referenced) can then be removed',
    async run(w) {
      w.publish(each('1'))
      const stream = await w.settled(...ALL)
      w.publish({})
      const order: string[] = []
      for (let i = 0; i < ALL.length; i++) {
        const response = await stream.next()
        w.t.same((await stream.rest()).length, 0, 'each waits for the ACK of the one before')
        order.push(typeOf(response))
        stream.ack(response)
      }
      w.t.same(order, ['listener', 'route', 'extensionConfig', 'cluster', 'endpoint', 'secret'])
    },
  },
  {
    title:
      'a cluster is replaced by sending the new one, moving its users, then removing the old one',
    anchor: '#xds-protocol-eventual-consistency-considerations',
    sentence:
      'traffic drop could have been avoided by providing a CDS/EDS update with both X and Y, then the RDS update repointing from X to Y and then a CDS/EDS update dropping X',
    async run(w) {
      w.publish({ cluster: { x: '1' }, endpoint: { x: '1' }, route: { r: 'x' } })
      const stream = await w.settled('cluster', 'endpoint', 'route')
      w.publish({ cluster: { y: '1' }, endpoint: { y: '1' }, route: { r: 'y' } })
      w.t.same(await stream.drained(), ['y@1', 'y@1', 'r@y', '-x', '-x'])
    },
  },
  {
    title: 'a cluster that changes has its endpoints sent again, after it',
    anchor: '#xds-protocol-resource-warming',
    sentence:
      'Warming of Cluster is completed only when a new ClusterLoadAssignment response is supplied by management server even though there is no change in endpoints',
    async run(w) {
      w.publish({ cluster: { x: '1', y: '1' }, endpoint: { x: '1', y: '1' } })
      const stream = await w.open()
      stream.send({ type: 'cluster', subscribe: ['*'] })
      stream.send({ type: 'endpoint', subscribe: ['x', 'y'] })
      await stream.drained()
      w.publish({ cluster: { x: '2', y: '1' }, endpoint: { x: '1', y: '1' } })
      w.t.same(await stream.drained(), ['x@2', 'x@1'])
    },
  },
  {
    title: 'a type waits while an earlier one has more to say',
    anchor: '#xds-protocol-eventual-consistency-considerations',
    sentence:
      'the management plane must ensure that clusters referenced by a route are in place, before pushing the updates for a route',
    async run(w) {
      w.publish({ cluster: { a: '1' }, listener: { l: '1' } })
      const stream = await w.settled('cluster', 'listener')
      w.publish({ cluster: { a: '2' }, listener: { l: '1' } })
      const first = await stream.next()
      w.publish({ cluster: { a: '2', b: '1' }, listener: { l: 'b' } })
      await w.isSilent(stream, 'the listener needs cluster b, which waits for the ACK')
      stream.ack(first)
      w.t.same(await stream.drained(), ['b@1', 'l@b'])
    },
  },
  {
    title: 'a refused listener keeps the cluster that it still uses',
    anchor: '#xds-protocol-eventual-consistency-considerations',
    sentence:
      'Stale CDS clusters and related EDS endpoints (ones no longer being referenced) can then be removed',
    async run(w) {
      w.publish({ cluster: { x: '1', y: '1' }, listener: { l: 'x' } })
      const stream = await w.settled('cluster', 'listener')
      w.publish({ cluster: { y: '1' }, listener: { l: 'y' } })
      const response = await stream.next()
      w.t.same(brief(response), ['l@y'])
      stream.nack(response, 'l: bad')
      w.t.notOk((await stream.rest()).flatMap(brief).includes('-x'))
    },
  },
])
