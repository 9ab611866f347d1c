/**
 * `make bench`, standalone part: start time to the first answered call, memory at rest, and what a hop through the mesh
 * costs with each kind of decision. All in one run on one stack; writes the README's figures with commit and machine.
 * Latency is measured closed-loop on one keep-alive connection, the kinds taking turns, so that drift hits all alike.
 */
import { execFileSync } from 'node:child_process'
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type LoadOptions, openHttp1, quantile } from '../demo/load.ts'
import { probe, waitFor } from '../demo/process.ts'
import { WORKLOADS } from '../demo/shop.ts'
import { Stack } from '../demo/stack.ts'
import { openWork } from '../demo/work.ts'
import { envoyOf } from '../drills/outage.ts'

const README = fileURLToPath(new URL('../README.md', import.meta.url))
const PORT_OFFSET = 2000
const ROUNDS = 20
const CALLS_A_ROUND = 100
const GIVE_UP_MS = 30_000

/** 1,000 principals on orders: ten policies of a hundred rules, none of which lets the caller in. */
const POLICIES = 10
const RULES_EACH = 100

function manyRules(): string {
  const rule = (i: number) =>
    `    - { from: [{ source: { principals: ["spiffe://shop.example/ns/shop/sa/caller-${i}"] } }], to: [{ operation: { methods: [GET], paths: ["/items/*"] } }] }`
  const policy = (n: number) => `
---
apiVersion: postern.dev/v1alpha1
kind: AuthorizationPolicy
metadata: { name: bench-${n}, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: orders }]
  rules:
${Array.from({ length: RULES_EACH }, (_, i) => rule(n * RULES_EACH + i)).join('\n')}
`
  return Array.from({ length: POLICIES }, (_, n) => policy(n)).join('')
}

interface Series {
  readonly name: string
  readonly options: LoadOptions
  readonly times: number[]
}

function series(name: string, port: number, path: string, body?: string): Series {
  const base = { port, path, ratePerSecond: 0, http1: 1, http2: 0 }
  return { name, options: body === undefined ? base : { ...base, method: 'POST', body }, times: [] }
}

async function callMany(connection: ReturnType<typeof openHttp1>): Promise<number[]> {
  const times: number[] = []
  for (let call = 0; call < CALLS_A_ROUND; call++) {
    const { status, error, ms } = await connection.send()
    if (status !== 200) throw new Error(`${connection.name}: ${status} ${error ?? ''}`)
    times.push(ms)
  }
  return times
}

async function measureLatency(all: readonly Series[]): Promise<void> {
  const pairs = all.map((s) => ({ connection: openHttp1(s.name, s.options), times: s.times }))
  // The first round warms connections and JIT and is thrown away.
  for (const { connection } of pairs) await callMany(connection)
  for (let round = 0; round < ROUNDS; round++) {
    for (const { connection, times } of pairs) times.push(...(await callMany(connection)))
  }
  for (const { connection } of pairs) connection.close()
}

/** Resident memory in MiB. Source: proc(5), VmRSS. */
function residentMiB(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kib) / 1024
}

async function measureStart(stack: Stack): Promise<{ firstCallMs: number; sidecarMs: number }> {
  stack.startApps()
  const start = performance.now()
  await stack.startController()
  await Promise.all(WORKLOADS.map((w) => stack.startSidecar(w)))
  const passes = async () => (await probe(stack.ports.webToOrders, '/orders/42')) === 200
  await waitFor('the first answered call', passes, { timeoutMs: GIVE_UP_MS })
  const firstCallMs = performance.now() - start
  await Promise.all(WORKLOADS.map((w) => stack.untilReady(w)))
  const sidecar = stack.sidecars.get('shop/orders')
  await sidecar?.stop()
  const again = performance.now()
  await stack.startSidecar('shop/orders')
  await waitFor('calls after a restart', passes, { timeoutMs: GIVE_UP_MS })
  return { firstCallMs, sidecarMs: performance.now() - again }
}

function formatMs(value: number): string {
  return value.toFixed(2)
}

interface Figures {
  readonly start: { firstCallMs: number; sidecarMs: number }
  readonly memory: readonly (readonly [string, number])[]
  readonly latency: readonly Series[]
}

function formatMachine(): string {
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
  const cpus = os.cpus()
  const model = cpus.map((c) => c.model)[0]
  const day = new Date().toISOString().slice(0, 10)
  return `Commit ${commit}, ${day}, ${cpus.length} × ${model}, Linux ${os.release()}; everything, also the apps and the load, on these cores.`
}

function formatLatency(latency: readonly Series[]): string[] {
  const medians = latency.map((s) => quantile(s.times, 0.5))
  return latency.map((s, i) => {
    const median = medians[i] ?? Number.NaN
    const over = median - (medians[0] ?? Number.NaN)
    return `| ${s.name} | ${formatMs(median)} | ${formatMs(over)} | ${formatMs(quantile(s.times, 0.99))} |`
  })
}

function formatFigures({ start, memory, latency }: Figures): string {
  return [
    formatMachine(),
    '',
    '| | |',
    '| --- | --- |',
    `| start of controller, 4 sidecars and 4 Envoys, all at once, to the first answered call | ${(start.firstCallMs / 1000).toFixed(1)} s |`,
    `| restart of one sidecar with its Envoy to the next answered call | ${(start.sidecarMs / 1000).toFixed(1)} s |`,
    ...memory.map(([name, mib]) => `| memory at rest, ${name} (RSS) | ${mib.toFixed(0)} MiB |`),
    '',
    `| one call, HTTP/1.1 keep-alive, ${ROUNDS * CALLS_A_ROUND} each | median ms | over direct | p99 ms |`,
    '| --- | --- | --- | --- |',
    ...formatLatency(latency),
  ].join('\n')
}

function writeFigures(figures: string): void {
  const text = readFileSync(README, 'utf8')
  const [begin, end] = ['<!-- figures:begin -->', '<!-- figures:end -->']
  const [a, b] = [text.indexOf(begin), text.indexOf(end)]
  if (a < 0 || b < a) throw new Error(`README.md lacks ${begin} … ${end}`)
  writeFileSync(README, `${text.slice(0, a + begin.length)}\n${figures}\n${text.slice(b)}`)
}

function measureMemory(stack: Stack): [string, number][] {
  const sidecar = stack.sidecars.get('shop/payments')?.pid ?? -1
  const envoy = envoyOf(sidecar) ?? -1
  return [
    ['controller', residentMiB(stack.controller?.pid ?? -1)],
    ['sidecar with a Rego policy', residentMiB(sidecar)],
    ['its Envoy', residentMiB(envoy)],
  ]
}

async function bench(stack: Stack): Promise<string> {
  const start = await measureStart(stack)
  const memory = measureMemory(stack)
  const { ports } = stack
  const charge = '{"amount":25}'
  const few = [
    series('the app, called directly', 21103 + PORT_OFFSET, '/charge', charge),
    series('through two Envoys, mTLS, rules (RBAC tree, 3 rules)', ports.webToOrders, '/orders/42'),
    series('the same, Rego that reads the body (WASM)', ports.ordersToPayments, '/charge', charge),
  ]
  await measureLatency(few)
  appendFileSync(join(stack.manifests, 'orders.yaml'), manyRules())
  const last = new RegExp(`bench-${POLICIES - 1} .* 1/1 `)
  const isThere = async () =>
    last.test(await stack.postern('get', 'authorizationpolicies', '-n', 'shop'))
  await waitFor('1,000 rules to be enforced', isThere, { timeoutMs: GIVE_UP_MS })
  const many = [
    series('the app, called directly', 21103 + PORT_OFFSET, '/charge', charge),
    series(
      'through two Envoys, mTLS, rules (RBAC tree, 1,003 rules)',
      ports.webToOrders,
      '/orders/42',
    ),
  ]
  await measureLatency(many)
  return formatFigures({ start, memory, latency: [...few, ...many.slice(1)] })
}

if (import.meta.main) {
  const work = await openWork('bench')
  const stack = new Stack({ work: work.path, portOffset: PORT_OFFSET })
  try {
    const figures = await bench(stack)
    writeFigures(figures)
    process.stdout.write(`${figures}\n`)
  } finally {
    await stack.stop()
    await work.end()
  }
}
