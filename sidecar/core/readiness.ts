/**
 * Whether this proxy is ready, what it really enforces, and why not the newest. In: what each part says of itself.
 * Out: plain values for health and for the controller. A generation is enforced when Envoy ACKed all of it and nothing
 * warms or drains: an ACK alone is not enforcement (DESIGN §6).
 */
import type { EnvoyState } from '../ports.ts'
import type { Progress } from './xds/verdict.ts'

export interface ReadinessInput {
  readonly hasIdentity: boolean
  readonly progress: Progress
  readonly envoy: EnvoyState & {
    readonly workersStarted: boolean
    readonly reason: string
    /** Why it died again and again; empty: it does not. */
    readonly trouble: string
    readonly isStopping: boolean
  }
  /** False: the socket by which Envoy gets its configuration is not where it was bound. */
  readonly isSocketBound: boolean
  /** False: the check worker is being replaced. */
  readonly isAnswering: boolean
  /** Undefined: the check worker has no bundle. */
  readonly bundleRevision: string | undefined
  /** Why the newest bundle is not active; undefined: it is, as far as is known. */
  readonly bundleProblem: string | undefined
  /** What does not hinder now: a renewal that failed, a disk that takes nothing. */
  readonly notices: readonly string[]
  /** What was enforced by this Envoy process until now; empty: nothing. */
  readonly enforcedBefore: string
}

export interface Readiness {
  readonly ready: boolean
  /** Empty: none. */
  readonly enforcedGeneration: string
  /** Why it is not ready, or the newest is not enforced; empty when all is well. */
  readonly detail: string
}

export function readinessOf(input: ReadinessInput): Readiness {
  const { progress, envoy } = input
  const isSettled = envoy.live && envoy.warming === 0 && envoy.draining === 0
  const isEnforced = isSettled && progress.isAccepted
  const before = envoy.running ? input.enforcedBefore : ''
  // One that has enforced a generation goes on with its listeners until Envoy has said what it makes of the new ones.
  const hasListeners =
    progress.listeners === 'there' || (progress.listeners === 'open' && before !== '')
  const isWarm = envoy.warming === 0 || before !== ''
  const reasons = [
    ...(input.hasIdentity ? [] : ['no identity']),
    ...envoyReasons(input),
    ...workerReasons(input),
    ...(input.bundleProblem === undefined ? [] : [`policy bundle: ${input.bundleProblem}`]),
    ...progress.refusals,
    ...(progress.isAccepted || progress.refusals.length > 0 ? [] : ['envoy has not taken all yet']),
    ...input.notices,
  ]
  return {
    ready: input.hasIdentity && canServe(envoy) && isWarm && hasListeners && hasAnswers(input),
    enforcedGeneration: isEnforced ? progress.generation : before,
    detail: reasons.join('; '),
  }
}

function canServe({ live, workersStarted, isStopping }: ReadinessInput['envoy']): boolean {
  return live && workersStarted && !isStopping
}

/** Whoever Envoy asks is there: for configuration, and for decisions. */
function hasAnswers({ isSocketBound, isAnswering, bundleRevision }: ReadinessInput): boolean {
  return isSocketBound && isAnswering && bundleRevision !== undefined
}

function envoyReasons({
  envoy,
  isSocketBound,
  progress,
  enforcedBefore,
}: ReadinessInput): readonly string[] {
  const isWaiting = progress.listeners === 'open' && enforcedBefore === ''
  return [
    ...(envoy.isStopping ? ['it is draining, and takes nothing new'] : []),
    ...whyDown(envoy),
    ...(envoy.running && !envoy.live ? ['envoy is starting'] : []),
    ...(envoy.warming > 0 ? ['envoy is warming'] : []),
    ...(envoy.draining > 0 ? ['envoy is draining what was replaced'] : []),
    ...(envoy.live && isWaiting ? ['envoy has no listeners yet'] : []),
    ...(envoy.live && progress.listeners === 'missing'
      ? ['envoy has none of the listeners that it should have']
      : []),
    ...(isSocketBound ? [] : ['the socket for envoy is gone; it is bound anew']),
  ]
}

/** While it keeps dying the reason is told whether one happens to run or not. */
function whyDown({ running, reason, trouble }: ReadinessInput['envoy']): readonly string[] {
  if (trouble !== '') return [`envoy keeps dying and is started again, ever later: ${trouble}`]
  return running ? [] : [`envoy is not running: ${reason}`]
}

function workerReasons({ isAnswering, bundleRevision }: ReadinessInput): readonly string[] {
  return [
    ...(isAnswering ? [] : ['the check worker is being replaced']),
    ...(bundleRevision === undefined ? ['no policy bundle'] : []),
  ]
}
