/**
 * Everything that serves one workload once it has an identity, part of the composition root: xDS both ways, the check
 * worker, bundles, Envoy, and what is said of them. In: configuration and identity. Out: start, stop, and how it is.
 */
import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import type { Logger } from 'pino'
import writeFileAtomic from 'write-file-atomic'
import type { Clock } from '../common/clock.ts'
import { MeshError } from '../common/errors.ts'
import { FEATURES, whyOlder } from '../common/features.ts'
import { Secret } from '../common/secret.ts'
import { codeOf } from '../host/private-file.ts'
import { AdminClient } from './adapters/envoy/admin-client.ts'
import { EnvoyMetrics } from './adapters/envoy/envoy-metrics.ts'
import { EnvoyProcess } from './adapters/envoy/envoy-process.ts'
import { findDecision } from './adapters/fs/decision-log-search.ts'
import { SocketMark } from './adapters/fs/socket-mark.ts'
import { FileXdsCache } from './adapters/fs/xds-cache.ts'
import { AdsClient } from './adapters/grpc/ads-client.ts'
import { ControllerClient, type ControllerSession } from './adapters/grpc/controller-client.ts'
import { EnvoyServer, type EnvoyService } from './adapters/grpc/envoy-server.ts'
import { StatusClient } from './adapters/grpc/status-client.ts'
import type { HealthFacts } from './adapters/http/health.ts'
import type { ServingReadings } from './adapters/metrics/sidecar-metrics.ts'
import type { SidecarConfig } from './config.ts'
import { buildBootstrap, type RunPaths } from './core/envoy/bootstrap.ts'
import { envoyHeapBytes } from './core/envoy/overload.ts'
import type { Svid } from './ports.ts'
import type { BundleLoop } from './runtime/bundle-loop.ts'
import type { SupervisedCheckWorker } from './runtime/check-worker.ts'
import { EnvoySupervisor } from './runtime/envoy-supervisor.ts'
import type { OneWorkload } from './runtime/one-workload.ts'
import { Queries } from './runtime/queries.ts'
import { Reporter } from './runtime/reporter.ts'
import { XdsProxy } from './runtime/xds-proxy.ts'

export interface ProxyPartsOptions {
  readonly config: SidecarConfig
  readonly paths: RunPaths
  readonly identity: OneWorkload
  readonly svid: Svid
  readonly instanceId: string
  readonly version: string
  /** Why the SVID was not renewed, or is not stored; undefined: all is well. */
  readonly identityProblem: () => MeshError | undefined
  /** Why sockets are not in the run directory that was asked for. */
  readonly runDirProblem: () => MeshError | undefined
  /** What decides: Envoy and the controller's stream are told of it. */
  readonly decisions: ProxyDecisions
  readonly clock: Clock
  readonly log: Logger
}

export type CountedReadings = Pick<
  ServingReadings,
  'bundles' | 'tally' | 'workersReplaced' | 'decisionsLost' | 'access' | 'spans'
>

export interface LogProblems {
  /** Of the files that could not be opened: name of the log, and why. */
  problems(): readonly (readonly [string, MeshError])[]
  onChange(listener: () => void): () => void
}

export interface ProxyDecisions {
  readonly worker: SupervisedCheckWorker
  readonly bundles: Pick<BundleLoop, 'problem' | 'onChange'>
  /** Why the active bundle is not on the disk; undefined: it is. */
  bundleNotStored(): string | undefined
  readonly logs: LogProblems
  /** Features that what is enforced needs: configuration of a controller that lacks one is not taken. */
  requires(): readonly string[]
  /** Bundles come over the connection that ADS and status have. */
  attach(session: ControllerSession): void
  missed(problem: Error): void
  /** Served beside ADS on the same socket: the access log. */
  readonly services: readonly EnvoyService[]
  /** Decisions lost are those that could not be recorded, beside those that Envoy dropped itself. */
  counted(): CountedReadings
}

/** Connections that Envoy accepts at most; the process's file limit is the other bound. */
const MAX_CONNECTIONS = 20_000
const SECRET_BYTES = 32

export class ProxyParts {
  readonly #options: ProxyPartsOptions
  readonly #secret = new Secret(randomBytes(SECRET_BYTES).toString('hex'))
  readonly #nodeId: string
  readonly #upstream: AdsClient
  readonly #admin: AdminClient
  readonly #status: StatusClient
  readonly #envoyServer: EnvoyServer
  readonly #proxy: XdsProxy
  readonly #supervisor: EnvoySupervisor
  readonly #controller: ControllerClient
  readonly #reporter: Reporter
  readonly #envoyMetrics: EnvoyMetrics
  #leaveIdentity: () => void = () => {}

  constructor(options: ProxyPartsOptions) {
    this.#options = options
    const { config, paths, identity, svid, decisions, log } = options
    this.#nodeId = nodeIdOf(svid)
    this.#admin = new AdminClient(paths.adminSocket)
    this.#status = this.#createStatus()
    this.#envoyMetrics = new EnvoyMetrics(paths.adminSocket)
    this.#upstream = this.#createUpstream()
    this.#envoyServer = new EnvoyServer({
      socketPath: paths.xdsSocket,
      mark: new SocketMark(paths.xdsSocket),
      secret: this.#secret,
      services: decisions.services,
      log: log.child({ component: 'envoy-server' }),
    })
    this.#proxy = new XdsProxy({
      nodeId: this.#nodeId,
      upstream: this.#upstream,
      downstream: this.#envoyServer,
      cache: new FileXdsCache(config.state, log),
      onTrustBundle: (roots) => void this.#takeRoots(roots),
      isWarm: async () => (await this.#admin.facts())?.warming === 0,
      log: log.child({ component: 'xds-proxy' }),
    })
    this.#supervisor = this.#createSupervisor()
    this.#controller = this.#createController()
    this.#reporter = new Reporter({
      identity,
      proxy: this.#proxy,
      supervisor: this.#supervisor,
      worker: decisions.worker,
      server: this.#envoyServer,
      ...{ bundles: decisions.bundles, logs: decisions.logs },
      notices: () => this.#notices(),
      report: (report) => this.#status.report({ ...this.#self(), ...report }),
    })
  }

  /** One connection for all that is asked of the controller. */
  #createController(): ControllerClient {
    const { config, identity, decisions, log } = this.#options
    return new ControllerClient({
      target: config.controller,
      identity,
      onSession: (session) => {
        this.#upstream.attach(session)
        this.#status.attach(session)
        decisions.attach(session)
      },
      onMissed: (problem) => decisions.missed(problem),
      log: log.child({ component: 'controller-client' }),
      random: Math.random,
    })
  }

  async #takeRoots(roots: readonly Uint8Array[]): Promise<void> {
    const { identity, log } = this.#options
    try {
      await identity.updateTrustBundle(roots)
    } catch (err) {
      log.error({ err }, 'distributed roots not taken')
    }
  }

  /** What doesn't hinder now, but would after a restart or in some hours. */
  #notices(): readonly string[] {
    const { identityProblem, runDirProblem, decisions } = this.#options
    return [
      toNotice('identity', identityProblem()),
      toNotice('run directory', runDirProblem()),
      ...decisions.logs.problems().map(([name, problem]) => toNotice(name, problem)),
      this.#proxy.cacheProblem(),
      decisions.bundleNotStored(),
    ].filter((notice) => notice !== undefined)
  }

  /** What this process is, in every report. */
  #self() {
    const { instanceId, version } = this.#options
    return { nodeId: this.#nodeId, instanceId, sidecarVersion: version, features: [...FEATURES] }
  }

  async start(): Promise<void> {
    const { config, paths, identity, svid } = this.#options
    const bootstrap = buildBootstrap({
      nodeId: this.#nodeId,
      workload: `${svid.workload.namespace}/${svid.workload.name}`,
      paths,
      secret: this.#secret,
      maxConnections: MAX_CONNECTIONS,
      maxHeapBytes: envoyHeapBytes(process.constrainedMemory()),
    })
    await this.#proxy.start()
    await this.#envoyServer.start()
    await writeBootstrap(paths.bootstrap, bootstrap)
    this.#proxy.onChange(() => this.#supervisor.poke())
    this.#leaveIdentity = identity.subscribe((renewed) => this.#proxy.setSvid(renewed))
    await this.#controller.start()
    await this.#supervisor.start()
    this.#options.log.info({ nodeId: this.#nodeId, state: config.state }, 'proxy starts')
  }

  facts(): HealthFacts {
    const svid = this.#options.identity.current()
    return {
      ...this.#reporter.current(),
      identity: svid && { spiffeId: svid.spiffeId, notAfterMs: svid.notAfterMs },
    }
  }

  readings(): ServingReadings {
    const { version, live, trouble, restarts, recordsDropped, logGaps } = this.#supervisor.state()
    const counted = this.#options.decisions.counted()
    const { generation, refusals } = this.#proxy.progress()
    return {
      ...counted,
      envoyVersion: version,
      isConnected: this.#proxy.isConnected(),
      enforcedGeneration: this.#reporter.current().enforcedGeneration,
      wantedGeneration: generation,
      bundleRevision: this.#options.decisions.worker.activeRevision() ?? '',
      refusals: refusals.length,
      envoy: { isLive: live, isCrashLooping: trouble !== '', restarts },
      decisionsLost: counted.decisionsLost + recordsDropped,
      decisionLogGaps: logGaps,
      envoyScrapeFailures: this.#envoyMetrics.failures(),
    }
  }

  envoyLines(): AsyncIterable<string> {
    return this.#envoyMetrics.lines()
  }

  /** Envoy goes first, and slowly: until it has gone, everything that it asks is answered. */
  async stop(drainMs: number, hurry: AbortSignal): Promise<void> {
    // The controller must not take what starts in our place for a second one beside us.
    this.#status.close()
    await this.#supervisor.stop(drainMs, hurry)
    this.#leaveIdentity()
    this.#reporter.stop()
    await this.#controller.stop()
    await this.#envoyServer.stop()
    await this.#proxy.stop()
    const { bootstrap, adminSocket } = this.#options.paths
    for (const path of [bootstrap, adminSocket]) await rm(path, { force: true })
  }

  #createUpstream(): AdsClient {
    const { version, decisions, log } = this.#options
    return new AdsClient({
      nodeId: this.#nodeId,
      version,
      refuses: (features) => whyOlder(decisions.requires(), features),
      log: log.child({ component: 'ads-client' }),
    })
  }

  #createStatus(): StatusClient {
    const { config, decisions } = this.#options
    const { worker } = decisions
    const queries = new Queries({
      configDump: (maxBytes) => this.#admin.configDump(maxBytes),
      activeSet: () => worker.activeSet(),
      activeRevision: () => worker.activeRevision(),
      findDecision: (id) => findDecision(config.decisionLog, id),
      secret: () => this.#secret.reveal(),
    })
    return new StatusClient({ answer: (question, max) => queries.answer(question, max) })
  }

  #createSupervisor(): EnvoySupervisor {
    const { config, paths, log } = this.#options
    return new EnvoySupervisor({
      launcher: new EnvoyProcess({
        envoyPath: config.envoy,
        bootstrapPath: paths.bootstrap,
        concurrency: config.concurrency,
        drainSeconds: Math.max(1, config.drainSeconds),
        log: log.child({ component: 'envoy' }),
      }),
      admin: this.#admin,
      onStart: () => this.#proxy.envoyStarts(),
      onCrashLoop: (reason) => this.#proxy.envoyKeepsDying(reason),
      log: log.child({ component: 'envoy-supervisor' }),
    })
  }
}

function nodeIdOf({ workload }: Svid): string {
  return `${workload.namespace}/${workload.name}/${workload.uid}`
}

function toNotice(name: string, problem: MeshError | undefined): string | undefined {
  return problem && `${name}: ${problem.message} [${problem.code}]`
}

async function writeBootstrap(path: string, text: string): Promise<void> {
  try {
    await writeFileAtomic(path, text, { mode: 0o600 })
  } catch (cause) {
    const message = `cannot write ${path} (${codeOf(cause)}); make room there, or give another --run-dir`
    throw new MeshError('ERR_STATE_WRITE', message, { cause })
  }
}
