/**
 * Drill: churn (issue 5, Shows 2). Policies, endpoints and certificates change five times a second, proxies come and go,
 * the controller, a sidecar and Envoy are killed at random, while callers who are allowed call 500 times a second and
 * callers who are to be denied call beside them. Nobody is wrongly let in; no call fails but those to what was killed.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Answer, openHttp1, quantile } from '../demo/load.ts'
import type { Stack, StackOptions } from '../demo/stack.ts'
import {
  ChurnCallers,
  lateGuests,
  missedBy,
  type Outage,
  type Tally,
  unexcused,
  worstDelay,
} from './churn-callers.ts'
import { type EditKind, edited, pickEdit, seededChance } from './churn-edits.ts'
import { bringUp, type Kill, type KillKind, kill, takeDown } from './churn-kills.ts'
import {
  CHURN_PORTS,
  CHURN_WORKLOADS,
  FIRST_WORLD,
  manifestsOf,
  transientName,
  type World,
} from './churn-world.ts'
import { readSerial } from './renewal.ts'
import { type Claim, claim, type DrillReport, timedClaim } from './report.ts'

export interface ChurnOptions {
  readonly seconds: number
  readonly seed: number
  /** Of 500 allowed and 120 denied calls a second. Default 1. */
  readonly load?: number
}

const EDITS_PER_SECOND = 5
const PAUSE_MS = { kills: 4000, transients: 6000, serials: 2000 }
const KINDS: readonly KillKind[] = ['Envoy', 'sidecar', 'controller']

/** Resident memory, MiB. */
const MOST_MIB = 400

interface Memory {
  readonly before: number
  readonly after: number
  readonly controller: number
}

/** The stack that the drill runs on. */
export const CHURN_STACK: Omit<StackOptions, 'work' | 'portOffset'> = {
  workloads: CHURN_WORKLOADS,
  more: manifestsOf(FIRST_WORLD),
}

class Churn {
  readonly #stack: Stack
  readonly #chance
  readonly #end: number
  readonly #stop = new AbortController()
  #world: World = FIRST_WORLD
  readonly edits = new Map<EditKind, number>()
  readonly kills: Kill[] = []
  readonly outages: Outage[] = []
  /** Of the controller. */
  readonly absences: Outage[] = []
  readonly granted: Outage[] = []
  readonly serials = new Set<string>()
  comings = 0

  constructor(stack: Stack, options: ChurnOptions) {
    this.#stack = stack
    this.#chance = seededChance(options.seed)
    this.#end = performance.now() + options.seconds * 1000
  }

  get #isOver(): boolean {
    return performance.now() >= this.#end || this.#stop.signal.aborted
  }

  /** All that goes on at once; one that fails ends the others. */
  async run(): Promise<void> {
    const parts = [this.#edit(), this.#kill(), this.#comeAndGo(), this.#readSerials()]
    const guarded = parts.map((part) =>
      part.catch((error: unknown) => {
        this.#stop.abort()
        throw error
      }),
    )
    await Promise.allSettled(guarded)
    await Promise.all(guarded)
  }

  /** Writes the files of `next` that differ from those of the world before. */
  #become(next: World): void {
    const before = manifestsOf(this.#world)
    for (const [file, text] of Object.entries(manifestsOf(next))) {
      if (text === before[file]) continue
      const path = join(this.#stack.manifests, file)
      if (text === '') rmSync(path, { force: true })
      else writeFileSync(path, this.#stack.shift(text))
    }
    this.#world = next
  }

  async #edit(): Promise<void> {
    const start = performance.now()
    for (let n = 0; !this.#isOver; n++) {
      const kind = pickEdit(this.#chance)
      this.edits.set(kind, (this.edits.get(kind) ?? 0) + 1)
      const next = edited(this.#world, kind, this.#chance)
      if (kind === 'guests') this.#noteGrant(next.guests)
      this.#become(next)
      const dueMs = start + ((n + 1) * 1000) / EDITS_PER_SECOND - performance.now()
      await sleep(Math.max(0, dueMs))
    }
  }

  #noteGrant(isGranted: boolean): void {
    const now = performance.now()
    const last = this.granted.at(-1)
    if (isGranted) this.granted.push({ from: now, to: Number.POSITIVE_INFINITY })
    else if (last !== undefined) last.to = now
  }

  async #kill(): Promise<void> {
    const port = Number(this.#stack.shift(`${CHURN_PORTS.callerToVictim}`))
    for (let n = 0; !this.#isOver; n++) {
      await sleep(PAUSE_MS.kills)
      const kind = KINDS[n % KINDS.length] ?? 'Envoy'
      const probe = openHttp1('probe', {
        ...{ port, path: '/orders/42', ratePerSecond: 0, http1: 1, http2: 0 },
      })
      const serves = async () => (await probe.send()).status === 200
      this.kills.push(await kill(this.#stack, kind, this, serves))
      probe.close()
    }
  }

  async #comeAndGo(): Promise<void> {
    while (!this.#isOver) {
      const number = this.comings++
      const workload = `shop/${transientName(number)}`
      this.#become({ ...this.#world, transients: [number] })
      await bringUp(this.#stack, workload)
      await sleep(PAUSE_MS.transients)
      await takeDown(this.#stack, workload, number % 2 === 1)
    }
  }

  async #readSerials(): Promise<void> {
    const port = Number(this.#stack.shift(`${CHURN_PORTS.orders}`))
    while (!this.#isOver) {
      const serial = await readSerial(port)
      if (serial !== undefined) this.serials.add(serial)
      await sleep(PAUSE_MS.serials)
    }
  }
}

/** Resident memory of a process, MiB. Linux only. */
function memoryOf(pid: number | undefined): number {
  const text = readFileSync(`/proc/${pid ?? 'self'}/status`, 'utf8')
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(text)?.[1] ?? 0) / 1024)
}

export async function drillChurn(stack: Stack, options: ChurnOptions): Promise<DrillReport> {
  const churn = new Churn(stack, options)
  const callers = new ChurnCallers(stack, options.load ?? 1)
  const settled = stack.sidecars.get('shop/orders')?.pid
  const before = memoryOf(settled)
  try {
    await churn.run()
  } finally {
    await callers.stop()
  }
  const memory = { before, after: memoryOf(settled), controller: memoryOf(stack.controller?.pid) }
  return {
    name: `churn for ${options.seconds} s (seed ${options.seed})`,
    claims: [...claimsOfWorld(churn, memory), ...claimsOfCalls(callers, churn)],
  }
}

function claimsOfWorld(churn: Churn, memory: Memory): Claim[] {
  const edits = [...churn.edits.values()].reduce((sum, n) => sum + n, 0)
  const kinds = [...churn.edits].map(([kind, n]) => `${n} ${kind}`).join(', ')
  const back = KINDS.map((kind) => {
    const times = churn.kills.filter((k) => k.kind === kind).map((k) => k.backMs)
    return `${times.length} × ${kind} (median ${quantile(times, 0.5).toFixed(0)} ms)`
  })
  return [
    claim('the world changed', edits > 0, `${edits} edits: ${kinds}`),
    claim('processes were killed and served again', churn.kills.length > 0, back.join(', ')),
    claim('proxies came and went', churn.comings > 0, churn.comings),
    claim(
      'certificates changed',
      churn.serials.size > 1,
      `${churn.serials.size} serial numbers on one port`,
    ),
    claim(
      `a sidecar that lived through it holds ≤ ${MOST_MIB} MiB, and so does the controller`,
      Math.max(memory.after, memory.controller) <= MOST_MIB,
      `sidecar ${memory.before} → ${memory.after} MiB, controller ${memory.controller} MiB`,
    ),
  ]
}

function claimsOfCalls(callers: ChurnCallers, churn: Churn): Claim[] {
  const victim = unexcused(callers.toVictim.wrong, churn.outages)
  const late = lateGuests(callers.guestAllowedAt, churn.granted, churn.absences)
  const takenBack = churn.granted.filter(({ to }) => Number.isFinite(to))
  const worst = worstDelay(late, churn.granted, churn.absences)
  const missed = missedBy(takenBack, churn.absences)
  return [
    ...callers.allowed.map((kept) =>
      claim(
        `no allowed call fails (${kept.name}, ${kept.calls} calls)`,
        kept.wrong.length === 0,
        show(kept, kept.wrong),
      ),
    ),
    claim(
      `no call ${callers.toVictim.name} fails but while it was away (${callers.toVictim.calls} calls)`,
      victim.length === 0,
      `${show(callers.toVictim, victim)}; ${callers.toVictim.wrong.length} while it was away`,
    ),
    ...callers.denied.map((kept) =>
      claim(
        `0 wrong allows (${kept.name}, ${kept.calls} calls)`,
        kept.wrong.length === 0,
        kept.wrong.length,
      ),
    ),
    timedClaim(
      `guests are shut out within 1 s of each of ${takenBack.length} takings-back (${callers.guestCalls} calls); of the ${missed} that the killed controller missed, within 6 s of its return, 5 s of which a sidecar may wait to connect`,
      late.length === 0,
      `${late.length} later${late.length === 0 ? '' : `, the last by ${worst.toFixed(0)} ms`}; ${callers.guestAllowedAt.length} let in while granted`,
    ),
  ]
}

function show(kept: Tally, wrong: readonly Answer[]): string {
  const kinds = new Map<string, number>()
  for (const { status, error, connection } of wrong) {
    const kind = `${status} ${error ?? ''} on ${connection.split('/')[0]}`
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  }
  const failed = [...kinds].map(([kind, n]) => `${n} × ${kind}`).join(', ') || '0'
  return `${failed}; latency median ${quantile(kept.ms, 0.5).toFixed(1)} ms, 99 % ${quantile(kept.ms, 0.99).toFixed(1)} ms`
}
