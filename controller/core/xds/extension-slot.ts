/**
 * The places in a filter chain that ECDS fills (DESIGN §6): what decides is never inside a listener, since a listener
 * update leaves open connections under the old policy.
 * Until its configuration has come, and after it was removed, a slot denies everything.
 */
import { create } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import {
  type ExtensionConfigSource,
  ExtensionConfigSourceSchema,
} from '../../../proto/gen/envoy/config/core/v3/config_source_pb.js'
import {
  type Filter,
  FilterSchema,
} from '../../../proto/gen/envoy/config/listener/v3/listener_components_pb.js'
import { RBAC_Action } from '../../../proto/gen/envoy/config/rbac/v3/rbac_pb.js'
import { ExtAuthzSchema } from '../../../proto/gen/envoy/extensions/filters/http/ext_authz/v3/ext_authz_pb.js'
import { FilterChainConfigSchema } from '../../../proto/gen/envoy/extensions/filters/http/filter_chain/v3/filter_chain_pb.js'
import { RBACSchema as HttpRbacSchema } from '../../../proto/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import {
  type HttpFilter,
  HttpFilterSchema,
} from '../../../proto/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { RBACSchema as NetworkRbacSchema } from '../../../proto/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js'
import { fromAds, pack } from './encode.ts'
import { authzName, extAuthzName, rbacName, type Transport } from './names.ts'

/** How an HTTP chain decides: by one configuration, or by the two of sidecars before `authz/chain`. */
export type SlotForm = 'one-slot' | 'two-slots'

/** An ALLOW list without policies: nothing matches, all is denied. */
const ALLOW_NOTHING = { action: RBAC_Action.ALLOW, policies: {} }

/** In the order in which they decide. */
export function buildHttpSlots(
  port: number,
  transport: Transport,
  form: SlotForm,
): readonly HttpFilter[] {
  // The default is an RBAC filter, since an ext_authz filter that denies without asking does not exist.
  const rbac = HttpRbacSchema.typeName
  if (form === 'one-slot') {
    return [buildHttpSlot(authzName(port, transport), [rbac, FilterChainConfigSchema.typeName])]
  }
  return [
    buildHttpSlot(rbacName(port, transport), [rbac]),
    buildHttpSlot(extAuthzName(port, transport), [ExtAuthzSchema.typeName, rbac]),
  ]
}

export function buildNetworkRbacSlot(port: number, transport: Transport): Filter {
  const denyAll = pack(NetworkRbacSchema, { rules: ALLOW_NOTHING, statPrefix: 'default_' })
  return create(FilterSchema, {
    name: rbacName(port, transport),
    configType: {
      case: 'configDiscovery',
      value: buildSource(denyAll, [typeUrlOf(NetworkRbacSchema.typeName)]),
    },
  })
}

function buildHttpSlot(name: string, typeNames: readonly string[]): HttpFilter {
  const source = buildSource(denyAllHttp(), typeNames.map(typeUrlOf))
  return create(HttpFilterSchema, { name, configType: { case: 'configDiscovery', value: source } })
}

function denyAllHttp(): Any {
  return pack(HttpRbacSchema, { rules: ALLOW_NOTHING, rulesStatPrefix: 'default_' })
}

/** The listener warms until the configuration is there: a port that isn't ready isn't open. */
function buildSource(defaultConfig: Any, typeUrls: string[]): ExtensionConfigSource {
  return create(ExtensionConfigSourceSchema, {
    configSource: fromAds(),
    defaultConfig,
    applyDefaultConfigWithoutWarming: false,
    typeUrls,
  })
}

function typeUrlOf(typeName: string): string {
  return `type.googleapis.com/${typeName}`
}
