/**
 * Drill: manifests are edited under load (issue 4, Shows 2). Long-lived HTTP/1.1 and HTTP/2 connections at 200 requests a
 * second and a few idle ones; an edit must be in force on all of them in a second, and no call fails that should pass.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Answer, openHttp1, openHttp2, quantile, startLoad } from '../demo/load.ts'
import { waitFor } from '../demo/process.ts'
import type { Stack } from '../demo/stack.ts'
import { type Claim, claim, type DrillReport, timedClaim } from './report.ts'

const ENFORCED_MS = 1000
/** Longer than the claim, so that a late edit is measured and not only missed. */
const GIVE_UP_MS = 10_000
const IDLE_EACH = 3

const GUESTS = `
---
apiVersion: postern.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: orders-guests, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: orders }]
  rules:
    - from: [{ source: { principals: ["spiffe://shop.example/ns/guests/sa/mallory"] } }]
      to: [{ operation: { methods: [GET], paths: ["/orders/*"] } }]
`

interface Edited {
  /** Milliseconds from the write to the last answer of the old kind, over all busy connections. */
  readonly lastOldMs: number
  readonly idleWrong: number
  /** Answers of the wanted kind on connections that were open before. */
  readonly onOldConnections: number
}

/** The answers of callers whose answer the edit changes, beside idle connections opened before it. */
async function measureEdit(options: {
  readonly stack: Stack
  readonly answers: readonly Answer[]
  readonly write: () => void
  readonly port: number
  readonly path: string
  readonly method?: string
  readonly body?: string
  readonly wanted: number
}): Promise<Edited> {
  const { answers, port, path, wanted } = options
  const base = {
    port,
    path,
    ratePerSecond: 0,
    http1: 0,
    http2: 0,
    ...(options.method === undefined ? {} : { method: options.method }),
    ...(options.body === undefined ? {} : { body: options.body }),
  }
  const idle = Array.from({ length: IDLE_EACH }, (_, i) => [
    openHttp1(`idle1/${i}`, base),
    openHttp2(`idle2/${i}`, base),
  ]).flat()
  for (const connection of idle) await connection.send()
  const seen = answers.length
  const writtenAt = performance.now()
  options.write()
  const isQuiet = () => {
    const since = answers.slice(seen).filter((a) => a.sentAt > writtenAt)
    const lastOld = since.findLast((a) => a.status !== wanted)
    const quietFrom = lastOld === undefined ? writtenAt : lastOld.sentAt
    return since.some((a) => a.status === wanted) && performance.now() - quietFrom > ENFORCED_MS
  }
  await waitFor(`answers of ${wanted} after an edit`, isQuiet, { timeoutMs: GIVE_UP_MS }).catch(
    () => undefined,
  )
  const since = answers.slice(seen).filter((a) => a.sentAt > writtenAt)
  const old = since.filter((a) => a.status !== wanted)
  const idleAnswers = await Promise.all(idle.map((c) => c.send()))
  for (const connection of idle) connection.close()
  return {
    lastOldMs: Math.max(0, ...old.map((a) => a.sentAt - writtenAt)),
    idleWrong: idleAnswers.filter((a) => a.status !== wanted || !a.reused).length,
    onOldConnections: since.filter((a) => a.status === wanted && a.reused).length,
  }
}

function failuresOf(answers: readonly Answer[], allowed: number): Answer[] {
  return answers.filter((a) => a.status !== allowed)
}

function show(answers: readonly Answer[]): string {
  const kinds = new Map<string, number>()
  for (const a of answers) {
    const kind = `${a.status}${a.error === undefined ? '' : ` ${a.error}`} on ${a.connection}`
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  }
  return [...kinds].map(([kind, n]) => `${n} × ${kind}`).join(', ') || '0'
}

/** Rules: a stranger is let in and shut out again, `rounds` times. */
export async function drillRulesEdit(stack: Stack, rounds: number): Promise<DrillReport> {
  const file = join(stack.manifests, 'orders.yaml')
  const before = readFileSync(file, 'utf8')
  const common = { path: '/orders/42', http1: 4, http2: 2 }
  const allowed = startLoad({ ...common, port: stack.ports.webToOrders, ratePerSecond: 200 })
  const stranger = startLoad({ ...common, port: stack.ports.malloryToOrders, ratePerSecond: 50 })
  const edits: Edited[] = []
  const measure = (wanted: number, text: string) =>
    measureEdit({
      stack,
      answers: stranger.answers,
      write: () => writeFileSync(file, text),
      port: stack.ports.malloryToOrders,
      path: '/orders/42',
      wanted,
    })
  try {
    const isWarm = () => allowed.answers.length > 100 && stranger.answers.length > 20
    await waitFor('the load to be there', isWarm, { timeoutMs: GIVE_UP_MS })
    for (let i = 0; i < rounds; i++) {
      edits.push(await measure(200, before + GUESTS))
      edits.push(await measure(403, before))
    }
  } finally {
    writeFileSync(file, before)
    await Promise.all([allowed.stop(), stranger.stop()])
  }
  return { name: 'rules are edited under load', claims: claimsOf(edits, allowed.answers, 200) }
}

/** Rego that reads the body: the limit of a charge is lowered and raised again, `rounds` times. */
export async function drillRegoEdit(stack: Stack, rounds: number): Promise<DrillReport> {
  const file = join(stack.manifests, 'payments.yaml')
  const before = readFileSync(file, 'utf8')
  const lowered = before.replace('amount <= 1000', 'amount <= 100')
  const call = {
    port: stack.ports.ordersToPayments,
    path: '/charge',
    method: 'POST',
    host: 'payments.shop',
  }
  const common = { ...call, http1: 4, http2: 2 }
  const allowed = startLoad({ ...common, body: '{"amount":25}', ratePerSecond: 100 })
  const changing = startLoad({ ...common, body: '{"amount":500}', ratePerSecond: 50 })
  const edits: Edited[] = []
  const measure = (wanted: number, text: string) =>
    measureEdit({
      stack,
      answers: changing.answers,
      write: () => writeFileSync(file, text),
      port: call.port,
      path: call.path,
      method: 'POST',
      body: '{"amount":500}',
      wanted,
    })
  try {
    const isWarm = () => allowed.answers.length > 50 && changing.answers.length > 20
    await waitFor('the load to be there', isWarm, { timeoutMs: GIVE_UP_MS })
    for (let i = 0; i < rounds; i++) {
      edits.push(await measure(403, lowered))
      edits.push(await measure(200, before))
    }
  } finally {
    writeFileSync(file, before)
    await Promise.all([allowed.stop(), changing.stop()])
  }
  return { name: 'Rego is edited under load', claims: claimsOf(edits, allowed.answers, 200) }
}

function claimsOf(edits: readonly Edited[], allowed: readonly Answer[], status: number): Claim[] {
  const times = edits.map((e) => e.lastOldMs)
  const failures = failuresOf(allowed, status)
  const idleWrong = edits.reduce((n, e) => n + e.idleWrong, 0)
  const slowest = Math.max(...times)
  const onOld = Math.min(...edits.map((e) => e.onOldConnections))
  return [
    timedClaim(
      `each of ${edits.length} edits is in force within ${ENFORCED_MS} ms on every busy connection`,
      slowest <= ENFORCED_MS,
      `last answer of the old kind: median ${quantile(times, 0.5).toFixed(0)} ms, worst ${slowest.toFixed(0)} ms after the write`,
    ),
    claim(
      'connections that were open before the edit obey it',
      onOld > 0,
      `at least ${onOld} answers on such connections an edit`,
    ),
    claim(
      'connections that were idle obey it with their next request',
      idleWrong === 0,
      `${idleWrong} wrong of ${edits.length * IDLE_EACH * 2}`,
    ),
    claim(
      `no call fails that should pass, before, during or after (${allowed.length} calls)`,
      failures.length === 0,
      show(failures),
    ),
  ]
}
