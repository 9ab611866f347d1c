/**
 * What runs once there is an identity, part of the composition root: the check worker and its bundles, then xDS and Envoy on top.
 * In: configuration, identity, its first SVID. Out: resolves when `signal` fired and everything has ended in order.
 */
import { randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import type { Clock } from '../common/clock.ts'
import { FileBundleStore } from './adapters/fs/bundle-store.ts'
import { DecisionLogFile } from './adapters/fs/decision-log-file.ts'
import { createAccessLogService } from './adapters/grpc/als-server.ts'
import { BundleClient } from './adapters/http/bundle-client.ts'
import type { HealthFacts } from './adapters/http/health.ts'
import { spawnCheckThread } from './adapters/worker/check-thread.ts'
import type { SidecarConfig } from './config.ts'
import type { RunPaths } from './core/envoy/bootstrap.ts'
import type { CheckWorker, Svid } from './ports.ts'
import { ProxyParts } from './proxy-parts.ts'
import { createAccessLogRecorder } from './runtime/access-log-recorder.ts'
import { startBundleLoop } from './runtime/bundle-loop.ts'
import { startCheckWorker } from './runtime/check-worker.ts'
import type { WorkloadIdentitySource } from './runtime/identity.ts'

export interface ServeOptions {
  readonly config: SidecarConfig
  readonly paths: RunPaths
  readonly identity: WorkloadIdentitySource
  readonly svid: Svid
  readonly instanceId: string
  readonly version: string
  readonly clock: Clock
  readonly log: Logger
  /** Called once everything has started. */
  readonly onFacts: (facts: () => HealthFacts) => void
}

export async function serve(options: ServeOptions, signal: AbortSignal): Promise<void> {
  const { config, paths, svid, instanceId, version, log } = options
  const { namespace, name: workload } = svid.workload
  const labels = { id: instanceId, version, workload, namespace }
  const decisionLog = new DecisionLogFile(config.decisionLog)
  const worker = await startCheckWorker({
    spawn: () =>
      spawnCheckThread({ socketPath: paths.authzSocket, decisionLog: config.decisionLog, labels }),
    compile: (wasm) => WebAssembly.compile(wasm),
    decisionLog,
    labels,
    log: log.child({ component: 'check-worker' }),
  })
  // The stored bundle answers before Envoy asks.
  const bundles = await startBundles(options, worker)
  const recorder = createAccessLogRecorder({
    worker,
    decisionLog,
    labels,
    newId: randomUUID,
    log: log.child({ component: 'access-log' }),
  })
  const proxy = new ProxyParts({
    ...options,
    worker,
    bundleProblem: () => bundles.problem(),
    decisionsLost: () => recorder.lost(),
    services: [createAccessLogService((entry) => recorder.record(entry))],
  })
  const reopen = () => worker.reopenLog()
  process.on('SIGHUP', reopen)
  try {
    await proxy.start()
    options.onFacts(() => proxy.facts())
    await fired(signal)
    log.info({ drainSeconds: config.drainSeconds }, 'sidecar stops')
  } finally {
    process.off('SIGHUP', reopen)
    await proxy.stop(config.drainSeconds * 1000)
    await bundles.stop()
    await worker.stop(0)
  }
}

async function startBundles(options: ServeOptions, worker: CheckWorker) {
  const { config, identity, svid, log } = options
  const source = new BundleClient({ target: config.controller, identity })
  const loop = await startBundleLoop({
    source,
    store: new FileBundleStore(config.state),
    worker,
    workload: `${svid.workload.namespace}/${svid.workload.name}`,
    log: log.child({ component: 'bundles' }),
    random: Math.random,
  })
  return {
    problem: () => loop.problem(),
    stop: async () => {
      await loop.stop()
      source.close()
    },
  }
}

function fired(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve())
  })
}
