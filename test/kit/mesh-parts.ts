/**
 * Parts for tests of the xDS wire and of Envoy under its sidecar: a controller's port in process, the sidecar's parts
 * joined as its main does, and listeners that answer by themselves. All real; only the model is missing.
 */

import { writeFileSync } from 'node:fs'
import type { Agent } from 'node:http'
import { request } from 'node:http'
import { create, toBinary } from '@bufbuild/protobuf'
import { anyPack } from '@bufbuild/protobuf/wkt'
import { type Logger, pino } from 'pino'
import type { Test } from 'tap'
import { Secret } from '../../common/secret.ts'
import { TYPE_URLS, type XdsResource, type XdsSnapshot } from '../../common/xds.ts'
import { toXdsResource, toXdsSnapshot } from '../../common/xds-snapshot.ts'
import { AdsServer } from '../../controller/adapters/grpc/ads-server.ts'
import { createPeerReader, MeshServer } from '../../controller/adapters/grpc/mesh-server.ts'
import { ProxyStatusService } from '../../controller/adapters/grpc/proxy-status.ts'
import { readPeer } from '../../controller/core/ca/peer.ts'
import { ProxyTable } from '../../controller/runtime/proxy-table.ts'
import { ListenerSchema } from '../../proto/gen/envoy/config/listener/v3/listener_pb.js'
import { RouterSchema } from '../../proto/gen/envoy/extensions/filters/http/router/v3/router_pb.js'
import { HttpConnectionManagerSchema } from '../../proto/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'
import { AdminClient } from '../../sidecar/adapters/envoy/admin-client.ts'
import { EnvoyProcess } from '../../sidecar/adapters/envoy/envoy-process.ts'
import { SocketMark } from '../../sidecar/adapters/fs/socket-mark.ts'
import { FileXdsCache } from '../../sidecar/adapters/fs/xds-cache.ts'
import { AdsClient } from '../../sidecar/adapters/grpc/ads-client.ts'
import { ControllerClient } from '../../sidecar/adapters/grpc/controller-client.ts'
import { EnvoyServer } from '../../sidecar/adapters/grpc/envoy-server.ts'
import { StatusClient } from '../../sidecar/adapters/grpc/status-client.ts'
import { buildBootstrap, runPaths } from '../../sidecar/core/envoy/bootstrap.ts'
import type { IdentitySource, Svid } from '../../sidecar/ports.ts'
import { EnvoySupervisor } from '../../sidecar/runtime/envoy-supervisor.ts'
import { XdsProxy } from '../../sidecar/runtime/xds-proxy.ts'
import { makeCa, makeSvid, type TestCa, toPem } from './identity.ts'
import { toolPath } from './tools.ts'

export const clock = { now: () => Date.now(), monotonic: () => performance.now() }
export const WEB = { namespace: 'shop', name: 'web', uid: 'uid-web' }
export const WEB_NODE = 'shop/web/uid-web'
export const silent = pino({ level: process.env.TEST_LOG ?? 'silent' })

/** An identity whose SVID the test sets. */
export class TestIdentity implements IdentitySource {
  readonly #listeners = new Set<(svid: Svid) => void>()
  #svid: Svid | undefined

  current(): Svid | undefined {
    return this.#svid
  }

  set(svid: Svid): void {
    this.#svid = svid
    for (const listener of this.#listeners) listener(svid)
  }

  subscribe(listener: (svid: Svid) => void): () => void {
    this.#listeners.add(listener)
    if (this.#svid !== undefined) listener(this.#svid)
    return () => this.#listeners.delete(listener)
  }
}

/** An SVID of `shop/web`, or of what the options say, as the sidecar holds it. */
export async function makeWorkloadSvid(
  ca: TestCa,
  options: NonNullable<Parameters<typeof makeSvid>[1]> = {},
): Promise<Svid> {
  const { key, der, template } = await makeSvid(ca, options)
  const account = options.serviceAccount ?? 'web'
  return {
    spiffeId: `spiffe://${ca.trustDomain}/ns/${options.namespace ?? 'shop'}/sa/${account}`,
    workload: { ...WEB, uid: options.workloadUid ?? WEB.uid },
    certificateChain: [der],
    privateKey: new Secret(key.privateKey),
    trustBundle: [ca.root.der],
    serialNumber: Buffer.from(template.serialNumber).toString('hex'),
    notBeforeMs: Date.now(),
    notAfterMs: Date.now() + 3_600_000,
  }
}

export interface TestController {
  readonly ads: AdsServer
  readonly proxies: ProxyTable
  readonly status: ProxyStatusService
  readonly server: MeshServer
  readonly target: string
  /** How many ADS streams were opened so far. */
  sessions(): number
  stop(): Promise<void>
}

/** The controller's port with `workloads` (of `shop`; UID `uid-NAME`, account NAME); `as` is who the server claims to be. */
export async function startTestController(
  t: Pick<Test, 'teardown'>,
  ca: TestCa,
  options: {
    port?: number
    as?: NonNullable<Parameters<typeof makeSvid>[1]>
    workloads?: readonly string[]
  } = {},
): Promise<TestController> {
  const proxies = new ProxyTable()
  const peers = createPeerReader(readPeer, clock)
  const { workloads = [WEB.name] } = options
  const workloadOf = (uid: string) => {
    const name = workloads.find((workload) => uid === `uid-${workload}`)
    if (name === undefined) return undefined
    const spiffeId = `spiffe://${ca.trustDomain}/ns/shop/sa/${name}`
    return { nodeId: `shop/${name}/${uid}`, spiffeId }
  }
  const part = { peerOf: peers.ofCall, workloadOf, proxies, log: silent }
  let sessions = 0
  const ads = new AdsServer({
    ...part,
    peerOf: (call) => {
      sessions += 1
      return peers.ofCall(call)
    },
  })
  const status = new ProxyStatusService(part)
  const svid = await makeSvid(
    ca,
    options.as ?? {
      namespace: 'postern-system',
      serviceAccount: 'postern-controller',
      workloadUid: 'controller',
    },
  )
  const pem = svid.key.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
  const server = new MeshServer({
    host: '127.0.0.1',
    port: options.port ?? 0,
    identity: {
      certificateChainPem: toPem(svid.der),
      privateKeyPem: new Secret(pem),
      trustBundlePem: toPem(ca.root.der),
    },
    services: [ads, status],
    onRequest: (_req, res) => res.writeHead(404).end(),
    peers,
    clock,
    log: silent,
  })
  await server.start()
  let stopped: Promise<void> | undefined
  const stop = () => {
    stopped ??= server.stop(0)
    return stopped
  }
  t.teardown(stop)
  return {
    ads,
    proxies,
    status,
    server,
    sessions: () => sessions,
    target: `127.0.0.1:${server.port()}`,
    stop,
  }
}

export interface TestSidecarOptions {
  readonly dir: string
  readonly target: string
  readonly identity: IdentitySource
  readonly maxHeapBytes?: number
  readonly log?: Logger
}

/** The sidecar's xDS and Envoy parts, joined as in sidecar/main.ts. Envoy is not started yet. */
export async function startTestSidecar(t: Pick<Test, 'teardown'>, options: TestSidecarOptions) {
  const { dir, target, identity } = options
  const log = options.log ?? silent
  const paths = runPaths(dir)
  const secret = new Secret('test-secret')
  const upstream = new AdsClient({
    nodeId: WEB_NODE,
    version: '0.0.0-test',
    refuses: () => undefined,
    log,
  })
  const status = new StatusClient({ answer: async () => [] })
  const envoyServer = new EnvoyServer({
    mark: new SocketMark(paths.xdsSocket),
    socketPath: paths.xdsSocket,
    secret,
    log,
  })
  const cache = new FileXdsCache(dir, log)
  const admin = new AdminClient(paths.adminSocket)
  const isWarm = async () => (await admin.facts())?.warming === 0
  const proxy = new XdsProxy({
    ...{ nodeId: WEB_NODE, upstream, downstream: envoyServer, cache, isWarm, log },
  })
  const bootstrap = buildBootstrap({
    nodeId: WEB_NODE,
    workload: 'shop/web',
    paths,
    secret,
    maxConnections: 1000,
    maxHeapBytes: options.maxHeapBytes ?? 1024 ** 3,
  })
  writeFileSync(paths.bootstrap, bootstrap, { mode: 0o600 })
  const launcher = new EnvoyProcess({
    envoyPath: toolPath('envoy'),
    bootstrapPath: paths.bootstrap,
    concurrency: 1,
    drainSeconds: 2,
    log,
  })
  const supervisor = new EnvoySupervisor({
    launcher,
    admin,
    onStart: () => proxy.envoyStarts(),
    onCrashLoop: (reason) => proxy.envoyKeepsDying(reason),
    log,
  })
  proxy.onChange(() => supervisor.poke())
  const client = new ControllerClient({
    target,
    identity,
    onSession: (session) => {
      upstream.attach(session)
      status.attach(session)
    },
    log,
    random: Math.random,
  })
  await proxy.start()
  await envoyServer.start()
  identity.subscribe((svid) => proxy.setSvid(svid))
  await client.start()
  let stopped: Promise<void> | undefined
  const stop = (graceMs = 0) => {
    stopped ??= (async () => {
      await supervisor.stop(graceMs)
      await client.stop()
      await envoyServer.stop()
      await proxy.stop()
    })()
    return stopped
  }
  t.teardown(() => stop())
  return { proxy, supervisor, admin, client, status, envoyServer, cache, paths, stop }
}

/** A listener on a loopback port that answers every request with this text. */
export function answering(port: number, text: string, name = `inbound/${port}`): XdsResource {
  const manager = create(HttpConnectionManagerSchema, {
    statPrefix: 'test',
    httpFilters: [
      {
        name: 'router',
        configType: { case: 'typedConfig', value: anyPack(RouterSchema, create(RouterSchema)) },
      },
    ],
    routeSpecifier: {
      case: 'routeConfig',
      value: {
        virtualHosts: [
          {
            name: 'all',
            domains: ['*'],
            routes: [
              {
                match: { pathSpecifier: { case: 'prefix', value: '/' } },
                action: {
                  case: 'directResponse',
                  value: {
                    status: 200,
                    body: { specifier: { case: 'inlineString', value: text } },
                  },
                },
              },
            ],
          },
        ],
      },
    },
  })
  const listener = create(ListenerSchema, {
    name,
    address: {
      address: {
        case: 'socketAddress',
        value: { address: '127.0.0.1', portSpecifier: { case: 'portValue', value: port } },
      },
    },
    filterChains: [
      {
        filters: [
          {
            name: 'http',
            configType: {
              case: 'typedConfig',
              value: anyPack(HttpConnectionManagerSchema, manager),
            },
          },
        ],
      },
    ],
  })
  return toXdsResource(name, toBinary(ListenerSchema, listener))
}

/** A listener that Envoy refuses: it has no filter chains. */
export function broken(port: number, name = `inbound/${port}`): XdsResource {
  const listener = create(ListenerSchema, { name })
  return toXdsResource(name, toBinary(ListenerSchema, listener))
}

export function snapshotWith(...listeners: readonly XdsResource[]): XdsSnapshot {
  return toXdsSnapshot(new Map([[TYPE_URLS.listener, listeners]]))
}

/** GET http://127.0.0.1:port/ → body; rejects when nothing answers. */
export function get(port: number, agent?: Agent): Promise<string> {
  return new Promise((resolve, reject) => {
    const req = request({ host: '127.0.0.1', port, agent: agent ?? false }, (res) => {
      let body = ''
      res.setEncoding('utf8')
      res.on('data', (chunk: string) => {
        body += chunk
      })
      res.on('end', () => resolve(body))
      res.on('error', reject)
    })
    req.on('error', reject)
    req.end()
  })
}

export { makeCa }
