import { create, fromJson } from '@bufbuild/protobuf'
import t from 'tap'
import { MetadataSchema } from '../../../../../proto/gen/envoy/config/core/v3/base_pb.js'
import { RouteActionSchema } from '../../../../../proto/gen/envoy/config/route/v3/route_components_pb.js'
import { protomap } from '../../../../../sidecar/core/input/protomap.ts'

t.test('a wrapper is an object with its value, empty when that is zero', async (t) => {
  const action = fromJson(RouteActionSchema, {
    cluster: 'c',
    autoHostRewrite: true,
    maxInternalRedirects: 0,
  })
  t.same(protomap(RouteActionSchema, action), {
    cluster: 'c',
    autoHostRewrite: { value: true },
    maxInternalRedirects: {},
  })
})

t.test('lists, durations, bytes in Any', async (t) => {
  t.same(
    protomap(
      MetadataSchema,
      create(MetadataSchema, {
        typedFilterMetadata: {
          f: {
            $typeName: 'google.protobuf.Any',
            typeUrl: 'type/x',
            value: new Uint8Array([0, 255]),
          },
          g: { $typeName: 'google.protobuf.Any', typeUrl: '', value: new Uint8Array() },
        },
      }),
    ),
    { typedFilterMetadata: { f: { typeUrl: 'type/x', value: 'AP8=' }, g: {} } },
  )
  const timed = fromJson(RouteActionSchema, {
    timeout: '1.5s',
    requestMirrorPolicies: [{ cluster: 'm' }],
  })
  t.same(protomap(RouteActionSchema, timed), {
    timeout: { seconds: 1, nanos: 500_000_000 },
    requestMirrorPolicies: [{ cluster: 'm' }],
  })
})
