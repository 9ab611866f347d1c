/**
 * Access logs of inbound chains, streamed to the sidecar (ALS): how decisions of Envoy's own RBAC reach the decision
 * log. Source: envoy/extensions/access_loggers/grpc/v3/als.proto.
 */
import { create } from '@bufbuild/protobuf'
import { PEER_STATE } from '../../../common/xds.ts'
import {
  type AccessLog,
  AccessLogSchema,
} from '../../../proto/gen/envoy/config/accesslog/v3/accesslog_pb.js'
import { ApiVersion } from '../../../proto/gen/envoy/config/core/v3/config_source_pb.js'
import {
  type CommonGrpcAccessLogConfig,
  CommonGrpcAccessLogConfigSchema,
  HttpGrpcAccessLogConfigSchema,
  TcpGrpcAccessLogConfigSchema,
} from '../../../proto/gen/envoy/extensions/access_loggers/grpc/v3/als_pb.js'
import { duration, pack } from './encode.ts'
import { ACCESS_LOG_BUFFER_BYTES, ACCESS_LOG_FLUSH_MS } from './limits.ts'
import { ACCESS_LOG_CLUSTER } from './names.ts'

/** Request header that names the decision; Envoy makes it, whatever the client sent. */
export const DECISION_ID_HEADER = 'x-postern-decision-id'
/** Envoy's entry knows nine methods by number, and only so. */
const METHOD = ':method'
const LOG_NAME = 'postern'

export function buildHttpAccessLog(): AccessLog {
  return create(AccessLogSchema, {
    name: 'envoy.access_loggers.http_grpc',
    configType: {
      case: 'typedConfig',
      value: pack(HttpGrpcAccessLogConfigSchema, {
        commonConfig: buildCommon(),
        additionalRequestHeadersToLog: [DECISION_ID_HEADER, METHOD, 'x-request-id', 'traceparent'],
      }),
    },
  })
}

export function buildTcpAccessLog(): AccessLog {
  return create(AccessLogSchema, {
    name: 'envoy.access_loggers.tcp_grpc',
    configType: {
      case: 'typedConfig',
      value: pack(TcpGrpcAccessLogConfigSchema, { commonConfig: buildCommon() }),
    },
  })
}

/** The log of an inner listener (server-first.ts): who the peer is, it knows by filter state only. */
export function buildPeerStateAccessLog(): AccessLog {
  const commonConfig = {
    ...buildCommon(),
    filterStateObjectsToLog: Object.values(PEER_STATE),
  }
  return create(AccessLogSchema, {
    name: 'envoy.access_loggers.tcp_grpc',
    configType: {
      case: 'typedConfig',
      value: pack(TcpGrpcAccessLogConfigSchema, { commonConfig }),
    },
  })
}

function buildCommon(): CommonGrpcAccessLogConfig {
  return create(CommonGrpcAccessLogConfigSchema, {
    logName: LOG_NAME,
    grpcService: {
      targetSpecifier: { case: 'envoyGrpc', value: { clusterName: ACCESS_LOG_CLUSTER } },
    },
    transportApiVersion: ApiVersion.V3,
    bufferFlushInterval: duration(ACCESS_LOG_FLUSH_MS),
    bufferSizeBytes: ACCESS_LOG_BUFFER_BYTES,
  })
}
