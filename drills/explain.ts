/**
 * Drill: `postern explain request` against what really happens (issue 5, Shows 9). Random policies on a real stack,
 * random requests through its Envoy; each is explained from what the proxy enforces, and the explanation must name the
 * decision, policy, rule and lane that the decision record of the real call has.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { askController } from '../cli/admin-client.ts'
import type { AskedRequest, Grounds } from '../cli/explain/asked.ts'
import type { Explanation } from '../cli/explain/explain.ts'
import { explainAll } from '../cli/explain/request.ts'
import type { DecisionRecord } from '../common/decision.ts'
import { MESH_ALPN } from '../controller/core/xds/names.ts'
import { seenBy } from '../demo/calls.ts'
import {
  exchange,
  fromBytes,
  isWhole,
  type Reply,
  type TlsIdentity,
  toBytes,
} from '../demo/client.ts'
import { readDecisions } from '../demo/decisions.ts'
import { waitFor } from '../demo/process.ts'
import { differenceOf } from '../demo/questions.ts'
import type { Stack } from '../demo/stack.ts'
import { fetchIdentity } from '../demo/tester.ts'
import { SidecarThread } from '../sidecar/explain.ts'
import { seededRandom } from '../test/kit/differential/random.ts'
import {
  CALLERS,
  CALLERS_MANIFEST,
  type Caller,
  type RandomCase,
  randomCase,
  randomPolicies,
} from './explain-cases.ts'
import { claim, type DrillReport } from './report.ts'

/** What the drill's stack has beside the shop's. */
export const EXPLAIN_STACK = { more: { 'callers.yaml': CALLERS_MANIFEST } }

const CALLEE = 'shop/orders'
const CASES_PER_ROUND = 25
const AT_ONCE = 4
/** By this token a PERMISSIVE port tells the mesh's TLS from an app's own. */
const MESH = { ALPNProtocols: [MESH_ALPN, 'http/1.1'] }
const ENFORCED_MS = 30_000
const RECORDED_MS = 5000

interface Made {
  readonly what: RandomCase
  readonly reply: Reply
  readonly said: Explanation
}

/** `count` random requests, 25 to each random set of policies. */
export async function drillExplain(
  stack: Stack,
  options: { readonly count: number; readonly seed: number },
): Promise<DrillReport> {
  const random = seededRandom(options.seed)
  const identities = new Map<Caller, TlsIdentity>([['no certificate', MESH]])
  for (const caller of CALLERS) {
    identities.set(caller, { ...(await fetchIdentity(stack, caller)), ...MESH })
  }
  const sidecar = new SidecarThread()
  const judged: Judged[] = []
  try {
    while (judged.length < options.count) {
      const grounds = await enforce(stack, randomPolicies(random, stack.ports.orders))
      const size = Math.min(CASES_PER_ROUND, options.count - judged.length)
      const cases = Array.from({ length: size }, () => randomCase(random))
      const calls = await callAll(stack, grounds, { cases, identities, sidecar })
      const records = await recordsOf(stack, calls)
      judged.push(...calls.map((call) => toJudged(call, records)))
    }
  } finally {
    await sidecar.close()
  }
  return toReport(judged)
}

interface Judged {
  /** Where it is decided, and how. */
  readonly kind: string
  /** Absent: the explanation is right. */
  readonly difference?: string
}

function toJudged(call: Made, records: ReadonlyMap<string, DecisionRecord>): Judged {
  const kind = `${call.said.decidedIn} ${call.said.allowed ? 'allowed' : 'denied'}`
  const wrong = judge(call, records)
  return wrong === undefined
    ? { kind }
    : { kind, difference: `${wrong}: ${JSON.stringify(call.what)}` }
}

function toReport(judged: readonly Judged[]): DrillReport {
  const tally = new Map<string, number>()
  for (const { kind } of judged) tally.set(kind, (tally.get(kind) ?? 0) + 1)
  const kinds = [...tally].sort().map(([kind, n]) => `${kind} ${n}`)
  const differences = judged.flatMap(({ difference }) => difference ?? [])
  const first = differences[0] === undefined ? '' : `, the first: ${differences[0].slice(0, 700)}`
  const lanes = ['rbac allowed', 'rbac denied', 'wasm allowed', 'wasm denied']
  return {
    name: 'explain request and real calls',
    claims: [
      claim(
        'decision, policy, rule, lane and status are those of the real call',
        differences.length === 0,
        `${differences.length} differences in ${judged.length} requests (${kinds.join(', ')})${first}`,
      ),
      claim(
        'each lane allowed and denied',
        lanes.every((lane) => tally.has(lane)),
        kinds.join(', '),
      ),
    ],
  }
}

/** Writes the policies and waits until the callee's proxy enforces them. */
async function enforce(stack: Stack, text: string): Promise<Grounds> {
  const ask = async () => (await askController(stack.state, 'GET', `/grounds/${CALLEE}`)) as Grounds
  const before = (await ask()).versions.at(-1)?.revision
  writeFileSync(join(stack.manifests, 'orders.yaml'), text)
  let grounds: Grounds | undefined
  const isEnforced = async () => {
    const { items } = (await askController(stack.state, 'GET', '/problems')) as {
      items: readonly { readonly source?: { readonly file: string } }[]
    }
    const own = items.filter((p) => p.source?.file === 'orders.yaml')
    if (own.length > 0)
      throw new Error(`the random policies are refused: ${JSON.stringify(own[0])}`)
    grounds = await ask()
    const [only, ...others] = grounds.versions
    return (
      others.length === 0 && only?.revision !== before && only?.roles.includes('enforced') === true
    )
  }
  await waitFor('the random policies to be enforced', isEnforced, { timeoutMs: ENFORCED_MS })
  if (grounds === undefined) throw new Error('no grounds')
  return grounds
}

interface Round {
  readonly cases: readonly RandomCase[]
  readonly identities: ReadonlyMap<Caller, TlsIdentity>
  readonly sidecar: SidecarThread
}

async function callAll(stack: Stack, grounds: Grounds, round: Round): Promise<readonly Made[]> {
  const made: Made[] = []
  let next = 0
  const work = async () => {
    for (let what = round.cases[next++]; what !== undefined; what = round.cases[next++]) {
      const identity = round.identities.get(what.caller)
      const { sourceAddress: localAddress } = what
      const { bytes, ended } = await exchange(stack.ports.orders, toBytes(what), {
        isEnough: isWhole,
        localAddress,
        ...(identity === undefined ? {} : { tls: identity }),
      })
      const asked = toAsked(what, stack.ports.orders)
      const nowNs = BigInt(Date.now()) * 1_000_000n
      const [said] = await explainAll(grounds, asked, { nowNs, sidecar: round.sidecar })
      if (said === undefined) throw new Error('no explanation')
      made.push({ what, reply: fromBytes(bytes, ended), said })
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return made
}

function toAsked(what: RandomCase, port: number): AskedRequest {
  const { caller, body, ...request } = what
  const [namespace, name] = caller.split('/')
  return {
    ...request,
    port,
    transport: caller === 'plaintext' ? 'plaintext' : 'tls',
    principal: name === undefined ? undefined : `spiffe://shop.example/ns/${namespace}/sa/${name}`,
    ...(body === undefined ? {} : { body: Buffer.from(body) }),
  }
}

function idOf({ reply }: Made): string | undefined {
  const { headers } = reply
  return headers['x-postern-decision-id'] ?? seenBy(reply).headers?.['x-postern-decision-id']
}

/** By id; resolves when every answer that told an id has its record. */
async function recordsOf(
  stack: Stack,
  calls: readonly Made[],
): Promise<ReadonlyMap<string, DecisionRecord>> {
  const wanted = calls.flatMap((call) => idOf(call) ?? [])
  let records = new Map<string, DecisionRecord>()
  const areThere = () => {
    records = new Map(readDecisions(stack.decisionLog(CALLEE)).map((r) => [r.decision_id, r]))
    return wanted.every((id) => records.has(id))
  }
  await waitFor('the decisions’ records', areThere, { timeoutMs: RECORDED_MS })
  return records
}

/** What differs; undefined: nothing. */
function judge(call: Made, records: ReadonlyMap<string, DecisionRecord>): string | undefined {
  const { reply, said } = call
  const id = idOf(call)
  const difference = differenceOf(said, id === undefined ? undefined : records.get(id))
  if (difference !== undefined) return `${difference} (${reply.status ?? reply.ended})`
  if (said.decidedIn === 'connection' && reply.status !== undefined) {
    return `explained as no connection, really ${reply.status}`
  }
  if (said.decidedIn === 'http' && reply.status !== said.httpStatus) {
    return `explained as ${said.httpStatus} before any policy, really ${reply.status}`
  }
  return undefined
}
