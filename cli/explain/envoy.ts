/**
 * What Envoy's own filters say to a request: the RBAC trees of the snapshot, read as Envoy reads them.
 * In: the bytes that Envoy has. Out: the name of the action, and whether that is the end of it.
 */
import { fromBinary } from '@bufbuild/protobuf'
import { anyUnpack } from '@bufbuild/protobuf/wkt'
import { MeshError } from '../../common/errors.ts'
import { DECIDED } from '../../controller/core/lanes/http-rbac.ts'
import { interpret } from '../../controller/core/lanes/interpret.ts'
import { rbacName } from '../../controller/core/xds/names.ts'
import { TypedExtensionConfigSchema } from '../../proto/gen/envoy/config/core/v3/extension_pb.js'
import { RBACSchema as HttpRbacSchema } from '../../proto/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import { RBACSchema as NetworkRbacSchema } from '../../proto/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js'
import type { Arrived } from './arrive.ts'
import type { Version } from './asked.ts'

export interface EnvoyRuling {
  readonly protocol: 'http' | 'tcp'
  readonly allowed: boolean
  /** Of the action; undefined: nothing matched, which denies. */
  readonly name: string | undefined
  /** False: the sidecar is asked. */
  readonly isFinal: boolean
}

export function readEnvoy(version: Version, request: Arrived): EnvoyRuling {
  const name = rbacName(request.port, request.transport)
  const bytes = Buffer.from(version.extensions[name] ?? '', 'base64')
  const { typedConfig } = fromBinary(TypedExtensionConfigSchema, bytes)
  const http = typedConfig && anyUnpack(typedConfig, HttpRbacSchema)
  const { principal, sourceAddress, port: destinationPort, method, path, host, headers } = request
  const connection = { principal, sourceAddress, destinationPort }
  if (http === undefined) {
    const tcp = typedConfig && anyUnpack(typedConfig, NetworkRbacSchema)
    if (tcp === undefined) throw new MeshError('ERR_INTERNAL', `${name} is no RBAC filter`)
    const said = interpret(tcp.matcher, { protocol: 'tcp', ...connection })
    return { protocol: 'tcp', allowed: said?.allowed === true, name: said?.name, isFinal: true }
  }
  const attributes = { protocol: 'http' as const, ...connection, method, path, host, headers }
  const enforced = interpret(http.matcher, attributes)
  if (enforced?.allowed !== true) {
    return { protocol: 'http', allowed: false, name: enforced?.name, isFinal: true }
  }
  const shadow = interpret(http.shadowMatcher, attributes)
  if (shadow?.allowed !== true) {
    return { protocol: 'http', allowed: true, name: enforced.name, isFinal: false }
  }
  const decider = shadow.name === DECIDED ? enforced.name : shadow.name
  return { protocol: 'http', allowed: true, name: decider, isFinal: true }
}
