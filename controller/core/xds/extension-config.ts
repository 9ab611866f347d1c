/**
 * What fills the slot of a chain (ECDS): the compiled rules, and behind them, unless they decide all, the call to the
 * sidecar. One resource holds both, so a request meets the rules with the call that they count on, or neither.
 * The call is skipped exactly when the rules say "allowed", and since the condition is inverted, whenever that word is
 * missing the sidecar is asked (LOWERING §2).
 */
import { create } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
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
import { FilterChainConfigSchema } from '../../../proto/gen/envoy/extensions/filters/http/filter_chain/v3/filter_chain_pb.js'
import { RBACSchema as HttpRbacSchema } from '../../../proto/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import { RBACSchema as NetworkRbacSchema } from '../../../proto/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js'
import { StatusCode } from '../../../proto/gen/envoy/type/v3/http_status_pb.js'
import { buildHttpRbac, type ChainOptions } from '../lanes/http-rbac.ts'
import { buildNetworkRbac } from '../lanes/network-rbac.ts'
import { readPeerState } from '../lanes/peer-state.ts'
import { planLanes } from '../lanes/plan.ts'
import type { InboundPort } from '../model/mesh.ts'
import { duration, pack } from './encode.ts'
import type { SlotForm } from './extension-slot.ts'
import * as limits from './limits.ts'
import {
  AUTHZ_CLUSTER,
  authzName,
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
  form: SlotForm = 'one-slot',
): readonly TypedExtensionConfig[] {
  return transportsOf(port).flatMap((transport) => {
    const at = {
      port: port.port,
      transport: transport === 'tls' ? transport : 'plaintext',
    } as const
    if (isTcpChain(port, transport)) {
      const isInner = decidedAtOnce(port).includes(transport)
      const rbac = buildNetworkRbac(set, at)
      const filter = pack(NetworkRbacSchema, isInner ? readPeerState(rbac) : rbac)
      return [toConfig(rbacName(port.port, transport), filter)]
    }
    if (form === 'two-slots') return buildTwoSlots(set, at)
    return [toConfig(authzName(port.port, transport), buildAuthz(set, at))]
  })
}

/** The rules alone when they decide all, so that nobody pays for a call that is never made. */
function buildAuthz(set: PolicySet, at: ChainOptions): Any {
  const filters = [...buildDecidingFilters(set, at)]
  const [rules] = filters
  if (filters.length === 1 && rules?.typedConfig !== undefined) return rules.typedConfig
  return pack(FilterChainConfigSchema, { defaultFilterChain: { filters } })
}

/** In the order in which they decide; one or two. */
export function buildDecidingFilters(
  set: PolicySet,
  at: ChainOptions,
): readonly TypedExtensionConfig[] {
  const rules = toConfig('rbac', pack(HttpRbacSchema, buildHttpRbac(set, at)))
  if (planLanes(set).mode === 'rbac') return [rules]
  return [rules, toConfig('ext_authz', buildExtAuthz(readsBody(set)))]
}

/** For sidecars before `authz/chain`: the call is always there, and the rules say to skip it when they decide all. */
function buildTwoSlots(set: PolicySet, at: ChainOptions): readonly TypedExtensionConfig[] {
  const rbac = buildHttpRbac(set, { ...at, saysDecided: true })
  return [
    toConfig(rbacName(at.port, at.transport), pack(HttpRbacSchema, rbac)),
    toConfig(extAuthzName(at.port, at.transport), buildExtAuthz(readsBody(set))),
  ]
}

/** Whether a policy of the set may read the body, in shadow too: then Envoy buffers it. */
export function readsBody(set: PolicySet): boolean {
  return set.policies.some((policy) => policy.rego?.readsBody === true)
}

function toConfig(name: string, typedConfig: Any): TypedExtensionConfig {
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
