/**
 * What runs for one workload, part of the composition root: what decides, then xDS and Envoy on top.
 * In: configuration, identity, its first SVID. Out: everything has ended in order, since `signal` fired or since the
 * identity is another workload's now.
 */
import type { Logger } from 'pino'
import type { Clock } from '../common/clock.ts'
import type { MeshError } from '../common/errors.ts'
import type { HealthFacts } from './adapters/http/health.ts'
import type { ServingReadings } from './adapters/metrics/sidecar-metrics.ts'
import type { SidecarConfig } from './config.ts'
import type { RunPaths } from './core/envoy/bootstrap.ts'
import { startDecisions } from './decision-parts.ts'
import type { Svid } from './ports.ts'
import { ProxyParts } from './proxy-parts.ts'
import type { WorkloadIdentitySource } from './runtime/identity.ts'
import { OneWorkload, type SharedIdentity } from './runtime/one-workload.ts'

export interface ServeOptions {
  readonly config: SidecarConfig
  readonly paths: RunPaths
  readonly runDir: { problem(): MeshError | undefined }
  readonly identity: SharedIdentity & Pick<WorkloadIdentitySource, 'problem'>
  readonly svid: Svid
  readonly instanceId: string
  readonly version: string
  readonly clock: Clock
  readonly log: Logger
  /** Fires when the drain is to end at once. */
  readonly hurry: AbortSignal
  /** Called once everything has started. */
  readonly onStarted: (shown: Shown) => void
}

/** How the parts are, at the moment of the question. */
export interface Shown {
  facts(): HealthFacts
  readings(): ServingReadings
  envoyLines(): AsyncIterable<string>
}

/** Resolves with the SVID of the workload that is to be served next, or with undefined when `signal` fired. */
export async function serve(options: ServeOptions, signal: AbortSignal): Promise<Svid | undefined> {
  const { config, svid, log } = options
  const identity = new OneWorkload(options.identity, svid.workload)
  // The stored bundle answers before Envoy asks.
  const decisions = await startDecisions(options, identity)
  const proxy = new ProxyParts({
    ...options,
    identity,
    identityProblem: () => options.identity.problem(),
    runDirProblem: () => options.runDir.problem(),
    decisions,
  })
  const reopen = () => decisions.reopen()
  process.on('SIGHUP', reopen)
  let next: Svid | undefined
  try {
    await proxy.start()
    options.onStarted(proxy)
    next = await Promise.race([fired(signal), identity.moved])
    if (next === undefined) log.info({ drainSeconds: config.drainSeconds }, 'sidecar stops')
    else log.warn({ from: svid.workload, to: next.workload }, 'another workload now; starts anew')
    return next
  } finally {
    process.off('SIGHUP', reopen)
    identity.close()
    // What is configured for a workload that is no more must not be served to the end.
    await proxy.stop(next === undefined ? config.drainSeconds * 1000 : 0, options.hurry)
    await decisions.stop(next !== undefined)
  }
}

function fired(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined)
    signal.addEventListener('abort', () => resolve(undefined))
  })
}
