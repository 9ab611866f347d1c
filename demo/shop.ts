/**
 * What the shop consists of: its workloads, its apps and the ports that they use. The manifests say the rest.
 */
/** Ports of demo/manifests/workloads.yaml, before a stack's offset. */
export const PORTS = {
  web: 21001,
  orders: 21002,
  payments: 21003,
  ledger: 21004,
  webToOrders: 21201,
  webToPayments: 21202,
  ordersToPayments: 21203,
  ordersToLedger: 21204,
  malloryToOrders: 21205,
  malloryToPayments: 21206,
  malloryToLedger: 21207,
} as const

export type Ports = { readonly [name in keyof typeof PORTS]: number }

/** The ports of a stack that was started with `offset`. */
export function portsAt(offset: number): Ports {
  const shifted = Object.entries(PORTS).map(([name, port]) => [name, port + offset])
  return Object.fromEntries(shifted) as Ports
}

export const WORKLOADS = ['shop/web', 'shop/orders', 'shop/payments', 'guests/mallory'] as const

/** The controller's port; its health port is the next, then one health port for each sidecar. */
export const BASE_PORT = 21301

/** Every port of the shop begins so; a stack's offset is added to all of them, also in the manifests. */
const SHOP_PORT = /\b21[0-3]\d\d\b/g

/** Arguments of service.ts for each app: NAME PORT UPSTREAM LEDGER. */
export function appsAt(offset: number): readonly (readonly string[])[] {
  const ports = portsAt(offset)
  return [
    ['web', `${21101 + offset}`, `${ports.webToOrders}`],
    ['orders', `${21102 + offset}`, `${ports.ordersToPayments}`],
    ['payments', `${21103 + offset}`, '', `${21104 + offset}`],
  ]
}

/** A manifest's text with the shop's ports moved by `offset`. */
export function shiftPorts(text: string, offset: number): string {
  return text.replace(SHOP_PORT, (port) => `${Number(port) + offset}`)
}

/** All ports that a stack listens on. */
export function portsOf(offset: number): number[] {
  const health = [0, 1, ...WORKLOADS.map((_, i) => i + 2)].map((i) => BASE_PORT + i)
  return [...Object.values(PORTS), 21101, 21102, 21103, 21104, ...health].map((p) => p + offset)
}
