/** All types that an RBAC filter of this room holds in an Any: to write it as JSON, and to read it. */
import { createRegistry } from '@bufbuild/protobuf'
import { ActionSchema } from '../../../proto/gen/envoy/config/rbac/v3/rbac_pb.js'
import { file_envoy_extensions_matching_common_inputs_network_v3_network_inputs } from '../../../proto/gen/envoy/extensions/matching/common_inputs/network/v3/network_inputs_pb.js'
import { file_envoy_extensions_matching_common_inputs_ssl_v3_ssl_inputs } from '../../../proto/gen/envoy/extensions/matching/common_inputs/ssl/v3/ssl_inputs_pb.js'
import { file_envoy_extensions_matching_input_matchers_ip_v3_ip } from '../../../proto/gen/envoy/extensions/matching/input_matchers/ip/v3/ip_pb.js'
import { file_envoy_type_matcher_v3_http_inputs } from '../../../proto/gen/envoy/type/matcher/v3/http_inputs_pb.js'

export const rbacRegistry = createRegistry(
  ActionSchema,
  file_envoy_extensions_matching_common_inputs_network_v3_network_inputs,
  file_envoy_extensions_matching_common_inputs_ssl_v3_ssl_inputs,
  file_envoy_extensions_matching_input_matchers_ip_v3_ip,
  file_envoy_type_matcher_v3_http_inputs,
)
