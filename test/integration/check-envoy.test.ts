/**
 * The request path behind a real Envoy: the controller's own filters in front, the real check worker behind them, and
 * the decision log that both fill. Plaintext (PERMISSIVE), so that a test needs no certificates to call.
 */
import { createHash } from 'node:crypto'
import { type Test, t } from 'tap'
import type { DecisionRecord } from '../../common/decision.ts'
import { translate } from '../../controller/core/translate/index.ts'
import { buildSnapshot } from '../../controller/core/xds/snapshot.ts'
import { type Seen, startHttpApp } from '../kit/apps.ts'
import { makeBundle, startCheck } from '../kit/check.ts'
import { makeCa } from '../kit/identity.ts'
import { makeInput, makeMesh, makePolicy, makeWorkloadEntry } from '../kit/objects.ts'
import { freePorts } from '../kit/ports.ts'
import { startDecidingEnvoy } from '../kit/raw/world.ts'
import { compileRego } from '../kit/rego.ts'
import { waitFor, waitForPort } from '../kit/wait.ts'

const REGO = `package envoy.authz

http := input.attributes.request.http

default allow := {"allowed": false}

allow := {
	"allowed": true,
	"headers": {"x-user": "ann", "x-many": ["1", "2"]},
	"request_headers_to_remove": ["x-secret"],
	"response_headers_to_add": {"x-answer": "42"},
	"query_parameters_to_set": {"role": "guest"},
	"query_parameters_to_remove": ["debug"],
} if input.parsed_path[0] == "mutate"

allow := {"allowed": true} if {
	input.parsed_path == ["sent"]
	not "x-debug" in object.keys(http.headers)
}

allow := {"allowed": true} if {
	input.parsed_path == ["body"]
	input.parsed_body.ok
	not input.truncated_body
}

allow := {"allowed": false, "http_status": 302, "headers": {"location": "/login"}, "body": "log in"} if {
	input.parsed_path == ["login-first"]
}

allow := {"allowed": true} if {
	input.parsed_path == ["loop"]
	x := data.xs[_]
	y := data.xs[_]
	z := data.xs[_]
	x == "a"
	y == "b"
	z == "c"
}
`

interface World {
  call(
    path: string,
    options?: RequestInit,
  ): Promise<{ status: number; headers: Headers; text: string }>
  /** The one record of the decision that this answer names. */
  recordOf(headers: Headers): Promise<DecisionRecord>
  records(): DecisionRecord[]
}

/** `withRego`: beside the rules; without, Envoy decides all. */
async function startWorld(t: Test, { withRego }: { withRego: boolean }): Promise<World> {
  const [port = 0, appPort = 0] = await freePorts(2)
  await startHttpApp(t, appPort)
  const wasm = await compileRego({ rego: REGO })
  const wasmDigest = createHash('sha256').update(wasm).digest('hex')
  const data = { xs: Array.from({ length: 3000 }, (_x, i) => (i % 2 === 0 ? 'a' : 'b')) }
  const { model } = translate(
    makeInput({
      mesh: makeMesh({ mtls: { mode: 'PERMISSIVE', minTLSVersion: 'TLSv1_3' } }),
      workloadEntries: [
        makeWorkloadEntry('orders', { inbound: [{ name: 'http', port, appPort }] }),
      ],
      policies: [
        {
          object: makePolicy('open', { rules: [{ to: [{ operation: { paths: ['/public'] } }] }] }),
        },
        ...[
          {
            object: makePolicy('rego', {
              rules: [{ to: [{ operation: { notPaths: ['/public'] } }] }],
              rego: { module: REGO, entrypoint: 'envoy/authz/allow', regoVersion: 'V1' },
            }),
            rego: { entrypoint: 'envoy/authz/allow', wasmDigest, data, readsBody: true },
          },
        ].filter(() => withRego),
      ],
    }),
  )
  const workload = model?.workloads.get('shop/orders')
  if (model === undefined || workload === undefined) throw new Error('no model')
  const ca = await makeCa()
  const snapshot = buildSnapshot(workload, model.mesh, { trustBundle: [ca.root.der] })

  const harness = await startCheck()
  t.teardown(() => harness.stop())
  await harness.worker.activate(await makeBundle(workload.policySet, withRego ? [wasm] : []))
  await startDecidingEnvoy(t, { snapshot, ca, harness })
  await waitForPort(port)
  return {
    call: async (path, options = {}) => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, {
        redirect: 'manual',
        ...options,
      })
      return { status: response.status, headers: response.headers, text: await response.text() }
    },
    records: harness.records,
    recordOf: (headers) => {
      const id = headers.get('x-postern-decision-id')
      return waitFor(() => harness.records().find((r) => r.decision_id === id), {
        what: `record ${id}`,
      })
    },
  }
}

t.test('behind a real Envoy', async (t) => {
  const world = await startWorld(t, { withRego: true })
  const json = { 'content-type': 'application/json' }
  const post = (body: string): RequestInit => ({ method: 'POST', headers: json, body })

  await t.test('what the tree allows is recorded with its rule, and only once', async (t) => {
    const answer = await world.call('/public')
    t.equal(answer.status, 200)
    const { headers } = JSON.parse(answer.text) as Seen
    const id = headers['x-postern-decision-id']
    const record = await waitFor(() => world.records().find((r) => r.decision_id === id))
    t.match(record, {
      result: true,
      bundles: { postern: { revision: /^[0-9a-f]{64}$/ } },
      postern: {
        lane: 'rbac',
        allowed: true,
        policy: 'shop/open',
        rule: 'shop/open/rules[0]',
        httpStatus: 200,
      },
    })
  })

  await t.test("a policy's mutations reach the app, whatever the client sent", async (t) => {
    const answer = await world.call('/mutate/x?debug=1&a=b&role=admin', {
      headers: { 'x-user': 'admin', 'x-many': '0', 'x-secret': 's' },
    })
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('x-answer'), '42')
    const seen = JSON.parse(answer.text) as Seen
    t.equal(seen.headers['x-user'], 'ann', 'replaced, not added to')
    t.notOk('x-secret' in seen.headers)
    t.notMatch(seen.headers['x-many'], /0/)
    t.match(seen.url, /^\/mutate\/x\?/)
    const query = new URL(seen.url, 'http://x').searchParams
    t.same(query.getAll('role'), ['guest'])
    t.same(query.getAll('debug'), [])
    t.same(query.getAll('a'), ['b'])
  })

  await t.test('a denial comes as the policy says, and names its decision', async (t) => {
    const answer = await world.call('/login-first')
    t.match(answer, { status: 302, text: 'log in' })
    t.equal(answer.headers.get('location'), '/login')
    t.match(await world.recordOf(answer.headers), {
      path: 'envoy/authz/allow',
      postern: { lane: 'wasm', allowed: false, policy: 'shop/rego', httpStatus: 302 },
    })
  })

  await t.test('bodies: parsed, refused when malformed, marked when cut', async (t) => {
    t.equal((await world.call('/body', post('{"ok":true}'))).status, 200)
    t.equal((await world.call('/body', post('{"ok":false}'))).status, 403)
    t.equal((await world.call('/body', post('{"ok":tru'))).status, 400)
    const long = await world.call(
      '/body',
      post(JSON.stringify({ ok: true, x: 'y'.repeat(20_000) })),
    )
    t.equal(long.status, 403)
    t.match(await world.recordOf(long.headers), { input: { truncated_body: true } })
  })

  await t.test('Rego sees an empty header, which rules take for absent', async (t) => {
    t.equal((await world.call('/sent')).status, 200)
    t.equal((await world.call('/sent', { headers: { 'x-debug': '1' } })).status, 403)
    t.equal((await world.call('/sent', { headers: { 'x-debug': '' } })).status, 403)
  })

  await t.test('a malformed path is refused by the guard, and that is recorded', async (t) => {
    const answer = await world.call('/%zz')
    t.equal(answer.status, 403)
    t.match(await world.recordOf(answer.headers), {
      postern: { lane: 'rbac', policy: 'guard/path' },
    })
  })

  await t.test('an endless policy: its caller gets 503, others go on, one record', async (t) => {
    const stuck = await world.call('/loop')
    t.equal(stuck.status, 503)
    t.equal((await world.call('/public')).status, 200)
    t.match(await world.recordOf(stuck.headers), {
      error: { code: /^ERR_POLICY_(?:TIMEOUT|ERROR)$/ }, // by its time or its memory
      postern: { policy: 'shop/rego', httpStatus: 503 },
    })
    const aside = await waitFor(async () => {
      const answer = await world.call('/mutate')
      if (answer.text === 'ERR_POLICY_TIMEOUT') return answer
      // The second for which it is set aside may be over on a busy machine.
      await world.call('/loop')
      return undefined
    })
    t.equal(aside.status, 503, 'the policy is set aside for a while')
    await waitFor(async () => (await world.call('/mutate')).status === 200)
    const id = stuck.headers.get('x-postern-decision-id')
    t.equal(world.records().filter((r) => r.decision_id === id).length, 1)
  })

  await t.test('every decision has one record', async (t) => {
    const ids = world.records().map((r) => r.decision_id)
    t.equal(new Set(ids).size, ids.length)
  })
})

t.test('where Envoy decides all, each decision has one record', async (t) => {
  const world = await startWorld(t, { withRego: false })
  for (let i = 0; i < 5; i++) t.equal((await world.call('/public')).status, 200)
  const denied = await world.call('/other')
  t.equal(denied.status, 403)
  t.match(await world.recordOf(denied.headers), {
    result: false,
    postern: { lane: 'rbac', allowed: false, policy: 'default' },
  })
  const allowed = await waitFor(() => {
    const found = world.records().filter(({ result }) => result === true)
    return found.length < 5 ? undefined : found
  })
  for (const { postern } of allowed) {
    t.match(postern, { lane: 'rbac', policy: 'shop/open', rule: 'shop/open/rules[0]' })
  }
  const ids = world.records().map((r) => r.decision_id)
  t.same([ids.length, new Set(ids).size], [6, 6])
})
