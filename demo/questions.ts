/**
 * Each call of the demo as a question to `postern explain request`, and whether its answer is what really happened: the
 * same decision, by the same policy and rule, in the same lane, as the decision record has them.
 */
import { askController } from '../cli/admin-client.ts'
import type { AskedRequest, Grounds } from '../cli/explain/asked.ts'
import type { Explanation } from '../cli/explain/explain.ts'
import { explainAll } from '../cli/explain/request.ts'
import type { DecisionRecord } from '../common/decision.ts'
import type { RawRequest } from './client.ts'
import { waitFor } from './process.ts'
import type { Ports } from './shop.ts'
import type { Stack } from './stack.ts'

export interface Question {
  /** The called workload, `namespace/name`. */
  readonly to: string
  readonly asked: AskedRequest
}

const ID = 'spiffe://shop.example/ns'
/** A proxy says what it enforces a moment after it does. */
const SETTLED_MS = 5000

/** Who calls whom by an outbound port: a mesh caller is asked for by its identity, at the callee's own port. */
function routesOf(ports: Ports) {
  return new Map<number, readonly [from: string, to: string, port: number]>([
    [ports.webToOrders, [`${ID}/shop/sa/web`, 'shop/orders', ports.orders]],
    [ports.webToPayments, [`${ID}/shop/sa/web`, 'shop/payments', ports.payments]],
    [ports.ordersToPayments, [`${ID}/shop/sa/orders`, 'shop/payments', ports.payments]],
    [ports.ordersToLedger, [`${ID}/shop/sa/orders`, 'shop/payments', ports.ledger]],
    [ports.malloryToOrders, [`${ID}/guests/sa/mallory`, 'shop/orders', ports.orders]],
    [ports.malloryToPayments, [`${ID}/guests/sa/mallory`, 'shop/payments', ports.payments]],
    [ports.malloryToLedger, [`${ID}/guests/sa/mallory`, 'shop/payments', ports.ledger]],
  ])
}

/** `principal`: of the certificate that the caller itself shows; a certificate of another CA is none. */
export function questionOf(
  ports: Ports,
  port: number,
  what: RawRequest,
  own?: { readonly principal: string | undefined },
): Question {
  const route = routesOf(ports).get(port)
  const { method = 'GET', path, host = 'orders.shop', headers = [], body } = what
  const request = {
    sourceAddress: '127.0.0.1',
    method,
    path,
    host,
    headers,
    ...(body === undefined ? {} : { body: Buffer.from(body) }),
  }
  if (route !== undefined) {
    const [principal, to, inbound] = route
    return { to, asked: { ...request, principal, port: inbound, transport: 'tls' } }
  }
  const to = port === ports.web ? 'shop/web' : 'shop/orders'
  const transport = own === undefined ? 'plaintext' : 'tls'
  return { to, asked: { ...request, principal: own?.principal, port, transport } }
}

/** What the proxy enforces, once it enforces the newest. */
export async function settledGrounds(stack: Stack, workload: string): Promise<Grounds> {
  let grounds: Grounds | undefined
  await waitFor(
    `the proxy of ${workload} to enforce the newest`,
    async () => {
      grounds = (await askController(stack.state, 'GET', `/grounds/${workload}`)) as Grounds
      return (
        grounds.versions.length === 1 && grounds.versions[0]?.roles.includes('enforced') === true
      )
    },
    { timeoutMs: SETTLED_MS },
  )
  if (grounds === undefined) throw new Error(`no grounds of ${workload}`)
  return grounds
}

export async function askExplain(stack: Stack, { to, asked }: Question): Promise<Explanation> {
  const grounds = await settledGrounds(stack, to)
  const [explanation] = await explainAll(grounds, asked, {
    nowNs: BigInt(Date.now()) * 1_000_000n,
  })
  if (explanation === undefined) throw new Error(`no explanation of a call to ${to}`)
  return explanation
}

/** What differs between the explanation and what happened; undefined: nothing. No record: nothing was decided. */
export function differenceOf(
  said: Explanation,
  record: DecisionRecord | undefined,
): string | undefined {
  const isBefore = said.decidedIn === 'connection' || said.decidedIn === 'http'
  if (record === undefined) return isBefore ? undefined : `explained by ${said.policy}, no record`
  const { allowed, policy, rule, lane, reason, httpStatus } = record.postern
  const pairs: readonly (readonly [string, unknown, unknown])[] = [
    ['allowed', said.allowed, allowed],
    ['lane', said.decidedIn, lane],
    ['policy', said.policy, policy],
    ['rule', said.rule, rule],
    ['reason', said.reason, reason],
    ...(allowed ? [] : [['status', said.httpStatus, httpStatus] as const]),
  ]
  const wrong = pairs.filter(([, mine, real]) => mine !== real)
  return wrong.length === 0
    ? undefined
    : wrong.map(([what, mine, real]) => `${what}: explained ${mine}, really ${real}`).join('; ')
}
