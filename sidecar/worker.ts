/**
 * The check worker: the thread that owns the ext_authz socket, the WASM instances and the decision log's descriptor.
 * In: bundles (as sets and compiled modules) from the main thread. Out: answers to Envoy; signs of life in shared memory.
 * Nothing else runs here, so that a policy that never ends stops only this thread, which the main thread then replaces.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { parentPort, workerData } from 'node:worker_threads'
import { MeshError } from '../common/errors.ts'
import { DecisionLogFile } from './adapters/fs/decision-log-file.ts'
import { type ExtAuthzServer, startExtAuthzServer } from './adapters/grpc/ext-authz-server.ts'
import { ProgramSet } from './adapters/wasm/program-set.ts'
import type { CheckThreadData } from './adapters/worker/check-thread.ts'
import { Heartbeat } from './adapters/worker/heartbeat.ts'
import { LostCount } from './adapters/worker/lost-count.ts'
import { SpanBuffer, SpansPending } from './adapters/worker/span-buffer.ts'
import { createCheck } from './check.ts'
import {
  type DecisionFacts,
  type RequestSummary,
  toDecisionRecord,
} from './core/decision-log/record.ts'
import { activateSet, chooseSet, PREVIOUS_SET_MS, type SetState } from './core/policy/active-set.ts'
import { type Breaker, isOpen, sourceOf } from './core/policy/breaker.ts'
import { toDecisionSpan } from './core/trace/decision-span.ts'
import type { FromWorker, ToWorker, WorkerBundle } from './runtime/check-ports.ts'
import { TallySheet } from './runtime/decision-tally.ts'

const data = workerData as CheckThreadData & { readonly heartbeat: SharedArrayBuffer }
const heartbeat = new Heartbeat(data.heartbeat)
const lost = new LostCount(data.lost)
const hooks = { enter: enterPolicy, nowNs: wallNs }
let log: DecisionLogFile | undefined
let server: ExtAuthzServer | undefined
let state: SetState<ProgramSet> = {}
const pending = new SpansPending(data.spansPending)
const spans = new SpanBuffer(pending, (list) => post({ kind: 'spans', spans: list }))
let tally = new TallySheet(undefined, data.tally)
let breakers: ReadonlyMap<string, Breaker> = new Map()
/** Of the request that is being decided. */
let source = ''

const check = createCheck({
  chooseSet: (isBodyBuffered) => chooseSet(state, { isBodyBuffered, nowMs: performance.now() }),
  watch: { begin: beginRequest, end: () => heartbeat.end() },
  log: writeOrCount,
  nowNs: wallNs,
  newId: randomUUID,
})

/** What can't be written is refused, and the refusal has no record either. */
function writeOrCount(facts: DecisionFacts): boolean {
  let isWritten = false
  tally.count(facts)
  const span = toDecisionSpan(facts, newSpanId)
  if (span !== undefined) spans.add(span)
  try {
    isWritten = log?.append(toDecisionRecord(data.labels, facts)) ?? false
  } finally {
    if (!isWritten) lost.add()
  }
  return isWritten
}

function newSpanId(): string {
  return randomBytes(8).toString('hex')
}

/** Wall clock with the resolution of the monotonic one. Follows steps of the wall clock. */
function wallNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n + (process.hrtime.bigint() % 1_000_000n)
}

/** The same clock in every thread of the process, unlike performance.now(). */
function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n)
}

function beginRequest(request: RequestSummary): void {
  source = sourceOf(request)
  heartbeat.begin(request)
}

function enterPolicy(policy: string): void {
  if (isOpen(breakers.get(policy), source, monotonicMs()))
    throw new MeshError(
      'ERR_POLICY_TIMEOUT',
      `policy ${policy} took too long for this caller and is set aside`,
    )
  heartbeat.enter(policy)
}

async function activate(bundle: WorkerBundle): Promise<void> {
  const { set, modules, revision } = bundle
  const before = state.current?.programs
  const programs = await ProgramSet.build({ set, modules, before, hooks })
  state = activateSet(state, { revision, set, programs }, performance.now())
  tally = new TallySheet(set, bundle.tally)
  setTimeout(dropPrevious, 2 * PREVIOUS_SET_MS, revision).unref()
}

/** Frees the instances of a set that may answer no longer. */
function dropPrevious(revision: string): void {
  if (state.current?.revision === revision) state = { current: state.current }
}

function post(message: FromWorker): void {
  parentPort?.postMessage(message)
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

async function start(message: Extract<ToWorker, { kind: 'start' }>): Promise<void> {
  try {
    log = new DecisionLogFile(data.decisionLog, {
      ...(data.torn === undefined ? {} : { torn: data.torn }),
      onFault: (fault) => post({ kind: 'log-fault', message: messageOf(fault) }),
    })
    breakers = message.breakers
    if (message.bundle !== undefined) await activate(message.bundle)
    server = await startExtAuthzServer({ socketPath: data.socketPath, check })
    post({ kind: 'ready' })
  } catch (error) {
    post({ kind: 'failed', message: messageOf(error) })
  }
}

async function answerActivate(id: number, bundle: WorkerBundle): Promise<void> {
  try {
    await activate(bundle)
    // what struck before was another policy set
    breakers = new Map()
    post({ kind: 'activated', id })
  } catch (error) {
    post({ kind: 'refused', id, message: messageOf(error) })
  }
}

async function stop(graceMs: number): Promise<void> {
  await server?.stop(graceMs)
  spans.flush()
  log?.close()
  parentPort?.close()
}

/** One message after the other. */
let work: Promise<void> = Promise.resolve()

parentPort?.on('message', (message: ToWorker) => {
  work = work.then(() => {
    if (message.kind === 'start') return start(message)
    if (message.kind === 'activate') return answerActivate(message.id, message.bundle)
    if (message.kind === 'stop') return stop(message.graceMs)
    return log?.reopen()
  })
})
