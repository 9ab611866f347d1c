/**
 * The two servers that speak delta xDS, as they really are, each with the same few handles: the controller's TLS port
 * (client certificates), and the sidecar's Unix socket for its Envoy (per-start secret). What stands before them, the
 * model and the controller's stream, is replaced by `publish`.
 */
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2'
import { connect as connectSocket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import * as grpc from '@grpc/grpc-js'
import type { Test } from 'tap'
import type { ClientEvent } from '../../common/delta-xds/client.ts'
import { REMOVAL_ORDER } from '../../common/delta-xds/server.ts'
import { Secret } from '../../common/secret.ts'
import { PUBLISH_ORDER, TYPE_URLS, type TypeUrl, type XdsSnapshot } from '../../common/xds.ts'
import { toXdsResource, toXdsSnapshot } from '../../common/xds-snapshot.ts'
import { SocketMark } from '../../sidecar/adapters/fs/socket-mark.ts'
import { FileXdsCache } from '../../sidecar/adapters/fs/xds-cache.ts'
import { EnvoyServer } from '../../sidecar/adapters/grpc/envoy-server.ts'
import { runPaths, SECRET_HEADER } from '../../sidecar/core/envoy/bootstrap.ts'
import type { UpstreamEvent, UpstreamXds } from '../../sidecar/runtime/xds-ports.ts'
import { XdsProxy } from '../../sidecar/runtime/xds-proxy.ts'
import { makeCa, makeSvid, type TestCa, toPem } from './identity.ts'
import { silent, startTestController, type TestController, WEB_NODE } from './mesh-parts.ts'
import { tempDir } from './tempdir.ts'
import type { ShortType, XdsPeer } from './xds-stream.ts'

/** `{ cluster: { name: content } }` */
export type Plain = Partial<Record<ShortType, Readonly<Record<string, string>>>>

export interface Target {
  readonly name: 'controller' | 'sidecar'
  publish(plain: Plain): void
  /** A connection as the entitled peer, as a peer without proof, or (controller) as another workload. */
  connect(as?: 'own' | 'nobody' | 'other'): Promise<XdsPeer>
  /** A bare HTTP/2 connection as the entitled peer, and the headers that its requests need. */
  raw(): Promise<{ session: ClientHttp2Session; headers: Record<string, string> }>
  /** What is known of refusals: name → words. */
  refusals(): readonly string[]
  /** Written and not taken by the peer. */
  buffered(): number
}

export function snapshotOf(plain: Plain): XdsSnapshot {
  const lists = Object.entries(plain).map(([type, names]) => {
    const list = Object.entries(names).map(([name, text]) => toXdsResource(name, Buffer.from(text)))
    return [TYPE_URLS[type as ShortType], list] as const
  })
  return toXdsSnapshot(new Map(lists))
}

/** gRPC credentials of a workload; without SVID: of somebody who trusts the CA and has no certificate. */
export function credentialsOf(
  ca: TestCa,
  svid?: Awaited<ReturnType<typeof makeSvid>>,
): grpc.ChannelCredentials {
  const key = svid?.key.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
  return grpc.credentials.createSsl(
    Buffer.from(toPem(ca.root.der)),
    key === undefined ? null : Buffer.from(key),
    svid === undefined ? null : Buffer.from(toPem(svid.der)),
    { checkServerIdentity: () => undefined },
  )
}

type Teardown = Pick<Test, 'teardown'>

export class ControllerTarget implements Target {
  readonly name = 'controller'
  readonly #t: Teardown
  readonly #ca: TestCa
  readonly #controller: TestController

  constructor(t: Teardown, ca: TestCa, controller: TestController) {
    this.#t = t
    this.#ca = ca
    this.#controller = controller
  }

  publish(plain: Plain): void {
    this.#controller.ads.publish(new Map([[WEB_NODE, snapshotOf(plain)]]))
  }

  async connect(as: 'own' | 'nobody' | 'other' = 'own'): Promise<XdsPeer> {
    const other = { serviceAccount: 'orders', workloadUid: 'uid-orders' }
    const svid = as === 'nobody' ? undefined : await makeSvid(this.#ca, as === 'own' ? {} : other)
    const client = new grpc.Client(this.#controller.target, credentialsOf(this.#ca, svid), {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.ssl_target_name_override': 'controller',
    })
    this.#t.teardown(() => client.close())
    return { client, metadata: new grpc.Metadata(), nodeId: WEB_NODE }
  }

  async raw() {
    const svid = await makeSvid(this.#ca)
    const key = svid.key.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
    const [host = '', port = ''] = this.#controller.target.split(':')
    const session = connectHttp2(`https://${this.#controller.target}`, {
      createConnection: () =>
        connectTls({
          host,
          port: Number(port),
          ALPNProtocols: ['h2'],
          ca: toPem(this.#ca.root.der),
          cert: toPem(svid.der),
          key,
          checkServerIdentity: () => undefined,
        }),
    })
    this.#t.teardown(() => session.destroy())
    return { session, headers: {} }
  }

  refusals(): readonly string[] {
    const nacks = this.#controller.proxies.list().flatMap((p) => p.nacks)
    return nacks.flatMap(({ names, message }) => names.map((name) => `${name}: ${message}`))
  }

  buffered(): number {
    return this.#controller.ads.buffered()
  }
}

export async function startControllerTarget(t: Teardown): Promise<Target> {
  const ca = await makeCa()
  return new ControllerTarget(t, ca, await startTestController(t, ca))
}

/** Stands where the controller's stream is: says at once what changed, in the controller's order. */
class DirectUpstream implements UpstreamXds {
  #listener: (event: UpstreamEvent) => void = () => {}
  #last: XdsSnapshot = toXdsSnapshot(new Map())
  #count = 0

  onEvent(listener: (event: UpstreamEvent) => void): void {
    this.#listener = listener
  }

  request(): void {}

  open(): void {
    this.#listener({ kind: 'opened' })
  }

  publish(snapshot: XdsSnapshot): void {
    const before = this.#last
    this.#last = snapshot
    const say = (typeUrl: string, part: Pick<ResponseEvent, 'resources' | 'removed'>) => {
      if (part.resources.length + part.removed.length === 0) return
      this.#count += 1
      this.#listener({ kind: 'response', typeUrl, nonce: `${this.#count}`, ...part })
    }
    for (const typeUrl of PUBLISH_ORDER) {
      const old = before.resources.get(typeUrl)
      const all = [...(snapshot.resources.get(typeUrl)?.values() ?? [])]
      say(typeUrl, {
        resources: all.filter((r) => old?.get(r.name)?.version !== r.version),
        removed: [],
      })
    }
    for (const typeUrl of REMOVAL_ORDER as readonly TypeUrl[]) {
      const now = snapshot.resources.get(typeUrl)
      const removed = [...(before.resources.get(typeUrl)?.keys() ?? [])].filter((n) => !now?.has(n))
      say(typeUrl, { resources: [], removed })
    }
  }
}

type ResponseEvent = Extract<ClientEvent, { kind: 'response' }>

export interface SidecarParts {
  readonly dir: string
  readonly nodeId: string
  readonly upstream: UpstreamXds
  readonly secret: Secret<string>
}

/** The sidecar's server for Envoy, and what decides behind it, joined as in its main. */
export async function startEnvoySide(t: Teardown, parts: SidecarParts) {
  const paths = runPaths(parts.dir)
  const server = new EnvoyServer({
    mark: new SocketMark(paths.xdsSocket),
    socketPath: paths.xdsSocket,
    secret: parts.secret,
    log: silent,
  })
  const proxy = new XdsProxy({
    nodeId: parts.nodeId,
    upstream: parts.upstream,
    downstream: server,
    cache: new FileXdsCache(parts.dir, silent),
    log: silent,
  })
  await proxy.start()
  await server.start()
  t.teardown(async () => {
    await server.stop()
    await proxy.stop()
  })
  return { server, proxy, socketPath: paths.xdsSocket }
}

export async function startSidecarTarget(t: Teardown): Promise<Target> {
  const secret = new Secret('per-start-secret')
  const upstream = new DirectUpstream()
  const side = await startEnvoySide(t, { dir: tempDir(t), nodeId: WEB_NODE, upstream, secret })
  upstream.open()
  return {
    name: 'sidecar',
    publish: (plain) => upstream.publish(snapshotOf(plain)),
    async connect(as = 'own') {
      const metadata = new grpc.Metadata()
      if (as !== 'nobody') {
        metadata.set(SECRET_HEADER, as === 'own' ? secret.reveal() : 'another-sidecar-s-secret')
      }
      const target = `unix:${side.socketPath}`
      const client = new grpc.Client(target, grpc.credentials.createInsecure(), {
        'grpc.use_local_subchannel_pool': 1,
      })
      t.teardown(() => client.close())
      return { client, metadata, nodeId: WEB_NODE }
    },
    async raw() {
      const session = connectHttp2('http://sidecar', {
        createConnection: () => connectSocket(side.socketPath),
      })
      t.teardown(() => session.destroy())
      return { session, headers: { [SECRET_HEADER]: secret.reveal() } }
    },
    refusals: () => side.proxy.progress().refusals.map((text) => text.replace(/^\S+ /, '')),
    buffered: () => side.server.buffered(),
  }
}
