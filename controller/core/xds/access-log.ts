/**
 * Access logs of inbound chains, streamed to the sidecar (ALS): how decisions of Envoy's own RBAC reach the decision
 * log. Source: envoy/extensions/access_loggers/grpc/v3/als.proto.
 */
import { create } from '@bufbuild/protobuf'
import { ACCESS_LOG_NAMES, ACCESS_LOG_TAGS, OUTBOUND_LOG_NAME } from '../../../common/telemetry.ts'
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
import type { MeshSettings } from '../model/mesh.ts'
import { duration, pack } from './encode.ts'
import { ACCESS_LOG_BUFFER_BYTES, ACCESS_LOG_FLUSH_MS } from './limits.ts'
import { ACCESS_LOG_CLUSTER } from './names.ts'

/** Request header that names the decision; Envoy makes it, whatever the client sent. */
export const DECISION_ID_HEADER = 'x-postern-decision-id'
type Observed = Pick<MeshSettings, 'accessLog' | 'tracing'>

/** Envoy's entry knows nine methods by number, and only so. */
const METHOD = ':method'

/** Inbound logs carry decisions, whatever is written of them; outbound ones are only written. */
export function buildHttpAccessLog(mesh: Observed): AccessLog {
  return toHttpLog(buildCommon(ACCESS_LOG_NAMES[mesh.accessLog], mesh))
}

export function buildTcpAccessLog(mesh: Observed): AccessLog {
  return toTcpLog(buildCommon(ACCESS_LOG_NAMES[mesh.accessLog], mesh))
}

/** The log of an inner listener (server-first.ts): who the peer is, it knows by filter state only. */
export function buildPeerStateAccessLog(mesh: Observed): AccessLog {
  const common = buildCommon(ACCESS_LOG_NAMES[mesh.accessLog], mesh)
  return toTcpLog({ ...common, filterStateObjectsToLog: Object.values(PEER_STATE) })
}

export function buildOutboundHttpLogs(mesh: Observed): AccessLog[] {
  return mesh.accessLog === 'All' ? [toHttpLog(buildCommon(OUTBOUND_LOG_NAME, mesh))] : []
}

export function buildOutboundTcpLogs(mesh: Observed): AccessLog[] {
  return mesh.accessLog === 'All' ? [toTcpLog(buildCommon(OUTBOUND_LOG_NAME, mesh))] : []
}

function toHttpLog(commonConfig: CommonGrpcAccessLogConfig): AccessLog {
  return create(AccessLogSchema, {
    name: 'envoy.access_loggers.http_grpc',
    configType: {
      case: 'typedConfig',
      value: pack(HttpGrpcAccessLogConfigSchema, {
        commonConfig,
        additionalRequestHeadersToLog: [DECISION_ID_HEADER, METHOD, 'x-request-id', 'traceparent'],
      }),
    },
  })
}

function toTcpLog(commonConfig: CommonGrpcAccessLogConfig): AccessLog {
  return create(AccessLogSchema, {
    name: 'envoy.access_loggers.tcp_grpc',
    configType: {
      case: 'typedConfig',
      value: pack(TcpGrpcAccessLogConfigSchema, { commonConfig }),
    },
  })
}

function buildCommon(logName: string, mesh: Observed): CommonGrpcAccessLogConfig {
  const isTold = mesh.accessLog !== 'Off' || mesh.tracing !== undefined
  return create(CommonGrpcAccessLogConfigSchema, {
    logName,
    customTags: isTold ? tags() : [],
    grpcService: {
      targetSpecifier: { case: 'envoyGrpc', value: { clusterName: ACCESS_LOG_CLUSTER } },
    },
    transportApiVersion: ApiVersion.V3,
    bufferFlushInterval: duration(ACCESS_LOG_FLUSH_MS),
    bufferSizeBytes: ACCESS_LOG_BUFFER_BYTES,
  })
}

/** What an entry has no field for, by Envoy’s format operators. */
function tags() {
  return Object.entries(ACCESS_LOG_TAGS).map(([tag, value]) => ({
    tag,
    type: { case: 'value' as const, value },
  }))
}
