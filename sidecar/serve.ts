/**
 * What runs for one workload, part of the composition root: the check worker and its bundles, then xDS and Envoy on top.
 * In: configuration, identity, its first SVID. Out: everything has ended in order, since `signal` fired or since the
 * identity is another workload's now.
 */
import { randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import type { Clock } from '../common/clock.ts'
import { FileBundleStore } from './adapters/fs/bundle-store.ts'
import { DecisionLogFile } from './adapters/fs/decision-log-file.ts'
import { SocketMark } from './adapters/fs/socket-mark.ts'
import { createAccessLogService } from './adapters/grpc/als-server.ts'
import { BundleClient } from './adapters/http/bundle-client.ts'
import type { HealthFacts } from './adapters/http/health.ts'
import { type CheckThreadData, spawnCheckThread } from './adapters/worker/check-thread.ts'
import { LostCount } from './adapters/worker/lost-count.ts'
import type { SidecarConfig } from './config.ts'
import type { LogLabels } from './core/decision-log/record.ts'
import type { RunPaths } from './core/envoy/bootstrap.ts'
import type { CheckWorker, IdentitySource, Svid } from './ports.ts'
import { ProxyParts } from './proxy-parts.ts'
import { createAccessLogRecorder } from './runtime/access-log-recorder.ts'
import { startBundleLoop } from './runtime/bundle-loop.ts'
import { startCheckWorker } from './runtime/check-worker.ts'
import type { WorkloadIdentitySource } from './runtime/identity.ts'
import { OneWorkload } from './runtime/one-workload.ts'

export interface ServeOptions {
  readonly config: SidecarConfig
  readonly paths: RunPaths
  readonly identity: WorkloadIdentitySource
  readonly svid: Svid
  readonly instanceId: string
  readonly version: string
  readonly clock: Clock
  readonly log: Logger
  /** Fires when the drain is to end at once. */
  readonly hurry: AbortSignal
  /** Called once everything has started. */
  readonly onFacts: (facts: () => HealthFacts) => void
}

/** Resolves with the SVID of the workload that is to be served next, or with undefined when `signal` fired. */
export async function serve(options: ServeOptions, signal: AbortSignal): Promise<Svid | undefined> {
  const { config, svid, version, log } = options
  const identity = new OneWorkload(options.identity, svid.workload)
  const { namespace, name: workload } = svid.workload
  // Not the instance's id: that one is a secret, and the log is read by many.
  const labels = { id: randomUUID(), version, workload, namespace }
  const decisionLog = new DecisionLogFile(config.decisionLog)
  const lost = new LostCount()
  const worker = await startWorker(options, { decisionLog, labels, lost })
  // The stored bundle answers before Envoy asks.
  const bundles = await startBundles(options, identity, worker)
  const recorder = createAccessLogRecorder({
    worker,
    decisionLog,
    labels,
    newId: randomUUID,
    log: log.child({ component: 'access-log' }),
  })
  const proxy = new ProxyParts({
    ...options,
    identity,
    worker,
    bundleProblem: () => bundles.problem(),
    bundleNotStored: () => bundles.storeProblem(),
    identityProblem: () => options.identity.problem(),
    requires: () => bundles.requires(),
    decisionsLost: () => recorder.lost() + lost.value(),
    services: [createAccessLogService((entry) => recorder.record(entry))],
  })
  const reopen = () => worker.reopenLog()
  process.on('SIGHUP', reopen)
  let next: Svid | undefined
  try {
    await proxy.start()
    options.onFacts(() => proxy.facts())
    next = await Promise.race([fired(signal), identity.moved])
    if (next === undefined) log.info({ drainSeconds: config.drainSeconds }, 'sidecar stops')
    else log.warn({ from: svid.workload, to: next.workload }, 'another workload now; starts anew')
    return next
  } finally {
    process.off('SIGHUP', reopen)
    identity.close()
    // What is configured for a workload that is no more must not be served to the end.
    await proxy.stop(next === undefined ? config.drainSeconds * 1000 : 0, options.hurry)
    await bundles.stop()
    if (next !== undefined) await bundles.forget()
    await worker.stop(0)
  }
}

interface LogParts {
  readonly decisionLog: DecisionLogFile
  readonly labels: LogLabels
  readonly lost: LostCount
}

function startWorker(options: ServeOptions, { decisionLog, labels, lost }: LogParts) {
  const { config, paths, log } = options
  const data: CheckThreadData = {
    socketPath: paths.authzSocket,
    decisionLog: config.decisionLog,
    torn: decisionLog.torn,
    lost: lost.memory,
    labels,
  }
  return startCheckWorker({
    spawn: () => spawnCheckThread(data),
    socket: new SocketMark(paths.authzSocket),
    compile: (wasm) => WebAssembly.compile(wasm),
    decisionLog,
    labels,
    log: log.child({ component: 'check-worker' }),
  })
}

async function startBundles(options: ServeOptions, identity: IdentitySource, worker: CheckWorker) {
  const { config, svid, log } = options
  const source = new BundleClient({ target: config.controller, identity })
  const store = new FileBundleStore(config.state)
  const loop = await startBundleLoop({
    source,
    store,
    worker,
    workload: `${svid.workload.namespace}/${svid.workload.name}`,
    log: log.child({ component: 'bundles' }),
    random: Math.random,
  })
  return {
    problem: () => loop.problem(),
    storeProblem: () => loop.storeProblem(),
    requires: () => loop.requires(),
    forget: () => store.forget(),
    stop: async () => {
      await loop.stop()
      source.close()
    },
  }
}

function fired(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined)
    signal.addEventListener('abort', () => resolve(undefined))
  })
}
