/**
 * Everything that decides for one workload and says so, part of the composition root: the check worker, its bundles,
 * the decision log, and Envoy's access log that feeds it. In: configuration, identity. Out: what xDS and Envoy need of it.
 */
import { randomUUID } from 'node:crypto'
import type { Logger } from 'pino'
import { FileBundleStore } from './adapters/fs/bundle-store.ts'
import { DecisionLogFile } from './adapters/fs/decision-log-file.ts'
import { SocketMark } from './adapters/fs/socket-mark.ts'
import { createAccessLogService } from './adapters/grpc/als-server.ts'
import { BundleClient } from './adapters/http/bundle-client.ts'
import { type CheckThreadData, spawnCheckThread } from './adapters/worker/check-thread.ts'
import { LostCount } from './adapters/worker/lost-count.ts'
import type { SidecarConfig } from './config.ts'
import type { LogLabels } from './core/decision-log/record.ts'
import type { RunPaths } from './core/envoy/bootstrap.ts'
import type { CheckWorker, IdentitySource, Svid } from './ports.ts'
import type { ProxyDecisions } from './proxy-parts.ts'
import { createAccessLogRecorder } from './runtime/access-log-recorder.ts'
import { startBundleLoop } from './runtime/bundle-loop.ts'
import { startCheckWorker } from './runtime/check-worker.ts'
import { DecisionTally } from './runtime/decision-tally.ts'

export interface DecisionOptions {
  readonly config: Pick<SidecarConfig, 'controller' | 'state' | 'decisionLog'>
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
  const { config, log } = options
  const shared = {
    decisionLog: new DecisionLogFile(config.decisionLog),
    labels: labelsOf(options),
    lost: new LostCount(),
    tally: new DecisionTally(),
  }
  const worker = await startWorker(options, shared)
  const bundles = await startBundles(options, identity, worker)
  const recorder = createAccessLogRecorder({
    ...shared,
    worker,
    newId: randomUUID,
    log: log.child({ component: 'access-log' }),
  })
  return {
    worker,
    bundles: bundles.loop,
    bundleNotStored: () => bundles.loop.storeProblem(),
    requires: () => bundles.loop.requires(),
    services: [createAccessLogService((entry) => recorder.record(entry))],
    counted: () => ({
      bundles: { ...bundles.loop.figures(), isNewest: bundles.loop.problem() === undefined },
      tally: shared.tally.read(),
      workersReplaced: worker.replaced(),
      decisionsLost: recorder.lost() + shared.lost.value(),
    }),
    reopen: () => worker.reopenLog(),
    stop: async (forget) => {
      await bundles.stop()
      if (forget) await bundles.store.forget()
      await worker.stop(0)
    },
  }
}

/** Not the instance's id: that one is a secret, and the log is read by many. */
function labelsOf({ svid, version }: DecisionOptions): LogLabels {
  const { namespace, name: workload } = svid.workload
  return { id: randomUUID(), version, workload, namespace }
}

interface Shared {
  readonly decisionLog: DecisionLogFile
  readonly labels: LogLabels
  readonly lost: LostCount
  readonly tally: DecisionTally
}

function startWorker({ config, paths, log }: DecisionOptions, shared: Shared) {
  const { decisionLog, labels, lost, tally } = shared
  const data: CheckThreadData = {
    socketPath: paths.authzSocket,
    decisionLog: config.decisionLog,
    torn: decisionLog.torn,
    lost: lost.memory,
    tally: tally.sheet().memory,
    labels,
  }
  return startCheckWorker({
    spawn: () => spawnCheckThread(data),
    socket: new SocketMark(paths.authzSocket),
    compile: (wasm) => WebAssembly.compile(wasm),
    decisionLog,
    labels,
    tally,
    log: log.child({ component: 'check-worker' }),
  })
}

async function startBundles(
  options: DecisionOptions,
  identity: IdentitySource,
  worker: CheckWorker,
) {
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
  const stop = async () => {
    await loop.stop()
    source.close()
  }
  return { loop, store, stop }
}
