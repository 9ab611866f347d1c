/**
 * A generated mesh of any size, as manifests: one file per object, so that an edit is the write of one small file.
 * In: how many of what. Out: file name → text, and the edits that the bench makes. Pure; equal sizes, equal texts.
 */

export interface MeshSize {
  readonly services: number
  readonly workloads: number
  readonly policies: number
}

/** One of so many policies is of the kind. */
const EVERY_SERVICE = 5
const EVERY_REGO = 50
/** Policies of the whole mesh, whatever its size. */
const MESH_WIDE = 2
const SERVICES_IN_NAMESPACE = 20
const CALLS = 2

const API = 'apiVersion: postern.dev/v1alpha1'

export const TRUST_DOMAIN = 'fleet.example'
/** The policy that every workload has, and the one that only the first workload has. */
export const MESH_WIDE_FILE = 'policies/mesh-0.yaml'
export const ONE_WORKLOAD_FILE = 'policies/policy-0.yaml'

export function namespaceOf(service: number): string {
  return `team-${Math.floor(service / SERVICES_IN_NAMESPACE)}`
}

/** `namespace/name` of each workload. */
export function workloadNames({ services, workloads }: MeshSize): readonly string[] {
  return Array.from({ length: workloads }, (_, i) => `${namespaceOf(i % services)}/w${i}`)
}

export function buildManifests(size: MeshSize): ReadonlyMap<string, string> {
  const files = new Map([['mesh.yaml', MESH]])
  for (let i = 0; i < size.workloads; i++) files.set(workloadFile(i), buildWorkload(size, i))
  for (let n = 0; n < Math.min(MESH_WIDE, size.policies); n++)
    files.set(`policies/mesh-${n}.yaml`, buildMeshWide(n, 0))
  for (let n = 0; n < size.policies - MESH_WIDE; n++)
    files.set(`policies/policy-${n}.yaml`, buildPolicy(size, n, 0))
  return files
}

export function workloadFile(index: number): string {
  return `workloads/w${index}.yaml`
}

/** `moved` changes the address of its endpoint, nothing else. */
export function buildWorkload({ services }: MeshSize, index: number, moved = 0): string {
  const service = index % services
  const callees = Array.from({ length: CALLS }, (_, k) => (service + k + 1) % services)
  const outbound = callees.map(
    (s, k) =>
      `    - { name: to-s${s}, port: ${15001 + k}, service: ${namespaceOf(s)}/s${s}, servicePort: http }`,
  )
  const host = [10, 1 + moved, Math.floor(index / 250), (index % 250) + 1].join('.')
  return `${API}
kind: WorkloadEntry
metadata: { name: w${index}, namespace: ${namespaceOf(service)}, labels: { workload: w${index} } }
spec:
  serviceAccount: s${service}
  service: s${service}
  address: ${host}
  inbound:
    - { name: http, port: 8080, appPort: 8081 }
  outbound:
${outbound.join('\n')}
`
}

/** Proxies that hear of a moved endpoint: its own, and those of the services that call its service. */
export function hearersOf({ services, workloads }: MeshSize, index: number): number {
  const callers = new Set(
    Array.from({ length: CALLS }, (_, k) => (index + services - k - 1) % services),
  )
  callers.delete(index % services)
  const of = (service: number) => Math.ceil((workloads - service) / services)
  return 1 + [...callers].reduce((sum, service) => sum + of(service), 0)
}

/** Policy `n`: of one workload, or of one service (rules), or of one workload in Rego. */
export function buildPolicy(size: MeshSize, n: number, revision: number): string {
  const workload = n % size.workloads
  const service = workload % size.services
  const isService = n % EVERY_SERVICE === EVERY_SERVICE - 1
  const isRego = n % EVERY_REGO === 1
  const target = isService
    ? `targetRefs: [{ group: "", kind: Service, name: s${service} }]`
    : `selector: { matchLabels: { workload: w${workload} } }`
  return `${API}
kind: AuthorizationPolicy
metadata: { name: policy-${n}, namespace: ${namespaceOf(service)} }
spec:
  ${target}
${isRego ? REGO : rules(size, service, revision)}`
}

export function buildMeshWide(n: number, revision: number): string {
  return `${API}
kind: AuthorizationPolicy
metadata: { name: mesh-${n}, namespace: postern-system }
spec:
  action: DENY
  rules:
    - to: [{ operation: { paths: ["/internal/${n}/${revision}/*"] } }]
`
}

function rules({ services }: MeshSize, service: number, revision: number): string {
  const caller = (service + services - 1) % services
  const principal = `spiffe://${TRUST_DOMAIN}/ns/${namespaceOf(caller)}/sa/s${caller}`
  return `  rules:
    - from: [{ source: { principals: ["${principal}"] } }]
      to: [{ operation: { methods: [GET], paths: ["/items/*", "/v${revision}/*"] } }]
    - from: [{ source: { namespaces: [${namespaceOf(caller)}] } }]
      to: [{ operation: { methods: [POST], paths: ["/orders"] } }]
`
}

/** One text, so that it is compiled once: what is measured is distribution, not the compiler. */
const REGO = `  rego:
    module: |
      package envoy.authz
      allow if input.attributes.request.http.headers["x-team"] == "fleet"
`

const MESH = `${API}
kind: Mesh
metadata: { name: mesh }
spec: { trustDomain: ${TRUST_DOMAIN} }
---
${API}
kind: CertificateAuthority
metadata: { name: postern }
spec: { selfSigned: {} }
`
