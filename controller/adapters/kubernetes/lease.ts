/**
 * Who leads, by a Lease: one holder, who renews it; another takes it once it has stood still for its whole duration, as
 * that other saw it (clocks of two machines are never compared). Every write names the version that it saw, so of two
 * that try at once one fails. Who could not renew in time holds itself for no leader before anybody else may be one.
 * Source: coordination.k8s.io/v1, client-go leaderelection.
 */
import { setTimeout as wait } from 'node:timers/promises'
import type { Clock } from '../../../common/clock.ts'
import type { Log } from '../../runtime/ports.ts'
import type { Json, KubeAnswer, KubeClient } from './kube-client.ts'

export interface LeaseOptions {
  readonly client: KubeClient
  readonly namespace: string
  readonly name: string
  /** Unique for each process. */
  readonly identity: string
  readonly clock: Clock
  readonly log: Log
  readonly onChange: () => void
  /** Default 15 s: with the pauses a new leader is there within 20 s. */
  readonly durationMs?: number
}

const DURATION_MS = 15_000
/** Of the duration: how often it is tried, and how long an own renewal counts. */
const TRY_SHARE = 1 / 6
const COUNT_SHARE = 2 / 3

interface Seen {
  readonly version: string
  readonly holder: string
  /** When this version was first seen, by the own monotonic clock. */
  readonly sinceMs: number
  readonly durationMs: number
  readonly transitions: number
}

export class Lease {
  readonly #options: LeaseOptions
  readonly #abort = new AbortController()
  #seen: Seen | undefined
  #renewedMs = Number.NEGATIVE_INFINITY
  #wasLeader = false
  #done: Promise<void> = Promise.resolve()
  readonly #tried = Promise.withResolvers<void>()

  constructor(options: LeaseOptions) {
    this.#options = options
  }

  start(): void {
    this.#done = this.#run()
  }

  /** Resolves when it was tried once, or the end of it came. */
  tried(): Promise<void> {
    return this.#tried.promise
  }

  isLeader(): boolean {
    const { clock, durationMs = DURATION_MS } = this.#options
    return clock.monotonic() - this.#renewedMs < durationMs * COUNT_SHARE
  }

  /** Gives it back, so that another need not wait. */
  async stop(): Promise<void> {
    this.#abort.abort(new Error('the controller stops'))
    await this.#done
    this.#tried.resolve()
    if (!this.isLeader() || this.#seen === undefined) return
    this.#renewedMs = Number.NEGATIVE_INFINITY
    await this.#write(this.#seen, '').catch(() => {})
  }

  async #run(): Promise<void> {
    const { log, durationMs = DURATION_MS } = this.#options
    const { signal } = this.#abort
    while (!signal.aborted) {
      await this.#try().catch((err: unknown) => {
        const why = err instanceof Error ? err.message : String(err)
        if (!signal.aborted) log.warn({ err: why }, 'the lease could not be tried')
      })
      this.#notice()
      this.#tried.resolve()
      await wait(durationMs * TRY_SHARE, undefined, { signal }).catch(() => {})
    }
  }

  async #try(): Promise<void> {
    const { clock, identity } = this.#options
    const startMs = clock.monotonic()
    const lease = await this.#read(startMs)
    if (lease === undefined) {
      if (await this.#create()) this.#renewedMs = startMs
      return
    }
    const isFree = lease.holder === '' || startMs - lease.sinceMs >= lease.durationMs
    if (lease.holder !== identity && !isFree) return
    // From before the write: it counts from the moment at which the server may have taken it at the earliest.
    if (await this.#write(lease, identity)) this.#renewedMs = startMs
  }

  async #read(nowMs: number): Promise<Seen | undefined> {
    const { status, body } = await this.#request('GET', this.#path())
    if (status === 404) return undefined
    if (status !== 200) throw new Error(`it was answered ${status}: ${String(body.message)}`)
    return this.#keep(body, nowMs)
  }

  #keep(body: Json, nowMs: number): Seen {
    const { spec = {}, metadata = {} } = body as { spec?: Json; metadata?: Json }
    const version = String(metadata.resourceVersion)
    const sinceMs = this.#seen?.version === version ? this.#seen.sinceMs : nowMs
    this.#seen = {
      version,
      holder: typeof spec.holderIdentity === 'string' ? spec.holderIdentity : '',
      sinceMs,
      durationMs: Number(spec.leaseDurationSeconds ?? 0) * 1000,
      transitions: Number(spec.leaseTransitions ?? 0),
    }
    return this.#seen
  }

  async #create(): Promise<boolean> {
    const { namespace, name, identity } = this.#options
    const body = this.#toLease({ name, namespace }, identity, 0)
    const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`
    const answer = await this.#request('POST', path, body)
    return this.#taken(answer, 201)
  }

  /** False: another was faster. */
  async #write(seen: Seen, holder: string): Promise<boolean> {
    const { namespace, name } = this.#options
    const transitions = seen.transitions + (holder === seen.holder || holder === '' ? 0 : 1)
    const metadata = { name, namespace, resourceVersion: seen.version }
    const body = this.#toLease(metadata, holder, transitions)
    return this.#taken(await this.#request('PUT', this.#path(), body), 200)
  }

  /** The next write, also the one that gives it back, names the version that this one made. */
  #taken({ status, body }: KubeAnswer, good: number): boolean {
    if (status === good) this.#keep(body, this.#options.clock.monotonic())
    return status === good
  }

  #toLease(metadata: Json, holderIdentity: string, leaseTransitions: number): Json {
    const { durationMs = DURATION_MS } = this.#options
    const renewTime = new Date().toISOString().replace('Z', '000Z')
    const leaseDurationSeconds = Math.max(1, Math.round(durationMs / 1000))
    return {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata,
      spec: { holderIdentity, leaseDurationSeconds, renewTime, leaseTransitions },
    }
  }

  /** No longer than a renewal counts: who waits for an answer must know that it leads no more. */
  #request(method: string, path: string, body?: unknown) {
    const { durationMs = DURATION_MS } = this.#options
    const signal = AbortSignal.timeout(Math.max(1000, durationMs * TRY_SHARE * 2))
    return this.#options.client.request(method, path, { body, signal })
  }

  #path(): string {
    const { namespace, name } = this.#options
    return `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/${name}`
  }

  #notice(): void {
    const isLeader = this.isLeader()
    if (isLeader === this.#wasLeader) return
    this.#wasLeader = isLeader
    const { identity, log, onChange } = this.#options
    log.info({ identity }, isLeader ? 'this replica leads' : 'this replica leads no more')
    onChange()
  }
}
