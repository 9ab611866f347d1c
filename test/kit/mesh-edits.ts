/**
 * A small mesh as manifests, and edits of all kinds on it, good and bad, for tests that compare two ways to follow them.
 * In: file name → text, and randomness. Out: the files changed in place.
 */
import type { Random } from './differential/random.ts'

type Files = Map<string, string>

export interface Edit {
  readonly name: string
  readonly apply: (files: Files, random: Random) => void
}

const API = 'apiVersion: postern.dev/v1alpha1\n'
const WORKLOADS = 6

const mesh = (spec: string) => `${API}kind: Mesh
metadata: { name: mesh }
spec: { trustDomain: shop.example${spec} }
---
${API}kind: CertificateAuthority
metadata: { name: postern }
spec: { selfSigned: {} }
`

const workload = (i: number, host: number, port = 8080) => `${API}kind: WorkloadEntry
metadata: { name: w${i}, namespace: ${i % 2 === 0 ? 'shop' : 'bank'}, labels: { tier: t${i % 3} } }
spec:
  serviceAccount: a${i % 4}
  service: s${i % 3}
  address: 10.0.${host}.${i + 1}
  inbound: [{ name: http, port: ${port}, appPort: 9090 }, { name: raw, port: 7000, appPort: 7001, protocol: TCP }]
  outbound: [{ name: next, port: 15001, service: ${i % 2 === 0 ? 'bank' : 'shop'}/s${(i + 1) % 3}, servicePort: http }]
`

const TARGETS = [
  '',
  'selector: { matchLabels: { tier: t1 } }\n  ',
  'selector: { matchLabels: { tier: nowhere } }\n  ',
  'targetRefs: [{ kind: Service, name: s0 }, { kind: ServiceAccount, name: a2 }]\n  ',
  'targetRefs: [{ kind: Service, name: s2 }]\n  ',
]
const BODIES = [
  'rules: [{ to: [{ operation: { paths: ["/a/*"] } }] }]',
  'rules: [{ from: [{ source: { principals: ["spiffe://shop.example/ns/shop/sa/a0"] } }] }]',
  'rules: [{ from: [{ source: { namespaces: [bank] } }], to: [{ operation: { ports: [8080] } }] }]',
  'action: DENY\n  rules: [{ to: [{ operation: { methods: [DELETE] } }] }]',
  'mode: Shadow\n  rules: [{ to: [{ operation: { hosts: ["x.example"] } }] }]',
  'rego: { module: "package envoy.authz\\nallow := true" }',
  'rego: { module: "package envoy.authz\\nallow := false", libraries: [{ name: lib }] }',
  'rego: { module: "package envoy.authz\\nallow := 1", libraries: [{ name: lib }, { name: lib2 }] }',
  'rego: { module: "broken" }',
  'rego: { module: "package envoy.authz", libraries: [{ name: missing }] }',
  'rules: [{ from: [{ source: { principals: ["no id"] } }] }]',
  'unknown: 1',
]
const NAMESPACES = ['shop', 'bank', 'postern-system']

function policy(random: Random, i: number): string {
  return `${API}kind: AuthorizationPolicy
metadata: { name: p${i}, namespace: ${random.pick(NAMESPACES)} }
spec:
  ${random.pick(TARGETS)}${random.pick(BODIES)}
`
}

const library = (name: string, n: number) => `${API}kind: PolicyLibrary
metadata: { name: ${name}, namespace: shop }
spec: { modules: [{ name: m, rego: "package ${name}\\nx := ${n}" }], data: { ${name}: ${n} } }
`

const peers = (random: Random) => `${API}kind: PeerAuthentication
metadata: { name: peers, namespace: ${random.pick(NAMESPACES)} }
spec: { mtls: { mode: ${random.pick(['STRICT', 'PERMISSIVE'])} }${random.pick(['', ', portLevelMtls: { "8080": { mode: PERMISSIVE } }'])} }
`

const traffic = (random: Random) => `${API}kind: BackendTrafficPolicy
metadata: { name: traffic, namespace: ${random.pick(['shop', 'bank'])} }
spec:
  targetRefs: [{ kind: Service, name: s${random.below(4)} }]
  ${random.pick(['timeouts: { request: 10s }', 'limits: { maxRequestBodyBytes: 1000 }', 'timeouts: { request: soon }'])}
`

export function startFiles(): Files {
  const files: Files = new Map([['mesh.yaml', mesh('')]])
  for (let i = 0; i < WORKLOADS; i++) files.set(`w${i}.yaml`, workload(i, 0))
  files.set(
    'p0.yaml',
    `${API}kind: AuthorizationPolicy
metadata: { name: p0, namespace: postern-system }
spec: { ${BODIES[0]} }
`,
  )
  for (const name of ['lib', 'lib2']) files.set(`${name}.yaml`, library(name, 0))
  files.set(
    'two.yaml',
    `${API}kind: AuthorizationPolicy
metadata: { name: two, namespace: shop }
spec: { ${BODIES.find((b) => b.includes('lib2'))} }
`,
  )
  return files
}

export const EDITS: readonly Edit[] = [
  ...[0, 1, 2].map(
    (): Edit => ({
      name: 'a policy is written',
      apply: (files, random) => {
        const i = random.below(6)
        files.set(`p${i}.yaml`, policy(random, i))
      },
    }),
  ),
  {
    name: 'two policies are written to one file',
    apply: (files, random) => {
      files.set('both.yaml', `${policy(random, 7)}---\n${policy(random, 8 - random.below(2))}`)
    },
  },
  {
    name: 'a file is deleted',
    apply: (files, random) => void files.delete(random.pick([...files.keys()])),
  },
  {
    name: 'a workload moves',
    apply: (files, random) => {
      const i = random.below(WORKLOADS)
      files.set(`w${i}.yaml`, workload(i, random.below(3), random.pick([8080, 8081, 9090])))
    },
  },
  {
    name: 'a workload comes back',
    apply: (files, random) => {
      const i = random.below(WORKLOADS)
      files.set(`w${i}.yaml`, workload(i, 0))
    },
  },
  {
    name: 'a library is written',
    apply: (files, random) => {
      const name = random.pick(['lib', 'lib2'])
      files.set(`${name}.yaml`, library(name, random.below(3)))
    },
  },
  {
    name: 'peer authentication is written',
    apply: (files, random) => void files.set('peers.yaml', peers(random)),
  },
  {
    name: 'a traffic policy is written',
    apply: (files, random) => void files.set('traffic.yaml', traffic(random)),
  },
  {
    name: 'the mesh is written',
    apply: (files, random) => {
      const spec = random.pick([
        '',
        ', mtls: { mode: PERMISSIVE }',
        ', defaultAction: { action: ALLOW }',
        ', trustDomainAliases: [old.example]',
        ', svid: { lifetimeSeconds: 5 }',
      ])
      files.set('mesh.yaml', mesh(spec))
    },
  },
  {
    name: 'a file breaks',
    apply: (files, random) => {
      const path = random.pick([...files.keys()])
      files.set(path, `${files.get(path)}\n a: b: c\n`)
    },
  },
  {
    name: 'a file is emptied',
    apply: (files, random) => void files.set(random.pick([...files.keys()]), '\n'),
  },
  {
    name: 'an object moves down in its file',
    apply: (files, random) => {
      const path = random.pick([...files.keys()])
      files.set(path, `# moved\n${files.get(path)}`)
    },
  },
]
