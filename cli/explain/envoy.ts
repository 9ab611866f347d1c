/**
 * What Envoy's own filters say to a request: the RBAC trees of the snapshot, read as Envoy reads them.
 * In: the bytes that Envoy has. Out: the name of the action, and whether that is the end of it.
 */
import { fromBinary } from '@bufbuild/protobuf'
import { type Any, anyUnpack } from '@bufbuild/protobuf/wkt'
import { MeshError } from '../../common/errors.ts'
import { interpret } from '../../controller/core/lanes/interpret.ts'
import { TypedExtensionConfigSchema } from '../../proto/gen/envoy/config/core/v3/extension_pb.js'
import { FilterChainConfigSchema } from '../../proto/gen/envoy/extensions/filters/http/filter_chain/v3/filter_chain_pb.js'
import {
  type RBAC as HttpRbac,
  RBACSchema as HttpRbacSchema,
} from '../../proto/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import { RBACSchema as NetworkRbacSchema } from '../../proto/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js'
import type { Arrived } from './arrive.ts'
import { decidingConfig, type Version } from './asked.ts'

export interface EnvoyRuling {
  readonly protocol: 'http' | 'tcp'
  readonly allowed: boolean
  /** Of the action; undefined: nothing matched, which denies. */
  readonly name: string | undefined
  /** False: the sidecar is asked. */
  readonly isFinal: boolean
}

export function readEnvoy(version: Version, request: Arrived): EnvoyRuling {
  const bytes = Buffer.from(
    decidingConfig(version, request.port, request.transport) ?? '',
    'base64',
  )
  const { name, typedConfig } = fromBinary(TypedExtensionConfigSchema, bytes)
  const http = typedConfig && readHttp(typedConfig)
  const { principal, sourceAddress, port: destinationPort, method, path, host, headers } = request
  const connection = { principal, sourceAddress, destinationPort }
  if (http === undefined) {
    const tcp = typedConfig && anyUnpack(typedConfig, NetworkRbacSchema)
    if (tcp === undefined) throw new MeshError('ERR_INTERNAL', `${name} is no RBAC filter`)
    const said = interpret(tcp.matcher, { protocol: 'tcp', ...connection })
    return { protocol: 'tcp', allowed: said?.allowed === true, name: said?.name, isFinal: true }
  }
  const attributes = { protocol: 'http' as const, ...connection, method, path, host, headers }
  const enforced = interpret(http.rules.matcher, attributes)
  if (enforced?.allowed !== true) {
    return { protocol: 'http', allowed: false, name: enforced?.name, isFinal: true }
  }
  if (!http.hasCall) return { protocol: 'http', allowed: true, name: enforced.name, isFinal: true }
  const shadow = interpret(http.rules.shadowMatcher, attributes)
  const isFinal = shadow?.allowed === true
  const { name: decider } = isFinal ? shadow : enforced
  return { protocol: 'http', allowed: true, name: decider, isFinal }
}

/** The rules, and whether the call to the sidecar stands behind them. */
function readHttp(
  config: Any,
): { readonly rules: HttpRbac; readonly hasCall: boolean } | undefined {
  const filters = anyUnpack(config, FilterChainConfigSchema)?.defaultFilterChain?.filters
  const first = filters === undefined ? config : filters[0]?.typedConfig
  const rules = first && anyUnpack(first, HttpRbacSchema)
  return rules && { rules, hasCall: filters !== undefined && filters.length > 1 }
}
