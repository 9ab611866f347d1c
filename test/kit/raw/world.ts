/**
 * The whole request path for bytes: the controller's own filters in a real Envoy under mutual TLS, the real check worker,
 * the decision log that both fill, and apps that keep what they get. In: the policies. Out: ports and records.
 */
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import type { JsonObject } from '@bufbuild/protobuf'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import type { DecisionRecord } from '../../../common/decision.ts'
import { TYPE_URLS, type XdsSnapshot } from '../../../common/xds.ts'
import type { AuthorizationPolicySpec } from '../../../controller/core/crd/index.ts'
import { translate } from '../../../controller/core/translate/index.ts'
import { buildSnapshot } from '../../../controller/core/xds/snapshot.ts'
import { DecisionLogFile } from '../../../sidecar/adapters/fs/decision-log-file.ts'
import { createAccessLogService } from '../../../sidecar/adapters/grpc/als-server.ts'
import { createAccessLogRecorder } from '../../../sidecar/runtime/access-log-recorder.ts'
import { DecisionTally } from '../../../sidecar/runtime/decision-tally.ts'
import { type CheckHarness, LABELS, makeBundle, startCheck } from '../check.ts'
import type { Scope } from '../differential/scope.ts'
import { makeCa, makeSvid, type TestCa, toPem } from '../identity.ts'
import { makeInput, makeMesh, makePolicy, makeWorkloadEntry } from '../objects.ts'
import { freePorts } from '../ports.ts'
import { startProcess } from '../process.ts'
import { toStaticBootstrap } from '../static-bootstrap.ts'
import { tempDir } from '../tempdir.ts'
import { toolPath } from '../tools.ts'
import { waitForPort } from '../wait.ts'
import { toXdsJson } from '../xds-json.ts'
import { type RawApp, startRawApp, startRawHttp2App } from './app.ts'

export interface RawWorld {
  readonly http1: RawApp
  readonly http2: RawApp
  /** A connection as workload `web`, to the port whose app speaks this. */
  connect(app: 'http1' | 'http2', alpn: 'h2' | 'http/1.1'): Socket
  records(): readonly DecisionRecord[]
}

export interface WorldPolicy {
  readonly spec: Partial<AuthorizationPolicySpec>
  /** The compiled Rego of the spec. */
  readonly wasm?: Uint8Array
}

/** `orders` with two ports, one for each kind of app, under these policies. */
export async function startRawWorld(t: Scope, policies: readonly WorldPolicy[]): Promise<RawWorld> {
  const [port1 = 0, port2 = 0, app1 = 0, app2 = 0] = await freePorts(4)
  const http1 = await startRawApp(t, app1)
  const http2 = await startRawHttp2App(t, app2)
  const inbound = [
    { name: 'http', port: port1, appPort: app1 },
    { name: 'http2', port: port2, appPort: app2, protocol: 'HTTP2' as const },
  ]
  const { model, problems } = translate(
    makeInput({
      mesh: makeMesh(),
      workloadEntries: [makeWorkloadEntry('orders', { inbound })],
      policies: policies.map(({ spec, wasm }, i) => ({
        object: makePolicy(`p${i}`, spec),
        ...(wasm === undefined ? {} : { rego: compiled(wasm) }),
      })),
    }),
  )
  const workload = model?.workloads.get('shop/orders')
  if (model === undefined || workload === undefined) throw new Error(JSON.stringify(problems))
  const ca = await makeCa()
  const snapshot = buildSnapshot(workload, model.mesh, { trustBundle: [ca.root.der] })
  const harness = await startCheck()
  t.teardown(() => harness.stop())
  const modules = policies.flatMap(({ wasm }) => (wasm === undefined ? [] : [wasm]))
  await harness.worker.activate(await makeBundle(workload.policySet, modules))
  await startDecidingEnvoy(t, { snapshot, ca, harness })
  await waitForPort(port1)
  const web = await makeSvid(ca, { serviceAccount: 'web' })
  const key = web.key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const identity = { cert: toPem(web.der), key, rejectUnauthorized: false, host: '127.0.0.1' }
  return {
    http1,
    http2,
    connect: (app, alpn) =>
      connectTls({ ...identity, port: app === 'http1' ? port1 : port2, ALPNProtocols: [alpn] }),
    records: harness.records,
  }
}

function compiled(wasm: Uint8Array) {
  const wasmDigest = createHash('sha256').update(wasm).digest('hex')
  return { entrypoint: 'envoy/authz/allow', wasmDigest, data: {}, readsBody: false }
}

/** Envoy with this snapshot, in front of this check worker; both fill the worker's decision log. */
export async function startDecidingEnvoy(
  t: Scope,
  {
    snapshot,
    ca,
    harness,
  }: {
    readonly snapshot: XdsSnapshot
    readonly ca: TestCa
    readonly harness: CheckHarness
  },
): Promise<void> {
  const parts = {
    listeners: toXdsJson(snapshot, TYPE_URLS.listener),
    routes: toXdsJson(snapshot, TYPE_URLS.route),
    clusters: toXdsJson(snapshot, TYPE_URLS.cluster),
    endpoints: toXdsJson(snapshot, TYPE_URLS.endpoint),
    extensions: toXdsJson(snapshot, TYPE_URLS.extensionConfig),
    secrets: [...toXdsJson(snapshot, TYPE_URLS.secret), await makeOwnSecret(ca)],
  }
  const als = await startAccessLog(t, harness)
  const pipes = { postern_authz: harness.socketPath, postern_als: als }
  const file = join(tempDir(t), 'bootstrap.json')
  writeFileSync(file, JSON.stringify(toStaticBootstrap(parts, pipes)))
  const args = ['-c', file, '--disable-hot-restart', '--concurrency', '1', '-l', 'warn']
  startProcess(t, toolPath('envoy'), args)
}

/** What the sidecar's main thread does with Envoy's access log; the path of its socket. */
async function startAccessLog(
  t: Scope,
  { worker, decisionLog: file }: Pick<CheckHarness, 'worker' | 'decisionLog'>,
): Promise<string> {
  const decisionLog = new DecisionLogFile(file)
  const recorder = createAccessLogRecorder({
    ...{ worker, decisionLog, labels: LABELS, tally: new DecisionTally() },
    newId: () => 'made-up',
    limit: { take: () => 0 },
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

/** The workload's own certificate and key, as Envoy gets them from its sidecar. */
async function makeOwnSecret(ca: TestCa): Promise<JsonObject> {
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
