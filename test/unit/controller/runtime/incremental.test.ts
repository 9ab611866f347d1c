/**
 * The guard of everything that is remembered (common/remember.ts): after any sequence of edits, what a long-lived
 * process made step by step is what one that never saw anything else makes of the same files and state.
 */
import t from 'tap'
import { sha256Hex } from '../../../../common/bundle.ts'
import type { Problem } from '../../../../common/errors.ts'
import { encodeGeneration } from '../../../../controller/core/accept/generation.ts'
import type { AcceptedState } from '../../../../controller/core/accept/objects.ts'
import { NOTHING_ACCEPTED } from '../../../../controller/core/accept/objects.ts'
import { propose } from '../../../../controller/core/accept/propose.ts'
import { type File, readManifests } from '../../../../controller/core/accept/reading.ts'
import { type CompileState, settle } from '../../../../controller/core/accept/settle.ts'
import { buildStatuses, type StatusInput } from '../../../../controller/core/status/status.ts'
import { buildPublication } from '../../../../controller/runtime/publication.ts'
import { seededRandom } from '../../../kit/differential/random.ts'
import { EDITS, startFiles } from '../../../kit/mesh-edits.ts'

const STEPS = Number(process.env.STEPS ?? 60)
const SEEDS = [1, 2, 3]
const NOW = '2026-01-01T00:00:00Z'
const ROOT = new Uint8Array([1, 2, 3])

interface Outcome {
  readonly state: AcceptedState
  readonly generation: string
  readonly text: string
  readonly problems: readonly Problem[]
  readonly statuses: unknown
}

/** "Compiled" to bytes that follow from the unit; a module that says so fails. */
function compiler(stored: ReadonlyMap<string, Uint8Array> = new Map()) {
  const wasm = new Map([...stored].map(([digest, bytes]) => [digest, bytes.slice()]))
  const compile = (unit: {
    digest: string
    modules: readonly { text: string }[]
  }): CompileState => {
    if (unit.modules.some((m) => m.text.includes('broken'))) {
      const problem = { code: 'ERR_REGO_COMPILE' as const, field: '', message: 'm', remedy: 'r' }
      return { kind: 'failed', problems: [problem] }
    }
    const bytes = new TextEncoder().encode(unit.digest)
    const wasmDigest = sha256Hex(bytes)
    if (!wasm.has(wasmDigest)) wasm.set(wasmDigest, bytes)
    return { kind: 'ready', wasmDigest, readsBody: unit.digest < '8', rules: [] }
  }
  return { wasm, compile }
}

function pass(
  files: readonly File[],
  before: AcceptedState,
  { wasm, compile }: ReturnType<typeof compiler>,
): Outcome {
  let uids = before.seen.size
  const reading = readManifests(files, before)
  const newUid = () => `uid-${before.seen.size}-${uids++}`
  const proposals = propose(reading, before, { now: NOW, newUid })
  const settlement = settle(proposals.proposals, compile)
  const state = { accepted: settlement.accepted, seen: proposals.seen }
  const publication =
    settlement.model && buildPublication(settlement.model, { trustBundle: [ROOT], wasm })
  const targets = [...(publication?.snapshots ?? [])].map(([id, { version, requires = [] }]) => {
    const revision = publication?.bundles.get(id)?.revision ?? ''
    return [id, { generation: version, revision, requires }] as const
  })
  const problems = [...proposals.problems, ...settlement.problems]
  const [first] = targets
  const status: StatusInput = {
    proposals: proposals.proposals,
    seen: proposals.seen,
    problems,
    pending: settlement.pending,
    held: settlement.held,
    inForce: state.accepted,
    served: publication && { model: publication.model, targets: new Map(targets) },
    proxies: targets.map(([nodeId, target], i) => ({
      nodeId,
      connected: i % 3 > 0,
      version: 'x',
      features: [],
      enforcedGeneration: i % 2 === 0 ? target.generation : (first?.[1].generation ?? ''),
      bundleRevision: target.revision,
      ackedGeneration: target.generation,
      ready: true,
      detail: '',
      nacks: [],
    })),
    revoked: new Map(),
    before: new Map(),
    now: NOW,
  }
  return {
    state,
    generation: publication?.generation ?? '',
    text: encodeGeneration({ sequence: 1, state }),
    problems,
    statuses: [...buildStatuses(status)],
  }
}

for (const seed of SEEDS) {
  t.test(`${STEPS} random edits, seed ${seed}`, async (t) => {
    const random = seededRandom(seed)
    const texts = startFiles()
    const values = new Map<string, File>()
    const remembered = compiler()
    let state = NOTHING_ACCEPTED
    let published = new Set<string>()
    for (let step = 0; step < STEPS; step++) {
      const edit = random.pick(EDITS)
      if (step > 0) edit.apply(texts, random)
      const files = [...texts]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([path, text]): File => {
          const known = values.get(path)
          const file =
            known !== undefined && 'text' in known && known.text === text ? known : { path, text }
          values.set(path, file)
          return file
        })
      const step_ = pass(files, state, remembered)
      const scratch = pass(
        structuredClone(files),
        structuredClone(state),
        compiler(remembered.wasm),
      )
      const name = `step ${step}: ${edit.name}`
      t.equal(step_.generation, scratch.generation, `${name}: the same is published`)
      t.equal(step_.text, scratch.text, `${name}: the same is stored`)
      if (step_.generation !== scratch.generation || step_.text !== scratch.text) return
      t.strictSame(step_.problems, scratch.problems, `${name}: the same is wrong`)
      t.strictSame(step_.statuses, scratch.statuses, `${name}: the same is said`)
      published = published.add(step_.generation)
      state = step_.state
    }
    t.ok(published.size > STEPS / 8, `${published.size} different publications`)
  })
}
