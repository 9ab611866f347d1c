/**
 * `make demo`: starts the shop with all real parts, makes the calls, prints the table, exits 1 when one row differs.
 * KEEP=1 keeps it up until Ctrl-C and prints what to try. Nothing of it is left behind, also when a signal ends it.
 */
import { constants } from 'node:os'
import { join } from 'node:path'
import { formatTable } from '../cli/output/table.ts'
import type { DecisionRecord } from '../common/decision.ts'
import { type Call, calls, findDecision, type Outcome } from './calls.ts'
import { describeDecision } from './decisions.ts'
import { edits } from './edits.ts'
import { isFree, waitFor } from './process.ts'
import { askExplain, differenceOf } from './questions.ts'
import { makeRogueIdentity } from './rogue.ts'
import { portsOf, WORKLOADS } from './shop.ts'
import { Stack } from './stack.ts'
import { fetchIdentity } from './tester.ts'
import { openWork } from './work.ts'

/** ALS entries arrive in batches; a record that isn't there by then is missing. */
const RECORD_MS = 3000
const HEADING = [
  '',
  'CALLER',
  'CALLEE',
  'REQUEST',
  'EXPECTED',
  'GOT',
  'DECIDED BY',
  'EXPLAINED',
  'DECISION ID',
  'MS',
]

interface Result {
  readonly ok: boolean
  readonly cells: readonly string[]
}

/** The decision's record; undefined when the call got no decision (it ended in the TLS handshake). */
async function recordOf(stack: Stack, outcome: Outcome): Promise<DecisionRecord | undefined> {
  if (outcome.decisionId === undefined && outcome.isRecord === undefined) return undefined
  let record: DecisionRecord | undefined
  const isThere = () => {
    record = findDecision(stack, outcome)
    return record !== undefined
  }
  const what = `the record of decision ${outcome.decisionId ?? ''}`
  await waitFor(what, isThere, { timeoutMs: RECORD_MS }).catch(() => undefined)
  return record
}

async function makeCall(stack: Stack, call: Call): Promise<Result> {
  const start = performance.now()
  const outcome = await call.run().catch((error: unknown): Outcome => ({ got: String(error) }))
  const ms = Math.round(performance.now() - start)
  const record = await recordOf(stack, outcome)
  const by = record === undefined ? (outcome.decidedBy ?? 'NO RECORD') : describeDecision(record)
  const explained = await explainCall(stack, call, record)
  const ok = outcome.got === call.expected && by !== 'NO RECORD' && explained === '✓'
  const { caller, callee, request, expected } = call
  const id = record?.decision_id ?? outcome.decisionId ?? ''
  return {
    ok,
    cells: [
      ok ? '✓' : '✗',
      caller,
      callee,
      request,
      expected,
      outcome.got,
      by,
      explained,
      id,
      `${ms}`,
    ],
  }
}

/** ✓ when `postern explain request` tells the same decision, policy and rule; else what differs. */
async function explainCall(
  stack: Stack,
  { question }: Call,
  record: DecisionRecord | undefined,
): Promise<string> {
  return await askExplain(stack, question).then(
    (said) => differenceOf(said, record) ?? '✓',
    (error: unknown) => String(error),
  )
}

async function makeCalls(stack: Stack): Promise<readonly Result[]> {
  const tester = await fetchIdentity(stack, 'shop/tester')
  const rogue = makeRogueIdentity('spiffe://shop.example/ns/shop/sa/web')
  const results: Result[] = []
  for (const call of [...calls(stack.ports, { tester, rogue }), ...edits(stack)]) {
    results.push(await makeCall(stack, call))
  }
  return results
}

/** The hints of KEEP=1: every line can be copied as it stands. */
function formatHints(stack: Stack): string {
  const { work, ports } = stack
  const orders = stack.decisionLog('shop/orders')
  return `
The shop is up. In another terminal, from this directory:
  curl -i http://127.0.0.1:${ports.webToOrders}/orders/42                     # as web: allowed
  curl -i http://127.0.0.1:${ports.malloryToOrders}/orders/42                     # as mallory: denied; the answer names its decision
  bin/postern explain decision ID --state ${stack.state}           # why: who decided, and why the others did not
  bin/postern proxy status --state ${stack.state}
  curl -i -d '{"amount":5000}' -H 'content-type: application/json' http://127.0.0.1:${ports.ordersToPayments}/charge
  bin/postern get authorizationpolicies -A --state ${stack.state}
  bin/postern describe authorizationpolicy payments-charge -n shop --state ${stack.state}
  tail -f ${orders}                                     # each decision, one JSON line
  \${EDITOR:-vi} ${join(stack.manifests, 'orders.yaml')}                       # edit a policy: in force at once
Logs are in ${work}. Ctrl-C ends it all.
`
}

/** Resolves with the exit code of the first signal that ends the demo; a second one ends it at once. */
function untilSignal(): Promise<number> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.once(signal, () => resolve(128 + constants.signals[signal]))
    }
  })
}

async function refuseTakenPorts(): Promise<void> {
  for (const port of portsOf(0)) {
    if (!(await isFree(port))) {
      throw new Error(
        `port ${port} is taken by another program; end it (an earlier \`KEEP=1 make demo\`?) and start again`,
      )
    }
  }
}

/** Starts the stack and makes the calls; resolves with whether each row is as expected. */
async function show(stack: Stack, keep: boolean): Promise<boolean> {
  const start = performance.now()
  const seconds = () => ((performance.now() - start) / 1000).toFixed(1)
  await stack.start()
  process.stdout.write(
    `controller, ${WORKLOADS.length} sidecars with Envoy and 3 apps are up after ${seconds()} s\n\n`,
  )
  const results = await makeCalls(stack)
  process.stdout.write(formatTable([HEADING, ...results.map((r) => r.cells)]))
  const wrong = results.filter((r) => !r.ok).length
  const right = results.length - wrong
  process.stdout.write(`\n${right} of ${results.length} calls as expected, ${seconds()} s\n`)
  if (keep) process.stdout.write(formatHints(stack))
  return wrong === 0
}

/** Resolves with the exit code: 0, 1 when a row differs, or a signal's when it came before the table was there. */
export async function runDemo(keep: boolean): Promise<number> {
  await refuseTakenPorts()
  const signal = untilSignal()
  const work = await openWork('demo')
  const stack = new Stack({ work: work.path })
  try {
    const code = await Promise.race([
      show(stack, keep).then((isRight) => (isRight ? 0 : 1)),
      signal,
    ])
    if (keep) await signal
    return code
  } finally {
    await stack.stop()
    const kept = await work.end()
    if (kept !== undefined) process.stdout.write(`logs are kept in ${kept}\n`)
  }
}

if (import.meta.main) {
  // Calls that a signal cut short have timers and sockets of their own: nothing waits for them.
  const code = await runDemo(process.env.KEEP === '1').catch((error: unknown) => {
    process.stderr.write(`${String(error)}\n`)
    return 1
  })
  process.exit(code)
}
