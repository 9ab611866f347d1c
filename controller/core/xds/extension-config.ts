/**
 * What fills the slots of a chain (ECDS): the compiled rules, and the call to the sidecar for all the rest.
 * Slot 1 alone carries every change of rules; slot 2 is skipped exactly when slot 1 says "allowed", and since the
 * condition is inverted, whenever that word is missing the sidecar is asked (LOWERING §2).
 */
import { create } from '@bufbuild/protobuf'
import type { PolicySet } from '../../../common/policy-set.ts'
import { ApiVersion } from '../../../proto/gen/envoy/config/core/v3/config_source_pb.js'
import {
  type TypedExtensionConfig,
  TypedExtensionConfigSchema,
} from '../../../proto/gen/envoy/config/core/v3/extension_pb.js'
import {
  type BufferSettings,
  BufferSettingsSchema,
  ExtAuthzSchema,
} from '../../../proto/gen/envoy/extensions/filters/http/ext_authz/v3/ext_authz_pb.js'
import { RBACSchema as HttpRbacSchema } from '../../../proto/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import { RBACSchema as NetworkRbacSchema } from '../../../proto/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js'
import { StatusCode } from '../../../proto/gen/envoy/type/v3/http_status_pb.js'
import { buildHttpRbac } from '../lanes/http-rbac.ts'
import { buildNetworkRbac } from '../lanes/network-rbac.ts'
import { readPeerState } from '../lanes/peer-state.ts'
import type { InboundPort } from '../model/mesh.ts'
import { duration, pack } from './encode.ts'
import * as limits from './limits.ts'
import {
  AUTHZ_CLUSTER,
  decidedAtOnce,
  extAuthzName,
  isTcpChain,
  rbacName,
  transportsOf,
} from './names.ts'

/** Tells the sidecar whether the body was buffered for this call. */
const BODY_METADATA = 'x-postern-body'

/** All extension configurations of one inbound port. */
export function buildExtensionConfigs(
  port: InboundPort,
  set: PolicySet,
): readonly TypedExtensionConfig[] {
  return transportsOf(port).flatMap((transport) => {
    const at = {
      port: port.port,
      transport: transport === 'tls' ? transport : 'plaintext',
    } as const
    const name = rbacName(port.port, transport)
    if (isTcpChain(port, transport)) {
      const isInner = decidedAtOnce(port).includes(transport)
      const rbac = buildNetworkRbac(set, at)
      return [toConfig(name, pack(NetworkRbacSchema, isInner ? readPeerState(rbac) : rbac))]
    }
    return [
      toConfig(name, pack(HttpRbacSchema, buildHttpRbac(set, at))),
      toConfig(extAuthzName(port.port, transport), buildExtAuthz(readsBody(set))),
    ]
  })
}

/** Whether a policy of the set may read the body, in shadow too: then Envoy buffers it. */
export function readsBody(set: PolicySet): boolean {
  return set.policies.some((policy) => policy.rego?.readsBody === true)
}

function toConfig(name: string, typedConfig: ReturnType<typeof pack>): TypedExtensionConfig {
  return create(TypedExtensionConfigSchema, { name, typedConfig })
}

/** Fails closed with 503, so that "could not decide" is not taken for "denied". */
function buildExtAuthz(withBody: boolean) {
  return pack(ExtAuthzSchema, {
    transportApiVersion: ApiVersion.V3,
    services: {
      case: 'grpcService',
      value: {
        targetSpecifier: { case: 'envoyGrpc', value: { clusterName: AUTHZ_CLUSTER } },
        timeout: duration(limits.EXT_AUTHZ_TIMEOUT_MS),
        initialMetadata: [{ key: BODY_METADATA, value: withBody ? '1' : '0' }],
      },
    },
    failureModeAllow: false,
    statusOnError: { code: StatusCode.ServiceUnavailable },
    includePeerCertificate: false,
    filterEnabledMetadata: {
      filter: 'envoy.filters.http.rbac',
      path: [{ segment: { case: 'key', value: 'low_shadow_engine_result' } }],
      value: {
        matchPattern: {
          case: 'stringMatch',
          value: { matchPattern: { case: 'exact', value: 'allowed' } },
        },
      },
      invert: true,
    },
    ...(withBody ? { withRequestBody: buildBodySettings() } : {}),
  })
}

/** A longer body is cut, not refused: the sidecar sees that it was cut, and the policy decides. */
function buildBodySettings(): BufferSettings {
  return create(BufferSettingsSchema, {
    maxRequestBytes: limits.EXT_AUTHZ_MAX_BODY_BYTES,
    allowPartialMessage: true,
  })
}
