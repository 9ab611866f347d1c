/**
 * The peers of a fuzz run: identities of the controller's port, and the sockets of sidecars that a controller feeds.
 * Used by the test (a controller in process) and by the drill (the real process).
 */
import { connect as connectHttp2 } from 'node:http2'
import { connect as connectSocket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import * as grpc from '@grpc/grpc-js'
import type { Test } from 'tap'
import { Secret } from '../../common/secret.ts'
import type { FuzzPeer } from '../../drills/fuzz-peer.ts'
import { AdsClient } from '../../sidecar/adapters/grpc/ads-client.ts'
import {
  ControllerClient,
  controllerCredentials,
} from '../../sidecar/adapters/grpc/controller-client.ts'
import { SECRET_HEADER } from '../../sidecar/core/envoy/bootstrap.ts'
import type { IdentitySource, Svid } from '../../sidecar/ports.ts'
import { toPem } from './identity.ts'
import { silent } from './mesh-parts.ts'
import { tempDir } from './tempdir.ts'
import { type XdsPeer, XdsStream } from './xds-stream.ts'
import { startEnvoySide } from './xds-targets.ts'

export type Server = Pick<FuzzPeer, 'nodeId' | 'headers' | 'connect'> & {
  /** A connection of a well-behaved client, as the process that the fuzzer played would start anew. */
  fresh(): XdsPeer
}

const SERVER_NAME = 'postern-controller'

export function nodeIdOf({ workload }: Svid): string {
  return `${workload.namespace}/${workload.name}/${workload.uid}`
}

/** The controller's port, as the workload of this SVID. */
export function controllerServer(t: Pick<Test, 'teardown'>, port: number, svid: Svid): Server {
  const tls = {
    host: '127.0.0.1',
    port,
    ALPNProtocols: ['h2'],
    ca: svid.trustBundle.map((der) => toPem(der)).join(''),
    cert: svid.certificateChain.map((der) => toPem(der)).join(''),
    key: svid.privateKey.reveal().export({ format: 'pem', type: 'pkcs8' }).toString(),
    checkServerIdentity: () => undefined,
  }
  return {
    nodeId: nodeIdOf(svid),
    headers: {},
    connect: () =>
      connectHttp2(`https://${SERVER_NAME}:${port}`, { createConnection: () => connectTls(tls) }),
    fresh() {
      const client = new grpc.Client(`127.0.0.1:${port}`, controllerCredentials(svid), {
        'grpc.ssl_target_name_override': SERVER_NAME,
        'grpc.use_local_subchannel_pool': 1,
      })
      t.teardown(() => client.close())
      return { client, metadata: new grpc.Metadata(), nodeId: nodeIdOf(svid) }
    },
  }
}

/** A sidecar's xDS parts for this workload, fed by the controller at `port`; its Envoy is whoever connects. */
export async function sidecarServer(
  t: Pick<Test, 'teardown'>,
  port: number,
  svid: Svid,
): Promise<Server> {
  const secret = new Secret('per-start-secret')
  const nodeId = nodeIdOf(svid)
  const upstream = new AdsClient({
    nodeId,
    version: '0.0.0-test',
    refuses: () => undefined,
    log: silent,
  })
  const side = await startEnvoySide(t, { dir: tempDir(t), nodeId, upstream, secret })
  const identity: IdentitySource = { current: () => svid, subscribe: () => () => {} }
  const client = new ControllerClient({
    target: `127.0.0.1:${port}`,
    identity,
    onSession: (session) => upstream.attach(session),
    log: silent,
    random: Math.random,
  })
  await client.start()
  t.teardown(() => client.stop())
  return {
    nodeId,
    headers: { [SECRET_HEADER]: secret.reveal() },
    connect: () =>
      connectHttp2('http://sidecar', { createConnection: () => connectSocket(side.socketPath) }),
    fresh() {
      side.proxy.envoyStarts()
      const metadata = new grpc.Metadata()
      metadata.set(SECRET_HEADER, secret.reveal())
      const target = `unix:${side.socketPath}`
      const channel = new grpc.Client(target, grpc.credentials.createInsecure(), {
        'grpc.use_local_subchannel_pool': 1,
      })
      t.teardown(() => channel.close())
      return { client: channel, metadata, nodeId }
    },
  }
}

/** A well-behaved stream that wants everything of every type, each ACKed as it comes; see `XdsStream.drained`. */
export function freshStream(server: Server, types: readonly string[]): XdsStream {
  const stream = new XdsStream(server.fresh())
  for (const type of types) stream.send({ type, subscribe: ['*'] })
  return stream
}
