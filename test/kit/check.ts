/**
 * A real check worker on a Unix socket, and a real gRPC client that asks it as Envoy does. For tests only.
 */
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fromJson, type JsonValue } from '@bufbuild/protobuf'
import { credentials, Metadata, makeClientConstructor, type ServiceError } from '@grpc/grpc-js'
import { packBundle } from '../../common/bundle.ts'
import type { DecisionRecord } from '../../common/decision.ts'
import { toServiceDefinition } from '../../common/grpc-service.ts'
import type { Policy, PolicySet } from '../../common/policy-set.ts'
import {
  Authorization,
  CheckRequestSchema,
  type CheckResponse,
} from '../../proto/gen/envoy/service/auth/v3/external_auth_pb.js'
import { DecisionLogFile } from '../../sidecar/adapters/fs/decision-log-file.ts'
import { SocketMark } from '../../sidecar/adapters/fs/socket-mark.ts'
import { spawnCheckThread } from '../../sidecar/adapters/worker/check-thread.ts'
import { LostCount } from '../../sidecar/adapters/worker/lost-count.ts'
import { type SupervisedCheckWorker, startCheckWorker } from '../../sidecar/runtime/check-worker.ts'
import { DecisionTally, type Tally } from '../../sidecar/runtime/decision-tally.ts'

export const LABELS = { id: 'test', version: '0', workload: 'orders', namespace: 'shop' }
const SILENT = { debug() {}, info() {}, warn() {}, error() {} }

export interface CheckHarness {
  readonly worker: SupervisedCheckWorker
  readonly socketPath: string
  /** The file that is written. */
  readonly decisionLog: string
  /** The answer to a CheckRequest of these attributes. `isBodyBuffered` default true. */
  call(attributes: JsonValue, isBodyBuffered?: boolean): Promise<CheckResponse>
  /** How many decisions the worker could not write. */
  lost(): number
  /** What was counted so far. */
  tally(): Tally
  /** What was logged so far. */
  records(): DecisionRecord[]
  stop(): Promise<void>
}

export async function startCheck(options: { decisionLog?: string } = {}): Promise<CheckHarness> {
  const dir = mkdtempSync(join(tmpdir(), 'postern-check-'))
  const socketPath = join(dir, 'authz.sock')
  const file = options.decisionLog ?? join(dir, 'decisions.jsonl')
  const decisionLog = new DecisionLogFile(file)
  const lost = new LostCount()
  const tally = new DecisionTally()
  const worker = await startCheckWorker({
    spawn: () =>
      spawnCheckThread({
        ...{ socketPath, decisionLog: file, lost: lost.memory, labels: LABELS },
        tally: tally.sheet().memory,
      }),
    socket: new SocketMark(socketPath),
    compile: (wasm) => WebAssembly.compile(wasm),
    decisionLog,
    labels: LABELS,
    tally,
    log: SILENT,
  })
  const Client = makeClientConstructor(toServiceDefinition(Authorization), 'Authorization')
  const client = new Client(`unix:${socketPath}`, credentials.createInsecure(), {
    'grpc.initial_reconnect_backoff_ms': 20,
    'grpc.min_reconnect_backoff_ms': 20,
    'grpc.max_reconnect_backoff_ms': 20,
  })
  const check = client.Check
  if (check === undefined) throw new Error('no method Check')
  return {
    worker,
    socketPath,
    decisionLog: file,
    call: (attributes, isBodyBuffered = true) =>
      new Promise((resolve, reject) => {
        const metadata = new Metadata()
        metadata.set('x-postern-body', isBodyBuffered ? '1' : '0')
        const request = fromJson(CheckRequestSchema, { attributes })
        check.call(
          client,
          request,
          metadata,
          (error: ServiceError | null, answer: CheckResponse) =>
            error === null ? resolve(answer) : reject(error),
        )
      }),
    lost: () => lost.value(),
    tally: () => tally.read(),
    records: () =>
      readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as DecisionRecord),
    stop: async () => {
      client.close()
      await worker.stop(100)
      decisionLog.close()
      rmSync(dir, { recursive: true })
    },
  }
}

export function makePolicy(over: Partial<Policy> = {}): Policy {
  return {
    namespace: 'shop',
    name: 'policy',
    action: 'ALLOW',
    mode: 'Enforce',
    required: false,
    onError: 'Deny',
    ...over,
  }
}

export function makeSet(policies: readonly Policy[], over: Partial<PolicySet> = {}): PolicySet {
  return {
    workload: 'shop/orders',
    trustDomain: 'mesh.local',
    defaultAction: 'DENY',
    defaultMode: 'Enforce',
    policies,
    ...over,
  }
}

/** A policy with this module; its bytes go into the bundle beside it. */
export function makeRegoPolicy(
  wasm: Uint8Array,
  over: Partial<Policy> & {
    readonly data?: unknown
    readonly readsBody?: boolean
    readonly entrypoint?: string
  } = {},
): { readonly policy: Policy; readonly wasm: Uint8Array } {
  const { data = {}, readsBody = true, entrypoint = 'envoy/authz/allow', ...rest } = over
  const wasmDigest = createHash('sha256').update(wasm).digest('hex')
  return {
    wasm,
    policy: makePolicy({ ...rest, rego: { entrypoint, wasmDigest, data, readsBody } }),
  }
}

/** The bundle of a set and its modules. */
export function makeBundle(
  set: PolicySet,
  modules: readonly Uint8Array[] = [],
): Promise<{ readonly revision: string; readonly archive: Uint8Array }> {
  const wasm = new Map(modules.map((m) => [createHash('sha256').update(m).digest('hex'), m]))
  return packBundle({ set, wasm })
}

/** Attributes as Envoy sends them for a call of one workload to another. */
export function makeAttributes(
  http: Readonly<Record<string, JsonValue>>,
  principal = 'spiffe://mesh.local/ns/shop/sa/web',
): JsonValue {
  return {
    source: {
      address: { socketAddress: { address: '127.0.0.1', portValue: 40000 } },
      principal,
    },
    destination: { address: { socketAddress: { address: '127.0.0.1', portValue: 8080 } } },
    request: { http: { method: 'GET', path: '/', host: 'orders', headers: {}, ...http } },
  }
}
