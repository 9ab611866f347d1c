/** Rules of subscription: what a client asks for, and what it must be given for that. */
import { brief } from '../../kit/xds-stream.ts'
import { defineRules } from './rule.ts'

export const subscriptionRules = defineRules('Subscription', [
  {
    title: 'a first request without names means everything',
    anchor: '#xds-protocol-resource-hints',
    sentence:
      'having never sent a request on the stream for that resource type with a non-empty resource_names_subscribe field, the server should treat that identically to how it would treat the client having explicitly subscribed to "*"',
    async run(w) {
      w.publish({ listener: { a: '1', b: '1' } })
      const stream = await w.open()
      stream.send({})
      w.t.same(await stream.taken(), ['a@1', 'b@1'])
    },
  },
  {
    title: 'the name * means everything',
    anchor: '#xds-protocol-resource-hints',
    sentence:
      'a "wildcard" subscription, which is triggered when subscribing to the special name "*"',
    async run(w) {
      w.publish({ cluster: { a: '1', b: '1' } })
      const stream = await w.open()
      stream.send({ type: 'cluster', subscribe: ['*'] })
      w.t.same(await stream.taken(), ['a@1', 'b@1'])
    },
  },
  {
    title: 'a name beside the legacy wildcard adds to it',
    anchor: '#xds-protocol-resource-hints',
    sentence:
      'Client sends a request with resource_names_subscribe set to "A". Server interprets this as continuing the existing subscription to "*" and adding a new subscription to "A"',
    async run(w) {
      w.publish({ listener: { a: '1', b: '1' } })
      const stream = await w.open()
      stream.send({})
      await stream.drained()
      stream.send({ subscribe: ['a'] })
      await stream.drained()
      w.publish({ listener: { a: '2', b: '2' } })
      w.t.same(await stream.drained(), ['a@2', 'b@2'])
    },
  },
  {
    title: 'unsubscribing * keeps the names that were asked for',
    anchor: '#xds-protocol-resource-hints',
    sentence:
      'Client sends a request with resource_names_unsubscribe set to "*". Server interprets this as unsubscribing to "*" and continuing the existing subscription to "A"',
    async run(w) {
      w.publish({ listener: { a: '1', b: '1' } })
      const stream = await w.open()
      stream.send({})
      stream.send({ subscribe: ['a'] })
      await stream.drained()
      stream.send({ unsubscribe: ['*'] })
      await stream.drained()
      w.publish({ listener: { a: '2', b: '2' } })
      w.t.same(await stream.drained(), ['a@2'])
    },
  },
  {
    title: 'once a name was asked for, no names mean nothing',
    anchor: '#xds-protocol-resource-hints',
    sentence:
      'Although the set of subscribed resources is now empty, just as it was after the initial request, it is not interpreted as a wildcard subscription',
    async run(w) {
      w.publish({ listener: { a: '1', b: '1' } })
      const stream = await w.open()
      stream.send({ subscribe: ['a'] })
      await stream.drained()
      stream.send({ unsubscribe: ['a'] })
      stream.send({})
      await stream.drained()
      w.publish({ listener: { a: '2', b: '2' } })
      await w.isSilent(stream, 'nothing is wanted')
    },
  },
  {
    title: 'a named subscription gets these names and no others',
    anchor: '#xds-protocol-resource-hints',
    sentence: 'The management server must supply the requested resources if they exist',
    async run(w) {
      w.publish({ endpoint: { a: '1', b: '1', c: '1' } })
      const stream = await w.open()
      stream.send({ type: 'endpoint', subscribe: ['a', 'c'] })
      w.t.same(await stream.taken(), ['a@1', 'c@1'])
      await w.isSilent(stream, 'b was not asked for')
    },
  },
  {
    title: 'names may come in several requests',
    anchor: '#requesting-multiple-resources-on-a-single-stream',
    sentence:
      'management servers should be capable of handling one or more resource_names for a given resource type in each request',
    async run(w) {
      w.publish({ endpoint: { a: '1', b: '1', c: '1' } })
      const stream = await w.open()
      stream.send({ type: 'endpoint', subscribe: ['a'] })
      stream.send({ type: 'endpoint', subscribe: ['b', 'c'] })
      w.t.same([...(await stream.drained())].sort(), ['a@1', 'b@1', 'c@1'])
    },
  },
  {
    title: 'a name that is asked for again is answered again, unchanged as it is',
    anchor: '#xds-protocol-delta-subscribe',
    sentence:
      'the server must still provide those resources in the response; due to implementation details hidden from the server, the client may have "forgotten" those resources despite apparently remaining subscribed',
    async run(w) {
      w.publish({ endpoint: { a: '1', b: '1' } })
      const stream = await w.open()
      stream.send({ type: 'endpoint', subscribe: ['a', 'b'] })
      await stream.drained()
      stream.send({ type: 'endpoint', subscribe: ['a'] })
      w.t.same(await stream.drained(), ['a@1'])
    },
  },
  {
    title: 'a name that the wildcard has sent already is sent when it is asked for',
    anchor: '#xds-protocol-resource-hints',
    sentence:
      'the server must resend any newly requested resources, even if it previously sent those resources without having been asked for them and the resources have not changed since that time',
    async run(w) {
      w.publish({ listener: { a: '1', b: '1' } })
      const stream = await w.settled('listener')
      stream.send({ subscribe: ['b'] })
      w.t.same(await stream.drained(), ['b@1'])
    },
  },
  {
    title: 'a wildcard takes in what comes to be later',
    anchor: '#xds-protocol-resource-hints',
    sentence:
      'the server should use site-specific business logic to determine the full set of resources that the client is interested in',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.settled('listener')
      w.publish({ listener: { a: '1', b: '1' } })
      w.t.same(await stream.drained(), ['b@1'])
    },
  },
  {
    title: 'a name that does not exist is said to be removed, at once',
    anchor: '#knowing-when-a-requested-resource-does-not-exist',
    sentence:
      'When a resource subscribed to by a client does not exist, the server will send a DeltaDiscoveryResponse message that contains that resource’s name in the removed_resources field',
    async run(w) {
      w.publish({ endpoint: { a: '1' } })
      const stream = await w.open()
      stream.send({ type: 'endpoint', subscribe: ['none'] })
      w.t.same(await stream.taken(), ['-none'])
      w.publish({ endpoint: { a: '2' } })
      await w.isSilent(stream, 'it is said once')
    },
  },
  {
    title: 'a name that did not exist is sent as soon as it does',
    anchor: '#xds-protocol-resource-not-existed',
    sentence:
      'Management servers must remember the set of resources being requested by the client, and if one of those resources springs into existence later, the server must send an update to the client',
    async run(w) {
      w.publish({ endpoint: {} })
      const stream = await w.open()
      stream.send({ type: 'endpoint', subscribe: ['a'] })
      w.t.same(await stream.drained(), ['-a'])
      w.publish({ endpoint: { a: '1', b: '1' } })
      w.t.same(await stream.drained(), ['a@1'])
    },
  },
  {
    title: 'an unsubscribed name is not sent any more, nor said to be removed',
    anchor: '#xds-protocol-unsubscribe',
    sentence:
      'a server does not need to send any response if a request does nothing except unsubscribe from a resource',
    async run(w) {
      w.publish({ endpoint: { a: '1', b: '1' } })
      const stream = await w.open()
      stream.send({ type: 'endpoint', subscribe: ['a', 'b'] })
      await stream.drained()
      stream.send({ type: 'endpoint', unsubscribe: ['a'] })
      await w.isSilent(stream, 'an unsubscription alone')
      w.publish({ endpoint: { b: '2' } })
      w.t.same(await stream.drained(), ['b@2'])
    },
  },
  {
    title: 'the unsubscription of a name that was never subscribed is ignored',
    anchor: '#xds-protocol-unsubscribe',
    sentence:
      'The server must cleanly process such a request; it can simply ignore these phantom unsubscriptions',
    async run(w) {
      w.publish({ endpoint: { a: '1', b: '1' } })
      const stream = await w.open()
      stream.send({ type: 'endpoint', subscribe: ['a'] })
      await stream.drained()
      stream.send({ type: 'endpoint', unsubscribe: ['b', 'never'] })
      await w.isSilent(stream, 'a phantom')
      w.publish({ endpoint: { a: '2', b: '1' } })
      w.t.same(await stream.drained(), ['a@2'])
    },
  },
  {
    title: 'unsubscribing a name under a wildcard that has it is answered with the resource',
    anchor: '#xds-protocol-unsubscribe',
    sentence:
      'the server must send a response that includes the specific resource in either the removed_resources field or in the resources field (if it is included in the wildcard)',
    async run(w) {
      w.publish({ listener: { a: '1', b: '1' } })
      const stream = await w.open()
      stream.send({ subscribe: ['*', 'a'] })
      await stream.drained()
      stream.send({ unsubscribe: ['a'] })
      w.t.same(await stream.drained(), ['a@1'])
    },
  },
  {
    title: 'unsubscribing a name under a wildcard that has it not is answered with its removal',
    anchor: '#xds-protocol-unsubscribe',
    sentence:
      'the server must send a response that includes the specific resource in either the removed_resources field (if it is not included in the wildcard) or in the resources field',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.open()
      stream.send({ subscribe: ['*', 'none'] })
      await stream.drained()
      stream.send({ unsubscribe: ['none'] })
      w.t.same(await stream.drained(), ['-none'])
    },
  },
  {
    title: 'a name that is unsubscribed and subscribed again is sent again',
    anchor: '#xds-protocol-delta-subscribe',
    sentence:
      'A resource_names_subscribe field may contain resource names that the server believes the client is already subscribed to, and furthermore has the most recent versions of. However, the server must still provide those resources',
    async run(w) {
      w.publish({ endpoint: { a: '1' } })
      const stream = await w.open()
      stream.send({ type: 'endpoint', subscribe: ['a'] })
      await stream.drained()
      stream.send({ type: 'endpoint', unsubscribe: ['a'] })
      stream.send({ type: 'endpoint', subscribe: ['a'] })
      w.t.same(await stream.drained(), ['a@1'])
    },
  },
  {
    title: 'a type that nobody serves is answered as empty, and the stream lives',
    anchor: '#resource-types',
    sentence:
      'In various requests from Envoy and responses by the management server, the resource type URL is stated',
    async run(w) {
      w.publish({ listener: { a: '1' } })
      const stream = await w.open()
      const type = 'type.googleapis.com/envoy.service.runtime.v3.Runtime'
      stream.send({ type, subscribe: ['rtds'] })
      const response = await stream.next()
      w.t.equal(response.typeUrl, type)
      w.t.same(brief(response), ['-rtds'])
      stream.send({ subscribe: ['*'] })
      w.t.same(await stream.taken(), ['a@1'])
    },
  },
  {
    title: 'a first wildcard is answered even when there is nothing: Envoy’s start waits for it',
    anchor: '#xds-protocol-resource-warming',
    sentence:
      'If management server does not provide EDS/RDS responses, Envoy will not initialize itself during the initialization phase',
    async run(w) {
      w.publish({})
      const stream = await w.open()
      stream.send({ type: 'cluster', subscribe: ['*'] })
      const response = await stream.next()
      w.t.same(brief(response), [])
      stream.ack(response)
      await w.isSilent(stream, 'but once')
    },
  },
])
