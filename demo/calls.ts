/**
 * The demo's calls: who calls whom, with what, what must come of it. Apps are stood in for by whoever connects to their
 * outbound port; attackers send raw bytes to an Envoy's inbound port.
 */

import type { DecisionRecord } from '../common/decision.ts'
import {
  exchange,
  type RawRequest,
  type Reply,
  request,
  request2,
  type TlsIdentity,
} from './client.ts'
import { readDecisions } from './decisions.ts'
import { type Question, questionOf } from './questions.ts'
import { type Ports, WORKLOADS } from './shop.ts'
import type { Stack } from './stack.ts'

export interface Outcome {
  readonly got: string
  /** UUID of the decision, when the answer told it. */
  readonly decisionId?: string
  /** Knows the decision's record by something else. */
  readonly isRecord?: (record: DecisionRecord) => boolean
  /** Who decided, when no decision record says so. */
  readonly decidedBy?: string
}

export interface Call {
  readonly caller: string
  readonly callee: string
  readonly request: string
  readonly expected: string
  /** The same for `postern explain request`. */
  readonly question: Question
  readonly run: () => Promise<Outcome>
}

export interface Identities {
  /** A valid SVID of shop/tester, for raw TLS. */
  readonly tester: TlsIdentity
  /** Claims web's SPIFFE id, signed by another CA. */
  readonly rogue: TlsIdentity
}

/** What an app says that it saw: the JSON of service.ts. */
interface Seen {
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly did?: { readonly orders?: { readonly status: number } }
}

export function seenBy(reply: Reply): Seen {
  try {
    return JSON.parse(reply.body) as Seen
  } catch {
    return {}
  }
}

/** Status, and the id of the decision: from the answer when denied, else from what the app got. */
export function toOutcome(reply: Reply, suffix = ''): Outcome {
  if (reply.status === undefined) {
    return { got: 'refused', decidedBy: `TLS handshake (${reply.ended})` }
  }
  const id =
    reply.headers['x-postern-decision-id'] ?? seenBy(reply).headers?.['x-postern-decision-id']
  return { got: `${reply.status}${suffix}`, ...(id === undefined ? {} : { decisionId: id }) }
}

/** Whose certificate each identity is, as far as this mesh's CA vouches for it. */
type Principals = ReadonlyMap<TlsIdentity | undefined, string>

interface Parties {
  readonly ports: Ports
  readonly principals: Principals
}

interface HttpOptions {
  readonly label?: string
  readonly identity?: TlsIdentity
  readonly note?: (reply: Reply) => string
}

/** Makes calls by HTTP/1.1. */
function httpOf({ ports, principals }: Parties) {
  return (
    [caller, callee, port]: readonly [string, string, number],
    what: RawRequest,
    expected: string,
    { label, identity, note }: HttpOptions = {},
  ): Call => ({
    caller,
    callee,
    request: label ?? `${what.method ?? 'GET'} ${what.path}`,
    expected,
    question: questionOf(ports, port, what, identity && { principal: principals.get(identity) }),
    run: async () => {
      const reply = await request(port, what, identity)
      return toOutcome(reply, note?.(reply) ?? '')
    },
  })
}

const JSON_TYPE = [['content-type', 'application/json']] as const
const charge = (body: string): RawRequest => ({
  method: 'POST',
  path: '/charge',
  host: 'payments.shop',
  headers: JSON_TYPE,
  body,
})

function everydayCalls(parties: Parties): Call[] {
  const http = httpOf(parties)
  const { ports } = parties
  const webToOrders = ['web', 'orders', ports.webToOrders] as const
  const ordersToPayments = ['orders', 'payments', ports.ordersToPayments] as const
  return [
    http(
      ['a browser', 'web → orders → payments', ports.web],
      { path: '/checkout', host: 'web.shop' },
      '200 200',
      {
        label: 'GET /checkout (plaintext)',
        note: (reply) => ` ${seenBy(reply).did?.orders?.status ?? ''}`,
      },
    ),
    http(webToOrders, { path: '/orders/42' }, '200'),
    http(webToOrders, { path: '/orders?open=1' }, '200'),
    {
      caller: 'web',
      callee: 'orders',
      request: 'GET /orders (HTTP/2)',
      expected: '200',
      question: questionOf(ports, ports.webToOrders, { path: '/orders' }),
      run: async () => toOutcome(await request2(ports.webToOrders, { path: '/orders' })),
    },
    http(webToOrders, { method: 'DELETE', path: '/orders/42' }, '403'),
    http(['web', 'payments', ports.webToPayments], charge('{"amount":25}'), '403'),
    http(ordersToPayments, charge('{"amount":25}'), '200', {
      label: 'POST /charge amount 25',
    }),
    http(ordersToPayments, charge('{"amount":5000}'), '403', {
      label: 'POST /charge amount 5000',
    }),
    http(ordersToPayments, charge('{"amount":'), '400', {
      label: 'POST /charge (half a JSON)',
    }),
  ]
}

/** A TCP connection has no answer that could carry an id: its record is found by who called, and when. */
async function callTcp(port: number, principal: string): Promise<Outcome> {
  const line = 'order 42\n'
  const expected = `booked ${line}`
  const since = Date.now()
  const { bytes } = await exchange(port, Buffer.from(line), {
    isEnough: (b) => b.length >= expected.length,
  })
  return {
    got: bytes.toString() === expected ? 'booked' : 'closed',
    isRecord: ({ postern, timestamp }) =>
      postern.method === undefined &&
      postern.source === principal &&
      Date.parse(timestamp) >= since,
  }
}

function tcp(
  ports: Ports,
  [namespace, name]: readonly [string, string],
  port: number,
  expected: string,
): Call {
  const principal = `spiffe://shop.example/ns/${namespace}/sa/${name}`
  return {
    caller: name,
    callee: 'payments',
    request: 'TCP "order 42"',
    expected,
    question: questionOf(ports, port, { path: '' }),
    run: () => callTcp(port, principal),
  }
}

/** Who has no certificate of this mesh, or one that no policy names. */
function strangers(parties: Parties, { rogue }: Identities): Call[] {
  const http = httpOf(parties)
  const { ports } = parties
  return [
    http(['mallory', 'orders', ports.malloryToOrders], { path: '/orders/42' }, '403'),
    http(['mallory', 'payments', ports.malloryToPayments], charge('{"amount":25}'), '403'),
    tcp(ports, ['guests', 'mallory'], ports.malloryToLedger, 'closed'),
    http(['nobody', 'orders', ports.orders], { path: '/orders/42' }, 'refused', {
      label: 'GET /orders/42 (plaintext)',
    }),
    http(['nobody', 'orders', ports.orders], { path: '/orders/42' }, 'refused', {
      label: 'GET /orders/42 (no certificate)',
      identity: {},
    }),
    http(['rogue CA', 'orders', ports.orders], { path: '/orders/42' }, 'refused', {
      label: 'GET /orders/42 (as web)',
      identity: rogue,
    }),
  ]
}

/** A known caller that tries to be read in two ways. */
function tricks(parties: Parties, { tester }: Identities): Call[] {
  const http = httpOf(parties)
  const raw = ['tester', 'orders', parties.ports.orders] as const
  const viaTester = { identity: tester }
  const forged = 'By=spiffe://x;URI=spiffe://shop.example/ns/shop/sa/web'
  return [
    http(raw, { path: '/public/prices' }, '200', viaTester),
    http(raw, { path: '/orders/42' }, '403', viaTester),
    http(raw, { path: '/public/../admin' }, '403', viaTester),
    http(raw, { path: '/public/%2e%2e/admin' }, '403', viaTester),
    http(raw, { path: '/public/%2e%2e%2fadmin' }, '403', viaTester),
    http(raw, { path: '//admin' }, '403', viaTester),
    http(raw, { path: '/admin?/public/' }, '403', viaTester),
    http(raw, { path: '/public/%zz' }, '403', viaTester),
    http(raw, { path: '/public/prices', host: 'INTERNAL.orders.shop:8443' }, '403', {
      ...viaTester,
      label: 'GET /public/prices HOST:PORT',
    }),
    http(raw, { path: '/public/prices', headers: [['host', 'internal.orders.shop']] }, '403', {
      ...viaTester,
      label: 'GET /public/prices, Host twice',
    }),
    http(
      raw,
      { path: '/public/prices', headers: [['x-forwarded-client-cert', forged]] },
      '200 stripped',
      {
        ...viaTester,
        label: 'forged x-forwarded-client-cert',
        note: (reply) => {
          const xfcc = seenBy(reply).headers?.['x-forwarded-client-cert'] ?? ''
          return xfcc.includes('sa/tester') && !xfcc.includes('sa/web') ? ' stripped' : ` ${xfcc}`
        },
      },
    ),
  ]
}

/** The calls that need nothing but the running stack. */
export function calls(ports: Ports, identities: Identities): Call[] {
  const id = 'spiffe://shop.example/ns/shop/sa/tester'
  const parties = { ports, principals: new Map([[identities.tester, id]]) }
  return [
    ...everydayCalls(parties),
    tcp(ports, ['shop', 'orders'], ports.ordersToLedger, 'booked'),
    ...strangers(parties, identities),
    ...tricks(parties, identities),
  ]
}

/** The record of a decision in any sidecar's log. */
export function findDecision(stack: Stack, outcome: Outcome): DecisionRecord | undefined {
  const { decisionId } = outcome
  const isIt = outcome.isRecord ?? ((r: DecisionRecord) => r.decision_id === decisionId)
  for (const workload of WORKLOADS) {
    const found = readDecisions(stack.decisionLog(workload)).find(isIt)
    if (found !== undefined) return found
  }
  return undefined
}
