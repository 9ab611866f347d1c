/**
 * The request path behind a real Envoy: the controller's own filters in front, the real check worker behind them, and
 * the decision log that both fill. Plaintext (PERMISSIVE), so that a test needs no certificates to call.
 */
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { JsonObject } from '@bufbuild/protobuf'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import { type Test, t } from 'tap'
import type { DecisionRecord } from '../../common/decision.ts'
import { TYPE_URLS } from '../../common/xds.ts'
import { translate } from '../../controller/core/translate/index.ts'
import { buildSnapshot } from '../../controller/core/xds/snapshot.ts'
import { DecisionLogFile } from '../../sidecar/adapters/fs/decision-log-file.ts'
import { createAccessLogService } from '../../sidecar/adapters/grpc/als-server.ts'
import { createAccessLogRecorder } from '../../sidecar/runtime/access-log-recorder.ts'
import { type Seen, startHttpApp } from '../kit/apps.ts'
import { LABELS, makeBundle, startCheck } from '../kit/check.ts'
import { makeCa, makeSvid, toPem } from '../kit/identity.ts'
import { makeInput, makeMesh, makePolicy, makeWorkloadEntry } from '../kit/objects.ts'
import { freePorts } from '../kit/ports.ts'
import { startProcess } from '../kit/process.ts'
import { compileRego } from '../kit/rego.ts'
import { toStaticBootstrap } from '../kit/static-bootstrap.ts'
import { tempDir } from '../kit/tempdir.ts'
import { toolPath } from '../kit/tools.ts'
import { waitFor, waitForPort } from '../kit/wait.ts'
import { toXdsJson } from '../kit/xds-json.ts'

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

async function startWorld(t: Test): Promise<World> {
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
        {
          object: makePolicy('rego', {
            rules: [{ to: [{ operation: { notPaths: ['/public'] } }] }],
            rego: { module: REGO, entrypoint: 'envoy/authz/allow', regoVersion: 'V1' },
          }),
          rego: { entrypoint: 'envoy/authz/allow', wasmDigest, data, readsBody: true },
        },
      ],
    }),
  )
  const workload = model?.workloads.get('shop/orders')
  if (model === undefined || workload === undefined) throw new Error('no model')
  const ca = await makeCa()
  const snapshot = buildSnapshot(workload, model.mesh, { trustBundle: [ca.root.der] })

  const harness = await startCheck()
  t.teardown(() => harness.stop())
  await harness.worker.activate(await makeBundle(workload.policySet, [wasm]))
  const als = await startAccessLog(t, harness.worker, harness.decisionLog)
  await startStaticEnvoy(
    t,
    {
      listeners: toXdsJson(snapshot, TYPE_URLS.listener),
      routes: toXdsJson(snapshot, TYPE_URLS.route),
      clusters: toXdsJson(snapshot, TYPE_URLS.cluster),
      endpoints: toXdsJson(snapshot, TYPE_URLS.endpoint),
      extensions: toXdsJson(snapshot, TYPE_URLS.extensionConfig),
      secrets: [...toXdsJson(snapshot, TYPE_URLS.secret), await makeOwnSecret(ca)],
    },
    { postern_authz: harness.socketPath, postern_als: als },
  )
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

async function startAccessLog(
  t: Test,
  worker: Parameters<typeof createAccessLogRecorder>[0]['worker'],
  file: string,
): Promise<string> {
  const decisionLog = new DecisionLogFile(file)
  const recorder = createAccessLogRecorder({
    ...{ worker, decisionLog, labels: LABELS },
    newId: () => 'made-up',
    log: { debug() {}, info() {}, warn() {}, error() {} },
  })
  const { service, implementation } = createAccessLogService((entry) => recorder.record(entry))
  const server = new Server()
  server.addService(service, implementation)
  const socket = join(tempDir(t), 'als.sock')
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    )
  })
  t.teardown(() => {
    server.forceShutdown()
    decisionLog.close()
  })
  return socket
}

async function makeOwnSecret(ca: Awaited<ReturnType<typeof makeCa>>): Promise<JsonObject> {
  const svid = await makeSvid(ca)
  const key = svid.key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  return {
    name: 'default',
    tlsCertificate: {
      certificateChain: { inlineString: toPem(svid.der) },
      privateKey: { inlineString: key },
    },
  }
}

async function startStaticEnvoy(
  t: Test,
  parts: Parameters<typeof toStaticBootstrap>[0],
  pipes: Record<string, string>,
): Promise<void> {
  const file = join(tempDir(t), 'bootstrap.json')
  writeFileSync(file, JSON.stringify(toStaticBootstrap(parts, pipes)))
  const args = ['-c', file, '--disable-hot-restart', '--concurrency', '1', '-l', 'warn']
  startProcess(t, toolPath('envoy'), args)
}

t.test('behind a real Envoy', async (t) => {
  const world = await startWorld(t)
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
      error: { code: 'ERR_POLICY_TIMEOUT' },
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
