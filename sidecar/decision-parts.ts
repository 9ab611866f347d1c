/**
 * Everything that decides for one workload and says so, part of the composition root: the check worker, its bundles,
 * the decision log, and Envoy's access log that feeds it. In: configuration, identity. Out: what xDS and Envoy need of it.
 */
import { randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import type { MeshError } from '../common/errors.ts'
import { LogLimit } from '../common/log-limit.ts'
import { FileBundleStore } from './adapters/fs/bundle-store.ts'
import { DecisionLogFile, type LogFileOptions } from './adapters/fs/decision-log-file.ts'
import { SocketMark } from './adapters/fs/socket-mark.ts'
import { createAccessLogService } from './adapters/grpc/als-server.ts'
import { SessionBundleSource } from './adapters/grpc/bundle-client.ts'
import { OtlpClient } from './adapters/grpc/otlp-client.ts'
import { createTraceService } from './adapters/grpc/otlp-server.ts'
import { BundleClient } from './adapters/http/bundle-client.ts'
import { type CheckThreadData, spawnCheckThread } from './adapters/worker/check-thread.ts'
import { LostCount } from './adapters/worker/lost-count.ts'
import { SpansPending } from './adapters/worker/span-buffer.ts'
import type { SidecarConfig } from './config.ts'
import type { LogLabels } from './core/decision-log/record.ts'
import type { RunPaths } from './core/envoy/bootstrap.ts'
import type { CheckWorker, IdentitySource, Svid } from './ports.ts'
import type { LogProblems, ProxyDecisions } from './proxy-parts.ts'
import { createAccessLogRecorder } from './runtime/access-log-recorder.ts'
import { startBundleLoop } from './runtime/bundle-loop.ts'
import { startCheckWorker } from './runtime/check-worker.ts'
import { DecisionTally } from './runtime/decision-tally.ts'
import { SpanRelay } from './runtime/span-relay.ts'

/** The last spans may take so long to reach the collector. */
const SPANS_GRACE_MS = 1000

export interface DecisionOptions {
  readonly config: Pick<SidecarConfig, 'controller' | 'state' | 'decisionLog' | 'accessLog'>
  readonly paths: Pick<RunPaths, 'authzSocket'>
  readonly svid: Svid
  readonly version: string
  readonly log: Logger
}

export interface DecisionParts extends ProxyDecisions {
  /** Opens log files again, after a rotation. */
  reopen(): void
  /** `forget`: what is stored of this workload goes too. */
  stop(forget: boolean): Promise<void>
}

/** Resolves when Envoy may ask: the stored bundle answers, or nothing does yet and all is denied. */
export async function startDecisions(
  options: DecisionOptions,
  identity: IdentitySource,
): Promise<DecisionParts> {
  const logs = new Logs()
  const shared = openShared(options, logs)
  const accessLog = openAccessLog(options, logs)
  const worker = await startWorker(options, shared)
  const bundles = await startBundles(options, identity, worker)
  const recorder = createAccessLogRecorder({
    ...shared,
    ...(accessLog === undefined ? {} : { accessLog }),
    worker,
    newId: randomUUID,
    limit: new LogLimit({ nowMs: () => performance.now() }),
    log: options.log.child({ component: 'recorder' }),
  })
  return {
    worker,
    bundles: bundles.loop,
    bundleNotStored: () => bundles.loop.storeProblem(),
    logs,
    requires: () => bundles.loop.requires(),
    attach: (session) => bundles.source.attach(session),
    missed: (problem) => bundles.source.missed(problem),
    services: [
      createAccessLogService((entry) => recorder.record(entry)),
      createTraceService((request, target) => shared.spans.take(request, target)),
    ],
    counted: () => ({
      bundles: { ...bundles.loop.figures(), isNewest: bundles.loop.problem() === undefined },
      tally: shared.tally.read(),
      workersReplaced: worker.replaced(),
      decisionsLost: recorder.lost() + shared.lost.value(),
      access: recorder.access(),
      spans: shared.spans.figures(),
    }),
    reopen: () => {
      worker.reopenLog()
      accessLog?.reopen()
    },
    stop: async (forget) => {
      await bundles.stop()
      if (forget) await bundles.store.forget()
      await worker.stop(0)
      await shared.spans.stop(SPANS_GRACE_MS)
      logs.close()
    },
  }
}

/** Nothing waits for it: a reader that doesn't keep up misses lines, and they are counted. */
function openAccessLog({ config, log }: DecisionOptions, logs: Logs): DecisionLogFile | undefined {
  if (config.accessLog === undefined) return undefined
  return logs.open('access log', config.accessLog, log, { fullPipeWaitMs: 0 })
}

/** Log files of the main thread, and how they are. */
class Logs implements LogProblems {
  readonly #files: (readonly [string, DecisionLogFile])[] = []
  readonly #listeners = new Set<() => void>()

  open(name: string, target: string, log: Logger, options: LogFileOptions = {}): DecisionLogFile {
    const tell = () => {
      for (const listener of this.#listeners) listener()
    }
    const file = new DecisionLogFile(target, {
      ...options,
      onFault: (err) => {
        log.error({ err }, `${name} not opened; tried again each second`)
        tell()
      },
      onMended: tell,
    })
    this.#files.push([name, file])
    return file
  }

  close(): void {
    for (const [, file] of this.#files) file.close()
  }

  problems(): readonly (readonly [string, MeshError])[] {
    return this.#files.flatMap(([name, file]) => {
      const problem = file.problem()
      return problem === undefined ? [] : [[name, problem] as const]
    })
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}

/** Not the instance's id: that one is a secret, and the log is read by many. */
function labelsOf({ svid, version }: DecisionOptions): LogLabels {
  const { namespace, name: workload } = svid.workload
  return { id: randomUUID(), version, workload, namespace }
}

/** What both threads write to and count in. */
function openShared(options: DecisionOptions, logs: Logs): Shared {
  const { config, log } = options
  return {
    decisionLog: logs.open('decision log', config.decisionLog, log),
    labels: labelsOf(options),
    lost: new LostCount(),
    tally: new DecisionTally(),
    spansPending: new SpansPending(),
    spans: new SpanRelay({ sink: new OtlpClient(), log: log.child({ component: 'spans' }) }),
  }
}

interface Shared {
  readonly decisionLog: DecisionLogFile
  readonly labels: LogLabels
  readonly lost: LostCount
  readonly tally: DecisionTally
  readonly spansPending: SpansPending
  readonly spans: SpanRelay
}

function startWorker({ config, paths, log }: DecisionOptions, shared: Shared) {
  const { decisionLog, labels, lost, tally, spansPending, spans } = shared
  const data: CheckThreadData = {
    socketPath: paths.authzSocket,
    decisionLog: config.decisionLog,
    torn: decisionLog.torn,
    lost: lost.memory,
    tally: tally.sheet().memory,
    spansPending: spansPending.memory,
    labels,
  }
  return startCheckWorker({
    spawn: () => spawnCheckThread(data),
    socket: new SocketMark(paths.authzSocket),
    compile: (wasm) => WebAssembly.compile(wasm),
    decisionLog,
    labels,
    tally,
    onSpans: (list) => {
      spansPending.add(-list.length)
      spans.takeDecisions(list)
    },
    onEnd: () => spans.drop(spansPending.reset(), 'the check worker ended'),
    log: log.child({ component: 'check-worker' }),
  })
}

async function startBundles(
  options: DecisionOptions,
  identity: IdentitySource,
  worker: CheckWorker,
) {
  const { config, svid, log } = options
  const workload = `${svid.workload.namespace}/${svid.workload.name}`
  const older = new BundleClient({ target: config.controller, identity })
  const source = new SessionBundleSource({ workload, older })
  const store = new FileBundleStore(config.state)
  const loop = await startBundleLoop({
    source,
    store,
    worker,
    workload,
    log: log.child({ component: 'bundles' }),
    random: Math.random,
  })
  const stop = async () => {
    await loop.stop()
    older.close()
  }
  return { loop, store, source, stop }
}
