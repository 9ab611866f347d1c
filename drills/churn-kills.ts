/**
 * What the churn drill kills and brings back: the controller, a sidecar, its Envoy, and workloads that come and go.
 * Each ends when what was killed serves again, so that outages never hide each other.
 */
import { waitFor } from '../demo/process.ts'
import type { Stack } from '../demo/stack.ts'
import type { Outage } from './churn-callers.ts'
import { envoyOf } from './outage.ts'

export type KillKind = 'controller' | 'sidecar' | 'Envoy'

const VICTIM = 'shop/victim'
const BACK_MS = 60_000

export interface Kill {
  readonly kind: KillKind
  readonly outage: Outage
  /** Milliseconds from the kill until it served again. */
  readonly backMs: number
}

/** Adds to `absences` how long there was no controller. */
async function killController(stack: Stack, absences: Outage[]): Promise<void> {
  const absence: Outage = { from: performance.now(), to: Number.POSITIVE_INFINITY }
  absences.push(absence)
  stack.controller?.kill('SIGKILL')
  await stack.controller?.ended
  await stack.startController()
  absence.to = performance.now()
}

async function killSidecar(stack: Stack): Promise<void> {
  const child = stack.sidecars.get(VICTIM)
  child?.kill('SIGKILL')
  await child?.ended
  await stack.startSidecar(VICTIM)
}

function killEnvoy(stack: Stack): void {
  const pid = envoyOf(stack.sidecars.get(VICTIM)?.pid ?? -1)
  if (pid === undefined) throw new Error(`${VICTIM} has no Envoy`)
  process.kill(pid, 'SIGKILL')
}

/** Kills one and resolves when `serves` says that calls to the victim pass again. */
export async function kill(
  stack: Stack,
  kind: KillKind,
  { outages, absences }: { readonly outages: Outage[]; readonly absences: Outage[] },
  serves: () => Promise<boolean>,
): Promise<Kill> {
  const outage: Outage = { from: performance.now(), to: Number.POSITIVE_INFINITY }
  // The controller's death excuses no call; only edits that it missed wait for it.
  if (kind !== 'controller') outages.push(outage)
  if (kind === 'controller') await killController(stack, absences)
  if (kind === 'sidecar') await killSidecar(stack)
  if (kind === 'Envoy') killEnvoy(stack)
  await waitFor(`calls after the ${kind} was killed`, serves, { timeoutMs: BACK_MS })
  outage.to = performance.now()
  return { kind, outage, backMs: outage.to - outage.from }
}

/** A workload comes: once its entry is known it gets a token, a sidecar and an Envoy. The controller may be away. */
export async function bringUp(stack: Stack, workload: string): Promise<void> {
  const hasSidecar = async () => {
    try {
      await stack.startSidecar(workload)
      return true
    } catch {
      return false
    }
  }
  await waitFor(`${workload} to have a sidecar`, hasSidecar, { timeoutMs: BACK_MS })
  await stack.untilReady(workload, BACK_MS)
}

/** And goes again, in an orderly way or not. */
export async function takeDown(stack: Stack, workload: string, isKilled: boolean): Promise<void> {
  const child = stack.sidecars.get(workload)
  if (isKilled) child?.kill('SIGKILL')
  else await child?.stop()
  await child?.ended
  stack.forget(workload)
}
