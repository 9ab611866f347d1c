/** HTTP/2 of both ends of a mesh connection: flow control by edge practice; Envoy's flood protections stay at their defaults. */
import { create } from '@bufbuild/protobuf'
import {
  type Http2ProtocolOptions,
  Http2ProtocolOptionsSchema,
} from '../../../proto/gen/envoy/config/core/v3/protocol_pb.js'
import { duration } from './encode.ts'
import * as limits from './limits.ts'

export function buildHttp2Options(): Http2ProtocolOptions {
  return create(Http2ProtocolOptionsSchema, {
    maxConcurrentStreams: limits.MAX_CONCURRENT_STREAMS,
    initialStreamWindowSize: limits.STREAM_WINDOW_BYTES,
    initialConnectionWindowSize: limits.CONNECTION_WINDOW_BYTES,
    connectionKeepalive: {
      interval: duration(limits.HTTP2_KEEPALIVE_INTERVAL_MS),
      timeout: duration(limits.HTTP2_KEEPALIVE_TIMEOUT_MS),
    },
  })
}
