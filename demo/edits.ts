/**
 * The demo's edits: a policy is changed while a connection that was opened before stays in use; a broken one changes nothing.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { join } from 'node:path'
import type { Call, Outcome } from './calls.ts'
import { request } from './client.ts'
import { waitFor } from './process.ts'
import { questionOf } from './questions.ts'
import type { Stack } from './stack.ts'

/** An edit must be in force within this (issue: ≤ 1 s); the demo shows how long it took. */
const EDIT_MS = 5000

const GUEST_POLICY = `
---
apiVersion: postern.dev/v1alpha1
kind: AuthorizationPolicy
metadata:
  name: orders-guests
  namespace: shop
spec:
  targetRefs:
    - { group: "", kind: Service, name: orders }
  action: ALLOW
  rules:
    - from:
        - source: { principals: ["spiffe://shop.example/ns/guests/sa/mallory"] }
      to:
        - operation: { methods: [GET], paths: ["/orders/*"] }
`

/** One keep-alive connection; `get` uses it again and again. */
export function openConnection(port: number) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const get = (
    path: string,
  ): Promise<{ status: number; id: string | undefined; reused: boolean }> =>
    new Promise((resolve, reject) => {
      const call = http.get(
        { host: '127.0.0.1', port, path, agent, headers: { host: 'orders.shop' } },
        (response) => {
          const chunks: Buffer[] = []
          response.on('data', (chunk: Buffer) => chunks.push(chunk))
          response.on('end', () => {
            const denied = response.headers['x-postern-decision-id']
            resolve({
              status: response.statusCode ?? 0,
              id: typeof denied === 'string' ? denied : idIn(Buffer.concat(chunks).toString()),
              reused: call.reusedSocket,
            })
          })
        },
      )
      call.on('error', reject)
    })
  return { get, close: () => agent.destroy() }
}

function idIn(body: string): string | undefined {
  return /"x-postern-decision-id":"([0-9a-f-]{36})"/.exec(body)?.[1]
}

/** Appends or takes away text of a manifest, and calls until the answer is the wanted one. */
async function untilStatus(
  connection: ReturnType<typeof openConnection>,
  wanted: number,
): Promise<Outcome> {
  let last = await connection.get('/orders/42')
  await waitFor(
    `an edit to be enforced (${wanted})`,
    async () => {
      last = await connection.get('/orders/42')
      return last.status === wanted
    },
    { timeoutMs: EDIT_MS },
  )
  const note = last.reused ? '' : ' (new connection)'
  return { got: `${last.status}${note}`, ...(last.id === undefined ? {} : { decisionId: last.id }) }
}

function guestEdits(stack: Stack): Call[] {
  const file = join(stack.manifests, 'orders.yaml')
  const before = readFileSync(file, 'utf8')
  const connection = openConnection(stack.ports.malloryToOrders)
  const question = questionOf(stack.ports, stack.ports.malloryToOrders, { path: '/orders/42' })
  const base = { caller: 'mallory', callee: 'orders', question }
  return [
    {
      ...base,
      request: 'GET /orders/42 after an edit allows it',
      expected: '200',
      run: async () => {
        await connection.get('/orders/42')
        writeFileSync(file, before + GUEST_POLICY)
        return await untilStatus(connection, 200)
      },
    },
    {
      ...base,
      request: 'GET /orders/42 after the edit is undone',
      expected: '403',
      run: async () => {
        writeFileSync(file, before)
        const outcome = await untilStatus(connection, 403)
        connection.close()
        return outcome
      },
    },
  ]
}

/** Rego that doesn't parse: it is named in the status, and what was enforced stays. */
function brokenEdit(stack: Stack): Call {
  const file = join(stack.manifests, 'payments.yaml')
  const before = readFileSync(file, 'utf8')
  const headers = [['content-type', 'application/json']] as const
  const what = {
    method: 'POST',
    path: '/charge',
    host: 'payments.shop',
    headers,
    body: '{"amount":25}',
  }
  return {
    question: questionOf(stack.ports, stack.ports.ordersToPayments, what),
    caller: 'orders',
    callee: 'payments',
    request: 'POST /charge after a broken edit of its Rego',
    expected: '200 Accepted=False',
    run: async () => {
      writeFileSync(file, before.replace('amount <= 1000\n      }', 'amount <= 1000'))
      const isNamed = async () =>
        (await stack.postern('get', 'problems')).includes('ERR_REGO_PARSE')
      await waitFor('the broken policy to be named', isNamed, { timeoutMs: EDIT_MS })
      const reply = await request(stack.ports.ordersToPayments, what)
      const columns = await stack.postern(
        'get',
        'authorizationpolicy',
        'payments-charge',
        '-n',
        'shop',
      )
      writeFileSync(file, before)
      const id = idIn(reply.body)
      return {
        got: `${reply.status} Accepted=${columns.includes('False') ? 'False' : 'True'}`,
        ...(id === undefined ? {} : { decisionId: id }),
      }
    },
  }
}

export function edits(stack: Stack): Call[] {
  return [...guestEdits(stack), brokenEdit(stack)]
}
