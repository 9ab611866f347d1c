/**
 * What an operator asks, on a real stack: `explain request` agrees with real calls (issue 5, Shows 9; `make proof` makes
 * 1,000), and the command line's answers about proxies hold nothing secret.
 */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { request } from '../../demo/client.ts'
import type { Stack } from '../../demo/stack.ts'
import { drillExplain, EXPLAIN_STACK } from '../../drills/explain.ts'
import { onStack } from '../../drills/main.ts'
import { judge } from '../kit/drill.ts'

const PORT_OFFSET = 8000
const REQUESTS = 100
const POSTERN = join(import.meta.dirname, '../../cli/main.ts')
const run = promisify(execFile)

interface Answer {
  readonly code: number
  readonly out: string
}

async function ask(stack: Stack, ...args: string[]): Promise<Answer> {
  try {
    const { stdout } = await run(process.execPath, [POSTERN, ...args, '--state', stack.state])
    return { code: 0, out: stdout }
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }
    return { code, out: stdout + stderr }
  }
}

t.test('the command line asks a real mesh', { timeout: 180_000 }, async (t) => {
  const reports = await onStack({ ...EXPLAIN_STACK, portOffset: PORT_OFFSET }, async (stack) => {
    await t.test('proxy status: all synced, all enforced', async (t) => {
      const { items } = {
        items: JSON.parse((await ask(stack, 'proxy', 'status', '-o', 'json')).out),
      }
      const own = (items as { workload: string }[]).find((p) => p.workload === 'shop/orders')
      t.match(own, {
        connected: true,
        version: /^\d/,
        envoyVersion: /^\d+\.\d+/,
        sync: { cluster: { status: 'SYNCED' }, listener: { status: 'SYNCED' } },
      })
      t.notOk(own !== undefined && 'lagSeconds' in own, 'no lag')
    })

    await t.test('get all: a table for each kind', async (t) => {
      const { out } = await ask(stack, 'get', 'all', '-A')
      t.match(out, /^authorizationpolicies\nNAMESPACE +NAME +ACTION/m)
      t.match(out, /^meshes\nNAME +TRUST-DOMAIN/m)
    })

    await t.test('proxy config: what Envoy has, without key and secret', async (t) => {
      const { out } = await ask(stack, 'proxy', 'config', 'all', 'shop/orders', '-o', 'json')
      const bootstrap = readFileSync(
        join(stack.stateOf('shop/orders'), 'run/bootstrap.json'),
        'utf8',
      )
      const secret = /"x-postern-secret",\s*"value": "([0-9a-f]+)"/.exec(bootstrap)?.[1] ?? 'none'
      t.equal(secret.length, 64, 'the secret is known to this test')
      t.notOk(out.includes(secret), 'the per-start secret stays')
      t.notMatch(out, /PRIVATE KEY|UFJJVkFURSBLRV/, 'the key stays')
      t.match(JSON.parse(out), {
        secrets: [{ name: 'default', certificates: [{ spiffeId: /sa\/orders$/ }] }, {}],
        policies: { set: { workload: 'shop/orders' }, rbac: [{ name: /^(authz|rbac)\// }] },
        bootstrap: { node: { cluster: 'shop/orders' } },
      })
      const tables = (await ask(stack, 'proxy', 'config', 'all', 'shop/orders')).out
      for (const row of [
        /^inbound\/\d+ +127\.0\.0\.1:\d+ +active/m,
        /^default +certificate +active +spiffe:\/\/shop\.example\/ns\/shop\/sa\/orders/m,
        /^ALLOW +shop\/orders-callers +Enforce/m,
      ]) {
        t.match(tables, row)
      }
    })

    await t.test('a denied call: its decision, and the same foretold', async (t) => {
      const reply = await request(stack.ports.malloryToOrders, { path: '/orders/42' })
      const id = reply.headers['x-postern-decision-id'] ?? ''
      const denied = await untilFound(() => ask(stack, 'explain', 'decision', id))
      t.match(denied, { code: 3, out: /Decided by: +default: no ALLOW policy matches/ })
      t.match(denied.out, /Caller: +spiffe:\/\/shop\.example\/ns\/guests\/sa\/mallory/)
      const to = ['--to', 'shop/orders', '--path', '/orders/42']
      t.match(await ask(stack, 'explain', 'request', '--from', 'guests/mallory', ...to), {
        code: 3,
      })
      t.match(await ask(stack, 'explain', 'request', '--from', 'shop/web', ...to), {
        code: 0,
        out: /Decided by: +shop\/orders-callers\/rules\[0\] \(orders\.yaml:\d+\): it matches/,
      })
      t.match(await ask(stack, 'explain', 'policy', 'orders-callers', '-n', 'shop'), {
        code: 0,
        out: /RBAC \(Envoy\)/,
      })
    })
    return [await drillExplain(stack, { count: REQUESTS, seed: 7 })]
  })
  judge(t, reports)
})

/** What Envoy decides is in the log a moment later. */
async function untilFound(look: () => Promise<Answer>): Promise<Answer> {
  const until = Date.now() + 10_000
  for (;;) {
    const answer = await look()
    if (answer.code !== 1 || Date.now() > until) return answer
  }
}
