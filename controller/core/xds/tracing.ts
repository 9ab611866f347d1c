/**
 * OpenTelemetry traces by Envoy's own tracer: a server span for each inbound request, a client span for each outbound
 * one, W3C trace context from hop to hop. Spans go to the sidecar (OTLP over its Unix socket), which passes them on.
 * A peer of the mesh decides for its callees whether a trace is recorded; what comes without mutual TLS decides nothing.
 * Source: envoy/config/trace/v3/opentelemetry.proto, W3C Trace Context.
 */
import type { MessageInitShape } from '@bufbuild/protobuf'
import { COLLECTOR_METADATA, SERVICE_METADATA } from '../../../common/telemetry.ts'
import { OpenTelemetryConfigSchema } from '../../../proto/gen/envoy/config/trace/v3/opentelemetry_pb.js'
import type { HttpConnectionManagerSchema } from '../../../proto/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { UuidRequestIdConfigSchema } from '../../../proto/gen/envoy/extensions/request_id/uuid/v3/uuid_pb.js'
import { ParentBasedSamplerConfigSchema } from '../../../proto/gen/envoy/extensions/tracers/opentelemetry/samplers/v3/parent_based_sampler_pb.js'
import { TraceIdRatioBasedSamplerConfigSchema } from '../../../proto/gen/envoy/extensions/tracers/opentelemetry/samplers/v3/trace_id_ratio_based_sampler_pb.js'
import { FractionalPercent_DenominatorType } from '../../../proto/gen/envoy/type/v3/percent_pb.js'
import type { MeshSettings } from '../model/mesh.ts'
import { DECISION_ID_HEADER } from './access-log.ts'
import { pack } from './encode.ts'
import { ACCESS_LOG_CLUSTER } from './names.ts'

/** What a client could steer or forge a trace with, beside `x-envoy-*`, which is always removed. */
export const TRACE_HEADERS: readonly string[] = [
  ...['traceparent', 'tracestate', 'baggage', 'x-client-trace-id', 'b3'],
  ...['x-b3-traceid', 'x-b3-spanid', 'x-b3-parentspanid', 'x-b3-sampled', 'x-b3-flags'],
]

const RBAC = 'envoy.filters.http.rbac'
const EXT_AUTHZ = 'envoy.filters.http.ext_authz'
const MILLIONTHS_OF_PERCENT = 10_000

type HcmInit = MessageInitShape<typeof HttpConnectionManagerSchema>

/** Nothing when the mesh wants no traces. `service` is `service.namespace`: what traces call the workload. */
export function buildTracing(
  { tracing }: Pick<MeshSettings, 'tracing'>,
  service: string,
  tags: readonly Tag[] = [],
) {
  if (tracing === undefined) return {}
  return {
    tracing: {
      provider: {
        name: 'envoy.tracers.opentelemetry',
        configType: {
          case: 'typedConfig',
          value: pack(OpenTelemetryConfigSchema, {
            grpcService: {
              targetSpecifier: { case: 'envoyGrpc', value: { clusterName: ACCESS_LOG_CLUSTER } },
              initialMetadata: [
                { key: COLLECTOR_METADATA, value: tracing.endpoint },
                { key: SERVICE_METADATA, value: service },
              ],
            },
            serviceName: service,
            sampler: buildSampler(tracing.samplingPercent),
          }),
        },
      },
      customTags: [...tags],
    },
    // The sampler decides alone: a request id from outside must not carry a decision.
    requestIdExtension: {
      typedConfig: pack(UuidRequestIdConfigSchema, {
        packTraceReason: false,
        useRequestIdForTraceSampling: false,
      }),
    },
  } satisfies HcmInit
}

function buildSampler(percent: number) {
  const numerator = Math.round(percent * MILLIONTHS_OF_PERCENT)
  return {
    name: 'envoy.tracers.opentelemetry.samplers.parent_based',
    typedConfig: pack(ParentBasedSamplerConfigSchema, {
      wrappedSampler: {
        name: 'envoy.tracers.opentelemetry.samplers.trace_id_ratio_based',
        typedConfig: pack(TraceIdRatioBasedSamplerConfigSchema, {
          samplingPercentage: { numerator, denominator: FractionalPercent_DenominatorType.MILLION },
        }),
      },
    }),
  }
}

type Tag = NonNullable<NonNullable<HcmInit['tracing']>['customTags']>[number]

/** What was decided, on the server span: by Envoy’s RBAC, or by the sidecar, which says it in its answer’s metadata. */
export const DECISION_TAGS: readonly Tag[] = [
  {
    tag: 'postern.decision_id',
    type: { case: 'requestHeader', value: { name: DECISION_ID_HEADER } },
  },
  fromMetadata('postern.rbac.result', RBAC, 'enf_enforced_engine_result'),
  fromMetadata('postern.rbac.rule', RBAC, 'enf_enforced_effective_policy_id'),
  fromMetadata('postern.rbac.allow_result', RBAC, 'low_shadow_engine_result'),
  fromMetadata('postern.rbac.allow_rule', RBAC, 'low_shadow_effective_policy_id'),
  fromMetadata('postern.policy', EXT_AUTHZ, 'postern', 'policy'),
  fromMetadata('postern.result', EXT_AUTHZ, 'postern', 'result'),
]

function fromMetadata(tag: string, filter: string, ...path: readonly string[]): Tag {
  return {
    tag,
    type: {
      case: 'metadata',
      value: {
        kind: { kind: { case: 'request', value: {} } },
        metadataKey: {
          key: filter,
          path: path.map((key) => ({ segment: { case: 'key' as const, value: key } })),
        },
      },
    },
  }
}
