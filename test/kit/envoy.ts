/**
 * A real Envoy that is fed by a plain delta-ADS server: what the builders make, without controller and sidecar.
 * In: snapshots and an SVID. Out: the running proxy, its NACKs and its access log. Everything ends with the test.
 */
import { writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { create, toBinary } from '@bufbuild/protobuf'
import * as grpc from '@grpc/grpc-js'
import type { Test } from 'tap'
import {
  isIdle,
  type ServerEvent,
  type ServerState,
  startServer,
  step,
} from '../../common/delta-xds/server.ts'
import { fromRequestMessage, toResponseMessage } from '../../common/delta-xds/wire.ts'
import { toServiceDefinition } from '../../common/grpc-service.ts'
import { SECRET_SVID, TYPE_URLS, type XdsSnapshot } from '../../common/xds.ts'
import { toXdsResource, toXdsSnapshot } from '../../common/xds-snapshot.ts'
import type {
  HTTPAccessLogEntry,
  TCPAccessLogEntry,
} from '../../proto/gen/envoy/data/accesslog/v3/accesslog_pb.js'
import { SecretSchema } from '../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import {
  AccessLogService,
  type StreamAccessLogsMessage,
} from '../../proto/gen/envoy/service/accesslog/v3/als_pb.js'
import { AggregatedDiscoveryService } from '../../proto/gen/envoy/service/discovery/v3/ads_pb.js'
import type {
  DeltaDiscoveryRequest,
  DeltaDiscoveryResponse,
} from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.js'
import { type makeSvid, toPem } from './identity.ts'
import { startProcess } from './process.ts'
import { toDynamicBootstrap } from './static-bootstrap.ts'
import { tempDir } from './tempdir.ts'
import { toolPath } from './tools.ts'
import { waitFor } from './wait.ts'

export type TestSvid = Awaited<ReturnType<typeof makeSvid>>
type Call = grpc.ServerDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>

export class TestEnvoy {
  readonly nacks: string[] = []
  readonly httpLog: HTTPAccessLogEntry[] = []
  readonly tcpLog: TCPAccessLogEntry[] = []
  readonly #adminSocket: string
  #svid: TestSvid
  #snapshot: XdsSnapshot
  #call: Call | undefined
  #state: ServerState = startServer({ isolate: false })

  constructor(folder: string, svid: TestSvid, snapshot: XdsSnapshot) {
    this.#adminSocket = join(folder, 'admin.sock')
    this.#svid = svid
    this.#snapshot = snapshot
  }

  /** Sends a snapshot and waits until Envoy has answered for all of it, and nothing warms. */
  async publish(snapshot: XdsSnapshot): Promise<void> {
    this.#snapshot = snapshot
    this.#step({ kind: 'snapshot', snapshot: this.#withSvid() })
    await this.settled()
  }

  /** Gives Envoy another certificate and key, as a renewal does. */
  renew(svid: TestSvid): Promise<void> {
    this.#svid = svid
    return this.publish(this.#snapshot)
  }

  /** Takes one resource away from what was published last. */
  publishWithout(name: string): Promise<void> {
    const lists = [...this.#snapshot.resources].map(
      ([type, map]) => [type, [...map.values()].filter((r) => r.name !== name)] as const,
    )
    return this.publish(toXdsSnapshot(new Map(lists)))
  }

  settled(): Promise<unknown> {
    return waitFor(
      async () =>
        this.#call !== undefined &&
        this.#state.subscriptions.has(TYPE_URLS.listener) &&
        isIdle(this.#state) &&
        (await this.admin('/ready')) === 'LIVE\n' &&
        /total_listeners_warming: 0\n/.test(await this.admin('/stats?filter=warming')),
      { what: `Envoy to settle; NACKs: ${this.nacks.join('; ')}` },
    )
  }

  admin(path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const asked = request({ socketPath: this.#adminSocket, path }, (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (part) => {
          text += part
        })
        response.on('end', () => resolve(text))
      })
      asked.on('error', reject).end()
    })
  }

  /** The services that Envoy calls, for a gRPC server. */
  addTo(server: grpc.Server): void {
    server.addService(toServiceDefinition(AggregatedDiscoveryService), {
      DeltaAggregatedResources: (call: Call) => this.#open(call),
      StreamAggregatedResources: (call: Call) => call.end(),
    })
    server.addService(toServiceDefinition(AccessLogService), {
      StreamAccessLogs: (call: grpc.ServerReadableStream<StreamAccessLogsMessage, unknown>) => {
        call.on('error', () => {})
        call.on('data', ({ logEntries }: StreamAccessLogsMessage) => {
          if (logEntries.case === 'httpLogs') this.httpLog.push(...logEntries.value.logEntry)
          if (logEntries.case === 'tcpLogs') this.tcpLog.push(...logEntries.value.logEntry)
        })
      },
    })
  }

  #open(call: Call): void {
    call.on('error', () => {})
    this.#call = call
    this.#state = startServer({ isolate: false })
    this.#step({ kind: 'snapshot', snapshot: this.#withSvid() })
    call.on('data', (message: DeltaDiscoveryRequest) =>
      this.#step({ kind: 'request', request: fromRequestMessage(message) }),
    )
  }

  #step(event: ServerEvent): void {
    const { state, effects } = step(this.#state, event)
    this.#state = state
    for (const effect of effects) {
      if (effect.kind === 'send') this.#call?.write(toResponseMessage(effect))
      if (effect.kind === 'nacked') this.nacks.push(effect.message)
    }
  }

  /** What the sidecar does: adds the workload's own certificate and key. */
  #withSvid(): XdsSnapshot {
    const key = this.#svid.key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    const text = (value: string) => ({ specifier: { case: 'inlineString', value } }) as const
    const secret = create(SecretSchema, {
      name: SECRET_SVID,
      type: {
        case: 'tlsCertificate',
        value: { certificateChain: text(toPem(this.#svid.der)), privateKey: text(key) },
      },
    })
    const own = toXdsResource(SECRET_SVID, toBinary(SecretSchema, secret))
    const all = [...this.#snapshot.resources].map(
      ([type, map]) => [type, [...map.values()]] as const,
    )
    const resources = new Map(all)
    resources.set(TYPE_URLS.secret, [...(resources.get(TYPE_URLS.secret) ?? []), own])
    return toXdsSnapshot(resources)
  }
}

/** Starts Envoy with a first snapshot, behind a command that runs it elsewhere; resolves when it serves it. */
export async function startEnvoy(
  t: Test,
  svid: TestSvid,
  snapshot: XdsSnapshot,
  prefix: readonly string[] = [],
): Promise<TestEnvoy> {
  const folder = tempDir(t)
  const envoy = new TestEnvoy(folder, svid, snapshot)
  const server = new grpc.Server()
  envoy.addTo(server)
  const socket = join(folder, 'xds.sock')
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socket}`, grpc.ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    )
  })
  t.teardown(() => server.forceShutdown())
  const bootstrap = join(folder, 'bootstrap.json')
  writeFileSync(bootstrap, JSON.stringify(bootstrapFor(folder, socket)))
  const args = ['-c', bootstrap, '--disable-hot-restart', '--concurrency', '1', '-l', 'warn']
  const drain = ['--drain-time-s', '5', '--drain-strategy', 'immediate']
  const [command = '', ...first] = [...prefix, toolPath('envoy')]
  startProcess(t, command, [...first, ...args, ...drain])
  await envoy.settled()
  return envoy
}

function bootstrapFor(folder: string, socket: string): object {
  const none = {
    listeners: [],
    routes: [],
    clusters: [],
    endpoints: [],
    extensions: [],
    secrets: [],
  }
  const pipes = {
    postern_sidecar: socket,
    postern_als: socket,
    postern_authz: `${folder}/authz.sock`,
  }
  const ads = { ads: {}, resourceApiVersion: 'V3' }
  const bootstrap = toDynamicBootstrap(none, pipes)
  return {
    ...bootstrap,
    admin: { address: { pipe: { path: join(folder, 'admin.sock') } } },
    dynamicResources: {
      ...(bootstrap.dynamicResources as object),
      ldsConfig: ads,
      cdsConfig: ads,
    },
  }
}
