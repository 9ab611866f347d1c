/**
 * xDS snapshots as JSON that people and Envoy can read. In: a snapshot as the controller publishes it.
 * Out: proto3 JSON of each resource, sorted by name; a type that isn't listed here fails loudly.
 */
import {
  createRegistry,
  type DescMessage,
  fromBinary,
  type JsonValue,
  toJson,
} from '@bufbuild/protobuf'
import { StringValueSchema } from '@bufbuild/protobuf/wkt'
import { TYPE_URLS, type TypeUrl, type XdsSnapshot } from '../../common/xds.ts'
import { ClusterSchema } from '../../proto/gen/envoy/config/cluster/v3/cluster_pb.js'
import { TypedExtensionConfigSchema } from '../../proto/gen/envoy/config/core/v3/extension_pb.js'
import { ClusterLoadAssignmentSchema } from '../../proto/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../../proto/gen/envoy/config/listener/v3/listener_pb.js'
import { ActionSchema } from '../../proto/gen/envoy/config/rbac/v3/rbac_pb.js'
import { RouteConfigurationSchema } from '../../proto/gen/envoy/config/route/v3/route_pb.js'
import { OpenTelemetryConfigSchema } from '../../proto/gen/envoy/config/trace/v3/opentelemetry_pb.js'
import {
  HttpGrpcAccessLogConfigSchema,
  TcpGrpcAccessLogConfigSchema,
} from '../../proto/gen/envoy/extensions/access_loggers/grpc/v3/als_pb.js'
import {
  BufferPerRouteSchema,
  BufferSchema,
} from '../../proto/gen/envoy/extensions/filters/http/buffer/v3/buffer_pb.js'
import { ExtAuthzSchema } from '../../proto/gen/envoy/extensions/filters/http/ext_authz/v3/ext_authz_pb.js'
import { HTTPFaultSchema } from '../../proto/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import { FilterChainConfigSchema } from '../../proto/gen/envoy/extensions/filters/http/filter_chain/v3/filter_chain_pb.js'
import { HeaderMutationSchema as HeaderMutationFilterSchema } from '../../proto/gen/envoy/extensions/filters/http/header_mutation/v3/header_mutation_pb.js'
import { RBACSchema as HttpRbacSchema } from '../../proto/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import { RouterSchema } from '../../proto/gen/envoy/extensions/filters/http/router/v3/router_pb.js'
import { OriginalDstSchema } from '../../proto/gen/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.js'
import { ProxyProtocolSchema } from '../../proto/gen/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol_pb.js'
import { TlsInspectorSchema } from '../../proto/gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js'
import { HttpConnectionManagerSchema } from '../../proto/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { RBACSchema as NetworkRbacSchema } from '../../proto/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js'
import { ConfigSchema as SetFilterStateSchema } from '../../proto/gen/envoy/extensions/filters/network/set_filter_state/v3/set_filter_state_pb.js'
import { TcpProxySchema } from '../../proto/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js'
import { HeaderMutationSchema } from '../../proto/gen/envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation_pb.js'
import { CustomHeaderConfigSchema } from '../../proto/gen/envoy/extensions/http/original_ip_detection/custom_header/v3/custom_header_pb.js'
import { file_envoy_extensions_matching_common_inputs_network_v3_network_inputs } from '../../proto/gen/envoy/extensions/matching/common_inputs/network/v3/network_inputs_pb.js'
import { file_envoy_extensions_matching_common_inputs_ssl_v3_ssl_inputs } from '../../proto/gen/envoy/extensions/matching/common_inputs/ssl/v3/ssl_inputs_pb.js'
import { file_envoy_extensions_matching_input_matchers_ip_v3_ip } from '../../proto/gen/envoy/extensions/matching/input_matchers/ip/v3/ip_pb.js'
import { UuidRequestIdConfigSchema } from '../../proto/gen/envoy/extensions/request_id/uuid/v3/uuid_pb.js'
import { PreviousHostsPredicateSchema } from '../../proto/gen/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts_pb.js'
import { ParentBasedSamplerConfigSchema } from '../../proto/gen/envoy/extensions/tracers/opentelemetry/samplers/v3/parent_based_sampler_pb.js'
import { TraceIdRatioBasedSamplerConfigSchema } from '../../proto/gen/envoy/extensions/tracers/opentelemetry/samplers/v3/trace_id_ratio_based_sampler_pb.js'
import { InternalUpstreamTransportSchema } from '../../proto/gen/envoy/extensions/transport_sockets/internal_upstream/v3/internal_upstream_pb.js'
import { ProxyProtocolUpstreamTransportSchema } from '../../proto/gen/envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol_pb.js'
import { RawBufferSchema } from '../../proto/gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.js'
import { SecretSchema } from '../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import {
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from '../../proto/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js'
import { HttpProtocolOptionsSchema } from '../../proto/gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js'
import { file_envoy_type_matcher_v3_http_inputs } from '../../proto/gen/envoy/type/matcher/v3/http_inputs_pb.js'
import { file_xds_type_matcher_v3_ip } from '../../proto/gen/xds/type/matcher/v3/ip_pb.js'

const SCHEMAS: Readonly<Record<TypeUrl, DescMessage>> = {
  [TYPE_URLS.cluster]: ClusterSchema,
  [TYPE_URLS.endpoint]: ClusterLoadAssignmentSchema,
  [TYPE_URLS.listener]: ListenerSchema,
  [TYPE_URLS.route]: RouteConfigurationSchema,
  [TYPE_URLS.secret]: SecretSchema,
  [TYPE_URLS.extensionConfig]: TypedExtensionConfigSchema,
}

/** Every type that a resource holds in an Any. */
const registry = createRegistry(
  ActionSchema,
  BufferPerRouteSchema,
  BufferSchema,
  DownstreamTlsContextSchema,
  ExtAuthzSchema,
  CustomHeaderConfigSchema,
  FilterChainConfigSchema,
  HeaderMutationSchema,
  HTTPFaultSchema,
  HttpConnectionManagerSchema,
  HttpGrpcAccessLogConfigSchema,
  HttpProtocolOptionsSchema,
  HttpRbacSchema,
  InternalUpstreamTransportSchema,
  NetworkRbacSchema,
  OpenTelemetryConfigSchema,
  OriginalDstSchema,
  ParentBasedSamplerConfigSchema,
  ProxyProtocolSchema,
  ProxyProtocolUpstreamTransportSchema,
  RawBufferSchema,
  PreviousHostsPredicateSchema,
  HeaderMutationFilterSchema,
  RouterSchema,
  SetFilterStateSchema,
  StringValueSchema,
  TcpGrpcAccessLogConfigSchema,
  TcpProxySchema,
  TraceIdRatioBasedSamplerConfigSchema,
  UuidRequestIdConfigSchema,
  TlsInspectorSchema,
  UpstreamTlsContextSchema,
  file_envoy_extensions_matching_common_inputs_network_v3_network_inputs,
  file_envoy_extensions_matching_common_inputs_ssl_v3_ssl_inputs,
  file_envoy_extensions_matching_input_matchers_ip_v3_ip,
  file_envoy_type_matcher_v3_http_inputs,
  file_xds_type_matcher_v3_ip,
)

/** The resources of one type as proto3 JSON, in the snapshot's order. */
export function toXdsJson(snapshot: XdsSnapshot, typeUrl: TypeUrl): readonly JsonValue[] {
  const resources = [...(snapshot.resources.get(typeUrl)?.values() ?? [])]
  const schema = SCHEMAS[typeUrl]
  return resources.map(({ value }) => toJson(schema, fromBinary(schema, value), { registry }))
}
