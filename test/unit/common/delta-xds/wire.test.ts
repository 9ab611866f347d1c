/** Messages survive the way over the wire; a request built by one side is read by the other. */
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import t from 'tap'
import {
  fromRequestMessage,
  fromResponseMessage,
  toRequestMessage,
  toResponseMessage,
} from '../../../../common/delta-xds/wire.ts'
import { TYPE_URLS } from '../../../../common/xds.ts'
import { toXdsResource } from '../../../../common/xds-snapshot.ts'
import {
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
} from '../../../../proto/gen/envoy/service/discovery/v3/discovery_pb.js'

t.test('a response round-trips', async (t) => {
  const resource = toXdsResource('a', new Uint8Array([1, 2, 3]))
  const message = toResponseMessage({
    kind: 'send',
    typeUrl: TYPE_URLS.cluster,
    resources: [resource],
    removed: ['b'],
    nonce: '7',
    systemVersion: 'g',
  })
  const read = fromBinary(
    DeltaDiscoveryResponseSchema,
    toBinary(DeltaDiscoveryResponseSchema, message),
  )
  const event = fromResponseMessage(read)
  t.match(event, { typeUrl: TYPE_URLS.cluster, nonce: '7', removed: ['b'] })
  t.equal(event.resources[0]?.version, resource.version)
  t.same(Buffer.from(event.resources[0]?.value ?? []), Buffer.from(resource.value))
})

t.test('a request round-trips, with and without an error', async (t) => {
  for (const error of [undefined, '', 'bad']) {
    const message = toRequestMessage(
      {
        kind: 'request',
        typeUrl: TYPE_URLS.cluster,
        subscribe: ['*'],
        initialVersions: new Map([['__proto__', '1']]),
        nonce: '3',
        error,
      },
      { id: 'ns/name/uid' },
    )
    const read = fromBinary(
      DeltaDiscoveryRequestSchema,
      toBinary(DeltaDiscoveryRequestSchema, message),
    )
    t.equal(read.node?.id, 'ns/name/uid')
    t.match(fromRequestMessage(read), { subscribe: ['*'], nonce: '3', error })
  }
})
