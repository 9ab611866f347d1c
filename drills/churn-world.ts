/**
 * The world that the churn drill changes: manifests as a function of a few numbers, so that an edit is one field and
 * every file can be written from scratch. Pure.
 * Who is to be allowed is the same in every world, but for the guests; who is to be denied likewise.
 */

/** What changes. Each field stands for one kind of edit. */
export interface World {
  /** Orders' ALLOW: which strangers stand beside the caller, and in which order. */
  readonly rules: number
  /** A DENY on orders that concerns no call of the drill. */
  readonly deny: number
  /** Payments' Rego: another limit, far above what is charged. */
  readonly rego: number
  /** Whether the second endpoint of orders is one. */
  readonly hasSecondEndpoint: boolean
  /** The address of a service that nobody calls, in the caller's configuration. */
  readonly sparePort: number
  /** Whether strangers may read /orders/guest. */
  readonly guests: boolean
  /** A file that is refused; 0: there is none. */
  readonly broken: number
  /** Seconds; the lifetime of SVIDs stands in listeners and in every certificate. */
  readonly svidSeconds: number
  /** Workloads that come and go, by number. */
  readonly transients: readonly number[]
}

export const FIRST_WORLD: World = {
  rules: 0,
  deny: 0,
  rego: 0,
  hasSecondEndpoint: true,
  sparePort: 21290,
  guests: false,
  broken: 0,
  svidSeconds: 20,
  transients: [],
}

/** Workloads with a sidecar throughout. */
export const CHURN_WORKLOADS = [
  'shop/orders',
  'shop/orders-b',
  'shop/payments',
  'shop/victim',
  'shop/caller',
  'guests/stranger',
] as const

/** Before the stack's offset. */
export const CHURN_PORTS = {
  orders: 21002,
  callerToOrders: 21210,
  callerToVictim: 21211,
  strangerToOrders: 21212,
  strangerToVictim: 21213,
  ordersToPayments: 21203,
} as const

export function transientName(number: number): string {
  return `transient-${number}`
}

const GROUP = 'apiVersion: postern.dev/v1alpha1'

const FIXED = `${GROUP}
kind: WorkloadEntry
metadata: { name: orders, namespace: shop, labels: { app: orders } }
spec:
  serviceAccount: orders
  inbound: [{ name: http, port: 21002, appPort: 21102 }]
  outbound: [{ name: payments, port: 21203, service: payments, servicePort: http }]
---
${GROUP}
kind: WorkloadEntry
metadata: { name: payments, namespace: shop, labels: { app: payments } }
spec:
  serviceAccount: payments
  inbound:
    - { name: http, port: 21003, appPort: 21103 }
    - { name: ledger, port: 21004, appPort: 21104, protocol: TCP }
---
${GROUP}
kind: WorkloadEntry
metadata: { name: victim, namespace: shop, labels: { app: victim } }
spec:
  serviceAccount: victim
  inbound: [{ name: http, port: 21006, appPort: 21102 }]
---
${GROUP}
kind: WorkloadEntry
metadata: { name: caller, namespace: shop, labels: { app: caller } }
spec:
  serviceAccount: caller
  outbound:
    - { name: orders, port: 21210, service: orders, servicePort: http }
    - { name: victim, port: 21211, service: victim, servicePort: http }
    - { name: spare, port: 21214, service: spare, servicePort: http }
---
${GROUP}
kind: WorkloadEntry
metadata: { name: stranger, namespace: guests, labels: { app: stranger } }
spec:
  serviceAccount: stranger
  outbound:
    - { name: orders, port: 21212, service: shop/orders, servicePort: http }
    - { name: victim, port: 21213, service: shop/victim, servicePort: http }
---
${GROUP}
kind: AuthorizationPolicy
metadata: { name: victim-callers, namespace: shop }
spec:
  selector: { matchLabels: { app: victim } }
  rules:
    - from: [{ source: { principals: ["spiffe://shop.example/ns/shop/sa/caller"] } }]
      to: [{ operation: { methods: [GET], paths: ["/orders/*"] } }]
`

function mesh(world: World): string {
  return `${GROUP}
kind: Mesh
metadata: { name: mesh }
spec:
  trustDomain: shop.example
  svid: { lifetimeSeconds: ${world.svidSeconds} }
  certificateAuthorityRef: { name: postern }
---
${GROUP}
kind: CertificateAuthority
metadata: { name: postern }
spec: { selfSigned: {} }
`
}

/** The second endpoint serves `orders` or nothing that is called; it is the same process throughout. */
function endpoints(world: World): string {
  return `${GROUP}
kind: WorkloadEntry
metadata: { name: orders-b, namespace: shop, labels: { app: orders } }
spec:
  serviceAccount: orders
  service: ${world.hasSecondEndpoint ? 'orders' : 'orders-standby'}
  inbound: [{ name: http, port: 21005, appPort: 21102 }]
---
${GROUP}
kind: WorkloadEntry
metadata: { name: spare, namespace: shop, labels: { app: spare } }
spec:
  serviceAccount: spare
  inbound: [{ name: http, port: ${world.sparePort}, appPort: 21102 }]
`
}

function orders(world: World): string {
  const names = Array.from({ length: world.rules % 7 }, (_, i) => `nobody-${world.rules + i}`)
  names.splice(world.rules % 3, 0, 'caller')
  const principals = names.map((n) => `"spiffe://shop.example/ns/shop/sa/${n}"`).join(', ')
  const guests = `
    - from: [{ source: { namespaces: [guests] } }]
      to: [{ operation: { methods: [GET], paths: ["/orders/guest"] } }]`
  return `${GROUP}
kind: AuthorizationPolicy
metadata: { name: orders-callers, namespace: shop }
spec:
  selector: { matchLabels: { app: orders } }
  rules:
    - from: [{ source: { principals: [${principals}] } }]
      to: [{ operation: { methods: [GET], paths: ["/orders/*"] } }]${world.guests ? guests : ''}
---
${GROUP}
kind: AuthorizationPolicy
metadata: { name: orders-hosts, namespace: shop }
spec:
  selector: { matchLabels: { app: orders } }
  action: DENY
  rules:
    - to: [{ operation: { hosts: ["internal-${world.deny}.orders.shop"] } }]
`
}

function payments(world: World): string {
  return `${GROUP}
kind: AuthorizationPolicy
metadata: { name: payments-charge, namespace: shop }
spec:
  selector: { matchLabels: { app: payments } }
  rego:
    module: |
      package envoy.authz

      default allow := false

      allow if {
        input.attributes.source.principal == "spiffe://shop.example/ns/shop/sa/orders"
        input.attributes.request.http.method == "POST"
        input.parsed_body.amount <= ${1000 + world.rego}
      }
`
}

const TRANSIENT = (number: number) => `${GROUP}
kind: WorkloadEntry
metadata: { name: ${transientName(number)}, namespace: shop, labels: { app: transient } }
spec:
  serviceAccount: transient
  outbound: [{ name: orders, port: ${21220 + (number % 20)}, service: orders, servicePort: http }]
`

/** What a broken manifest says: each is refused in another place. */
const BROKEN = [
  '',
  'kind: [',
  `${GROUP}\nkind: AuthorizationPolicy\nmetadata: { name: broken, namespace: shop }\nspec: { rules: [{ from: [{}] }] }\n`,
  `${GROUP}\nkind: AuthorizationPolicy\nmetadata: { name: broken, namespace: shop }\nspec: { rego: { module: "package envoy.authz\\nallow := " } }\n`,
  `${GROUP}\nkind: Gizmo\nmetadata: { name: broken, namespace: shop }\n`,
]

/** How many kinds of broken manifest there are. */
export const BROKEN_KINDS = BROKEN.length - 1

/** Every manifest of a world, by file name. An empty text: the file is not there. */
export function manifestsOf(world: World): Readonly<Record<string, string>> {
  return {
    'mesh.yaml': mesh(world),
    'workloads.yaml': FIXED,
    'endpoints.yaml': endpoints(world),
    'orders.yaml': orders(world),
    'payments.yaml': payments(world),
    'transients.yaml': world.transients.map(TRANSIENT).join('---\n'),
    'broken.yaml': BROKEN[world.broken] ?? '',
  }
}
