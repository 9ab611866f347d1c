/**
 * Golden cases of the lanes: policies as a user writes them, and what Envoy's RBAC filter of each transport becomes.
 * In: in.yaml (`set`, `policies` as specs; `rego: true` stands for some compiled Rego). Out: plan and filters as JSON.
 */
import { type JsonObject, toJson } from '@bufbuild/protobuf'
import { parse } from 'yaml'
import { comparePolicies, type Policy, type PolicySet } from '../../common/policy-set.ts'
import type { AuthorizationPolicy } from '../../controller/core/crd/index.ts'
import { buildHttpRbac } from '../../controller/core/lanes/http-rbac.ts'
import { buildNetworkRbac } from '../../controller/core/lanes/network-rbac.ts'
import { planLanes } from '../../controller/core/lanes/plan.ts'
import { rbacRegistry } from '../../controller/core/lanes/registry.ts'
import { toRego } from '../../controller/core/lanes/to-rego.ts'
import { translateAuthorizationPolicy } from '../../controller/core/translate/authorization-policy.ts'
import { RBACSchema as HttpRbacSchema } from '../../proto/gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js'
import { RBACSchema as NetworkRbacSchema } from '../../proto/gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.js'

interface CaseInput {
  readonly set: {
    readonly trustDomain: string
    readonly trustDomainAliases?: readonly string[]
    readonly port: number
    readonly protocol?: 'http' | 'tcp'
    readonly defaultAction?: 'ALLOW' | 'DENY'
    readonly defaultMode?: 'Enforce' | 'Shadow'
  }
  readonly policies: readonly (Omit<Partial<AuthorizationPolicy['spec']>, 'rego'> & {
    readonly rego?: true
  })[]
}

export const TRANSPORTS = ['tls', 'plaintext'] as const

export interface LanesCase {
  readonly protocol: 'http' | 'tcp'
  readonly plan: unknown
  readonly tls: JsonObject
  readonly plaintext: JsonObject
  /** The rules as Rego. */
  readonly rego: string
}

export function buildLanesCase(text: string): LanesCase {
  const input: CaseInput = parse(text)
  const { port, protocol = 'http' } = input.set
  const set = toPolicySet(input)
  const build = (transport: 'tls' | 'plaintext') => {
    const options = { registry: rbacRegistry }
    return (
      protocol === 'http'
        ? toJson(HttpRbacSchema, buildHttpRbac(set, { port, transport }), options)
        : toJson(NetworkRbacSchema, buildNetworkRbac(set, { port, transport }), options)
    ) as JsonObject
  }
  return {
    protocol,
    plan: planLanes(set),
    tls: build('tls'),
    plaintext: build('plaintext'),
    rego: toRego(set, { protocol }),
  }
}

/** Policies are named p0, p1, … in namespace shop. Throws when one of them has a problem. */
export function toPolicySet({ set, policies }: CaseInput): PolicySet {
  const { trustDomain, trustDomainAliases = [] } = set
  return {
    workload: 'shop/app',
    trustDomain,
    ...(trustDomainAliases.length === 0 ? {} : { trustDomainAliases }),
    defaultAction: set.defaultAction ?? 'DENY',
    defaultMode: set.defaultMode ?? 'Enforce',
    policies: policies
      .map((spec, i) => toPolicy(spec, `p${i}`, { trustDomain, trustDomainAliases }))
      .sort(comparePolicies),
  }
}

function toPolicy(
  { rego, ...spec }: CaseInput['policies'][number],
  name: string,
  mesh: { readonly trustDomain: string; readonly trustDomainAliases: readonly string[] },
): Policy {
  const compiled = {
    entrypoint: 'envoy/authz/allow',
    wasmDigest: '0'.repeat(64),
    data: {},
    readsBody: false,
  }
  const object: AuthorizationPolicy = {
    apiVersion: 'postern.dev/v1alpha1',
    kind: 'AuthorizationPolicy',
    metadata: { namespace: 'shop', name },
    spec: {
      ...{ action: 'ALLOW', mode: 'Enforce', required: false, onError: 'Deny' },
      ...spec,
      ...(rego
        ? { rego: { module: 'x', entrypoint: 'envoy/authz/allow', regoVersion: 'V1' } }
        : {}),
    },
  }
  const context = { mesh, rego: rego ? compiled : undefined }
  const { policy, problems } = translateAuthorizationPolicy(object, context)
  if (policy === undefined) throw new Error(JSON.stringify(problems))
  return policy
}
