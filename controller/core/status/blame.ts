/**
 * Whose object a proxy's refusal is about. In: a NACK with the names of the refused resources, the workload whose proxy
 * it is, an object that has a part in that workload. Out: whether the object may be the cause. Names say what a
 * resource was made of (core/xds/names.ts), Envoy's words narrow it down; where they don't, all that may be are blamed.
 */
import { SECRET_TRUST_BUNDLE, TYPE_URLS } from '../../../common/xds.ts'
import { isKind } from '../accept/objects.ts'
import type { BackendTrafficPolicy, PosternObject } from '../crd/index.ts'
import type { Workload } from '../model/mesh.ts'

export interface Nack {
  readonly typeUrl: string
  readonly names: readonly string[]
  readonly message: string
}

/** Envoy's words for an address that somebody else has: no policy's fault. */
const TAKEN = /cannot bind|already in use/i

/** `object` is one of those that have a part in `workload` (feeds.ts). */
export function isBlamed(object: PosternObject, workload: Workload, nack: Nack): boolean {
  // Whatever it was made of, it is this workload's proxy that lags.
  if (object.kind === 'WorkloadEntry') return true
  return nack.names.some((name) => isCause(object, workload, name, nack))
}

function isCause(object: PosternObject, workload: Workload, name: string, nack: Nack): boolean {
  // `inbound/PORT`, or `outbound/NAMESPACE/SERVICE/PORT`.
  const [part = '', port = '', service = ''] = name.split('/')
  switch (nack.typeUrl) {
    case TYPE_URLS.extensionConfig:
      if (!isKind(object, 'AuthorizationPolicy')) return false
      if (part === 'ext_authz') return object.spec.rego !== undefined
      return isNamed(object, workload, nack.message)
    case TYPE_URLS.listener:
      return part === 'inbound' && !TAKEN.test(nack.message) && madeListener(object, workload, port)
    case TYPE_URLS.cluster:
    case TYPE_URLS.route:
      return isKind(object, 'BackendTrafficPolicy') && isTarget(object, port, service)
    case TYPE_URLS.secret:
      return object.kind === 'CertificateAuthority' && name === SECRET_TRUST_BUNDLE
    default:
      return false
  }
}

/** What of an inbound listener is the user's: its mode, its TLS floor, its limits. */
function madeListener(object: PosternObject, workload: Workload, port: string): boolean {
  if (isKind(object, 'PeerAuthentication')) {
    const { mtls, portLevelMtls } = object.spec
    return mtls !== undefined || portLevelMtls?.[port] !== undefined
  }
  if (isKind(object, 'BackendTrafficPolicy')) {
    const { namespace, service } = workload
    return object.spec.limits !== undefined && isTarget(object, namespace, service)
  }
  return object.kind === 'Mesh'
}

function isTarget(
  { metadata, spec }: BackendTrafficPolicy,
  namespace: string,
  service: string,
): boolean {
  return metadata.namespace === namespace && spec.targetRefs.some(({ name }) => name === service)
}

/** Rules stand in Envoy's matchers under `namespace/policy/rules[i]`, and so in its complaints. */
function isNamed(object: PosternObject, workload: Workload, message: string): boolean {
  const isIn = (p: { readonly namespace?: string | undefined; readonly name: string }) =>
    message.includes(`${p.namespace}/${p.name}/`)
  return isIn(object.metadata) || !workload.policySet.policies.some(isIn)
}
