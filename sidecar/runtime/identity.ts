/**
 * The workload's identity for the life of the process: gets an SVID, renews it at half-life, drops it when it ends.
 * Resolves at once and tries forever: no controller, no token or a refused one are states, not ends. The old SVID
 * stays while a renewal fails. Time is looked at twice a second on two clocks, so that a jump is noticed.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Clock } from '../../common/clock.ts'
import { MeshError } from '../../common/errors.ts'
import { backoffMs, type Lease, leasePhase, startLease } from '../../common/renewal.ts'
import { isRootOf } from '../core/identity/controller-trust.ts'
import type { IdentitySource, Svid } from '../ports.ts'
import type { Log, WorkloadAttester } from './identity-ports.ts'

export interface IdentityOptions {
  readonly attester: WorkloadAttester
  readonly clock: Clock
  readonly log: Log
  /** Ends the work, as `stop` does. */
  readonly signal: AbortSignal
  /** In [0, 1). Default Math.random: it only spreads attempts. */
  readonly random?: () => number
  /** Waits; ends early, without an error, when the signal fires. Default: a timer. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>
}

export interface IdentityCounts {
  /** SVIDs so far, the first among them. */
  readonly obtained: number
  /** Attempts to get one. */
  readonly failed: number
  /** Of the last one, epoch milliseconds; 0: none yet. */
  readonly obtainedAtMs: number
}

export interface WorkloadIdentitySource extends IdentitySource {
  /** Why there is no SVID, or why the last renewal failed; undefined: all is well. */
  problem(): MeshError | undefined
  counts(): IdentityCounts
  /** Roots that the controller distributed (SDS ROOTCA), DER; kept for later starts. Throws ERR_CONTROLLER_UNTRUSTED. */
  updateTrustBundle(roots: readonly Uint8Array[]): Promise<void>
  stop(): Promise<void>
}

const LOOK_EVERY_MS = 500
/** Longest wait between attempts while nothing can be served without the SVID, and while the old one is still good. */
const MAX_BACKOFF_WITHOUT_MS = 5_000
const MAX_BACKOFF_WITH_MS = 15_000
/** What could not be stored is tried again this often. */
const STORE_RETRY_MS = 5_000
/** After the controller said no: only a person can change that, but the file may be replaced. */
const REFUSED_RETRY_MS = 30_000

/** Never rejects; see `problem()`. */
export async function startIdentity(options: IdentityOptions): Promise<WorkloadIdentitySource> {
  const keeper = new IdentityKeeper(options)
  keeper.start()
  return keeper
}

class IdentityKeeper implements WorkloadIdentitySource {
  readonly #options: IdentityOptions
  readonly #attester: WorkloadAttester
  readonly #listeners = new Set<(svid: Svid) => void>()
  readonly #abort = new AbortController()
  readonly #signal: AbortSignal
  readonly #random: () => number
  #svid: Svid | undefined
  #lease: Lease | undefined
  #problem: MeshError | undefined
  #attempt = 0
  #counts: IdentityCounts = { obtained: 0, failed: 0, obtainedAtMs: 0 }
  #nextAttemptMonotonicMs = Number.NEGATIVE_INFINITY
  #nextStoreMonotonicMs = Number.NEGATIVE_INFINITY
  /** What the last refused attempt was made with: another one is tried at once. */
  #refusedProof: string | undefined
  #running: Promise<void> = Promise.resolve()
  /** Attestations and bundle updates both change what is stored. */
  #exclusive: Promise<unknown> = Promise.resolve()

  constructor(options: IdentityOptions) {
    this.#options = options
    this.#attester = options.attester
    this.#signal = AbortSignal.any([options.signal, this.#abort.signal])
    this.#random = options.random ?? Math.random
  }

  start(): void {
    this.#running = this.#run()
  }

  current(): Svid | undefined {
    this.#dropExpired()
    return this.#svid
  }

  subscribe(listener: (svid: Svid) => void): () => void {
    this.#listeners.add(listener)
    const svid = this.current()
    if (svid !== undefined) listener(svid)
    return () => this.#listeners.delete(listener)
  }

  counts(): IdentityCounts {
    return this.#counts
  }

  problem(): MeshError | undefined {
    return this.#problem
  }

  async updateTrustBundle(roots: readonly Uint8Array[]): Promise<void> {
    const svid = this.#svid
    if (svid === undefined) return
    const trustDomain = svid.spiffeId.split('/')[2] ?? ''
    if (roots.length === 0 || !roots.every((root) => isRootOf(root, trustDomain)))
      throw new MeshError(
        'ERR_CONTROLLER_UNTRUSTED',
        'a distributed root is not of this trust domain',
      )
    await this.#alone(() => this.#attester.updateTrustBundle(roots))
    this.#problem ??= this.#attester.storeProblem()
    if (this.#svid !== undefined) this.#svid = { ...this.#svid, trustBundle: roots }
  }

  async stop(): Promise<void> {
    this.#abort.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const sleep = this.#options.sleep ?? sleepUntilAbort
    while (!this.#signal.aborted) {
      await this.#look()
      await sleep(LOOK_EVERY_MS, this.#signal)
    }
  }

  async #look(): Promise<void> {
    this.#dropExpired()
    await this.#storeAgain()
    const isFresh = this.#lease !== undefined && leasePhase(this.#lease, this.#now()) === 'fresh'
    if (isFresh || !(await this.#isTimeToTry())) return
    let svid: Svid
    try {
      svid = await this.#alone(() => this.#attester.attest(this.#svid, this.#signal))
    } catch (error) {
      if (!this.#signal.aborted) await this.#fail(error)
      return
    }
    this.#take(svid)
  }

  #take(svid: Svid): void {
    const isFirst = this.#svid === undefined
    const obtained = this.#counts.obtained + 1
    this.#counts = { ...this.#counts, obtained, obtainedAtMs: this.#options.clock.now() }
    this.#svid = svid
    this.#lease = startLease(this.#now(), svid.notAfterMs, this.#random())
    this.#problem = this.#attester.storeProblem()
    this.#nextStoreMonotonicMs = this.#options.clock.monotonic() + STORE_RETRY_MS
    this.#attempt = 0
    this.#refusedProof = undefined
    this.#nextAttemptMonotonicMs = Number.NEGATIVE_INFINITY
    const { spiffeId, serialNumber, notAfterMs } = svid
    const fields = { spiffeId, serialNumber, notAfter: new Date(notAfterMs).toISOString() }
    this.#options.log.info(fields, isFirst ? 'identity obtained' : 'identity renewed')
    if (this.#problem !== undefined)
      this.#options.log.error({ err: this.#problem }, 'identity not stored; it counts in memory')
    for (const listener of this.#listeners) listener(svid)
  }

  async #storeAgain(): Promise<void> {
    const { clock, log } = this.#options
    if (this.#attester.storeProblem() === undefined) return
    if (clock.monotonic() < this.#nextStoreMonotonicMs) return
    this.#nextStoreMonotonicMs = clock.monotonic() + STORE_RETRY_MS
    await this.#alone(() => this.#attester.storeAgain())
    if (this.#attester.storeProblem() !== undefined) return
    if (this.#problem?.code === 'ERR_STATE_WRITE') this.#problem = undefined
    log.info({}, 'identity stored at last')
  }

  async #fail(error: unknown): Promise<void> {
    const problem = error instanceof MeshError ? error : unexpected(error)
    const { log, clock } = this.#options
    this.#problem = problem
    this.#counts = { ...this.#counts, failed: this.#counts.failed + 1 }
    this.#attempt += 1
    const refused = isRefusal(problem)
    this.#refusedProof = refused ? await this.#attester.proofText() : undefined
    const maxMs = this.#svid === undefined ? MAX_BACKOFF_WITHOUT_MS : MAX_BACKOFF_WITH_MS
    const waitMs = refused
      ? REFUSED_RETRY_MS * (0.5 + this.#random() / 2)
      : backoffMs(this.#attempt, maxMs, this.#random())
    this.#nextAttemptMonotonicMs = clock.monotonic() + waitMs
    const fields = { err: problem, attempt: this.#attempt, retryInMs: Math.round(waitMs) }
    if (refused) log.error(fields, 'identity refused')
    else log.warn(fields, 'identity not obtained')
  }

  async #isTimeToTry(): Promise<boolean> {
    if (this.#options.clock.monotonic() >= this.#nextAttemptMonotonicMs) return true
    return (
      this.#refusedProof !== undefined && (await this.#attester.proofText()) !== this.#refusedProof
    )
  }

  #dropExpired(): void {
    if (this.#lease === undefined || leasePhase(this.#lease, this.#now()) !== 'expired') return
    this.#options.log.error({ serialNumber: this.#svid?.serialNumber }, 'identity has expired')
    this.#svid = undefined
    this.#lease = undefined
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#exclusive.then(work)
    this.#exclusive = result.catch(() => {})
    return result
  }

  #now() {
    const { clock } = this.#options
    return { wallMs: clock.now(), monotonicMs: clock.monotonic() }
  }
}

const REFUSALS: ReadonlySet<string> = new Set([
  'ERR_TOKEN_INVALID',
  'ERR_TOKEN_EXPIRED',
  'ERR_TOKEN_USED',
  'ERR_CREDENTIAL_INVALID',
  'ERR_CREDENTIAL_REVOKED',
  'ERR_PEER_FORBIDDEN',
  'ERR_CSR_INVALID',
  'ERR_CONTROLLER_UNTRUSTED',
  'ERR_STATE_CORRUPT',
])

function isRefusal(problem: MeshError): boolean {
  return REFUSALS.has(problem.code)
}

function unexpected(error: unknown): MeshError {
  return new MeshError('ERR_INTERNAL', 'attestation failed', { retry: 'backoff', cause: error })
}

async function sleepUntilAbort(ms: number, signal: AbortSignal): Promise<void> {
  // Rejects only by the signal, which ends the loop.
  await delay(ms, undefined, { signal }).catch(() => {})
}
