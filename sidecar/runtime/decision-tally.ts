/**
 * How decisions came out, counted in memory that the check worker and the main thread share: no message for a request,
 * and nothing is forgotten when a worker is ended. In: the facts of each decision. Out: totals for /metrics.
 *
 *   one TallySheet for each policy set: a row of counters for each of its policies, for the defaults, the guards and
 *   "none"; then errors by code, then the time that checks took. A new set gets a new sheet, and the old one's counts
 *   are carried over for the policies that stayed: what is counted by policy is bounded by one set, not by history.
 */
import { MESH_ERROR_CODES } from '../../common/errors.ts'
import { type PolicySet, policyId } from '../../common/policy-set.ts'
import type { DecisionFacts } from '../core/decision-log/record.ts'

/** Counted of one policy. */
export const OUTCOMES = [
  'rbac allow',
  'rbac deny',
  'wasm allow',
  'wasm deny',
  'failed open',
  'shadow',
] as const
export type Outcome = (typeof OUTCOMES)[number]

/** Seconds. A check takes some 100 µs; Envoy waits 500 ms. */
export const CHECK_BOUNDS: readonly number[] = [
  0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
]

export interface Tally {
  /** By policy (`namespace/name`), `default`, `guard/<name>`, `none` (nothing to decide by) or `other` (beyond a bound). */
  readonly policies: ReadonlyMap<string, Readonly<Record<Outcome, number>>>
  readonly errors: ReadonlyMap<string, number>
  /** One more than CHECK_BOUNDS; not cumulative. */
  readonly durations: readonly number[]
  readonly durationSumSeconds: number
}

type Counted = Pick<DecisionFacts, 'lane' | 'metrics'> & {
  readonly verdict: Pick<
    DecisionFacts['verdict'],
    'allowed' | 'policy' | 'error' | 'shadow' | 'failedOpen'
  >
}

/** Policies of one workload that are counted by name. */
const MAX_POLICIES = 200
const NONE = 'none'
const OTHER = 'other'
const FIXED = ['default', 'guard/path', 'guard/san', 'guard/identity', NONE, OTHER]
const CODES = [...MESH_ERROR_CODES, OTHER]
const HANDLER_TIME = 'timer_server_handler_ns'

/** The counters of one policy set. Any thread may count; the sum is right whatever the order. */
export class TallySheet {
  readonly memory: SharedArrayBuffer
  readonly subjects: readonly string[]
  readonly #counters: BigInt64Array
  readonly #rows: ReadonlyMap<string, number>

  /** `set` is the one that `memory` was made for; undefined: none yet. */
  constructor(set: PolicySet | undefined, memory?: SharedArrayBuffer) {
    const policies = (set?.policies ?? []).map(policyId).sort().slice(0, MAX_POLICIES)
    this.subjects = [...FIXED, ...policies]
    this.#rows = new Map(this.subjects.map((subject, i) => [subject, i]))
    this.memory =
      memory ?? new SharedArrayBuffer(8 * (this.#durationsAt() + CHECK_BOUNDS.length + 2))
    this.#counters = new BigInt64Array(this.memory)
  }

  count({ lane, verdict, metrics }: Counted): void {
    const { allowed, policy, error, shadow, failedOpen } = verdict
    this.#add(policy === '' ? NONE : policy, `${lane} ${allowed ? 'allow' : 'deny'}`)
    for (const id of failedOpen) this.#add(id, 'failed open')
    for (const id of shadow) this.#add(id, 'shadow')
    // one that passed all the same is counted as failed open
    if (error !== undefined && !allowed) {
      const code = CODES.indexOf(error.code)
      this.#increase(this.#errorsAt() + (code === -1 ? CODES.length - 1 : code))
    }
    const ns = metrics[HANDLER_TIME]
    if (lane === 'wasm' && ns !== undefined) this.#observe(ns)
  }

  read(): Tally {
    const value = (at: number) => Number(Atomics.load(this.#counters, at))
    const at = this.#durationsAt()
    return {
      policies: new Map(
        this.subjects.map((subject, row) => [
          subject,
          toRecord(OUTCOMES.map((_, i) => value(row * OUTCOMES.length + i))),
        ]),
      ),
      errors: new Map(CODES.map((code, i) => [code, value(this.#errorsAt() + i)])),
      durations: Array.from({ length: CHECK_BOUNDS.length + 1 }, (_, i) => value(at + 1 + i)),
      durationSumSeconds: value(at) / 1e9,
    }
  }

  #add(subject: string, outcome: Outcome): void {
    const row = this.#rows.get(subject) ?? this.#rows.get(OTHER) ?? 0
    this.#increase(row * OUTCOMES.length + OUTCOMES.indexOf(outcome))
  }

  #observe(ns: number): void {
    const bucket = CHECK_BOUNDS.findIndex((seconds) => ns <= seconds * 1e9)
    const at = this.#durationsAt()
    Atomics.add(this.#counters, at, BigInt(Math.max(0, Math.round(ns))))
    this.#increase(at + 1 + (bucket === -1 ? CHECK_BOUNDS.length : bucket))
  }

  #increase(at: number): void {
    Atomics.add(this.#counters, at, 1n)
  }

  #errorsAt(): number {
    return this.subjects.length * OUTCOMES.length
  }

  /** The sum first, then the buckets. */
  #durationsAt(): number {
    return this.#errorsAt() + CODES.length
  }
}

/** The totals over all sheets of one workload. Main thread only. */
export class DecisionTally {
  #sheet = new TallySheet(undefined)
  #before: Tally = this.#sheet.read()

  /** The sheet that is counted on now. */
  sheet(): TallySheet {
    return this.#sheet
  }

  /** Call once nobody counts on the sheet before any more. */
  turnTo(sheet: TallySheet): void {
    this.#before = keep(this.read(), sheet.subjects)
    this.#sheet = sheet
  }

  count(facts: Counted): void {
    this.#sheet.count(facts)
  }

  read(): Tally {
    return add(this.#before, this.#sheet.read())
  }
}

function keep(tally: Tally, subjects: readonly string[]): Tally {
  const policies = [...tally.policies].filter(([subject]) => subjects.includes(subject))
  return { ...tally, policies: new Map(policies) }
}

function add(a: Tally, b: Tally): Tally {
  const policies = new Map(b.policies)
  for (const [subject, old] of a.policies) {
    const now = policies.get(subject)
    policies.set(subject, toRecord(OUTCOMES.map((o) => old[o] + (now?.[o] ?? 0))))
  }
  return {
    policies,
    errors: new Map(
      CODES.map((code) => [code, (a.errors.get(code) ?? 0) + (b.errors.get(code) ?? 0)]),
    ),
    durations: b.durations.map((count, i) => count + (a.durations[i] ?? 0)),
    durationSumSeconds: a.durationSumSeconds + b.durationSumSeconds,
  }
}

function toRecord(counts: readonly number[]): Readonly<Record<Outcome, number>> {
  return Object.fromEntries(OUTCOMES.map((o, i) => [o, counts[i] ?? 0])) as Record<Outcome, number>
}
