/**
 * Second half of acceptance: which version of each object is in force. In: proposals, and what is known of each Rego
 * unit. Out: the accepted objects, the model that they make, and every problem.
 * An object that has a problem is swapped for its last good version, or left out, and all is translated again, until
 * nothing more is swapped; each round swaps at least one, so it ends. What others refer to is swapped first.
 */
import { strict as assert } from 'node:assert'
import {
  formatRef,
  type ObjectRef,
  type Problem,
  type SourceLocation,
} from '../../../common/errors.ts'
import type { RegoPolicy } from '../../../common/policy-set.ts'
import { keepEqual, remember, rememberAsked, shareEqual } from '../../../common/remember.ts'
import type { AuthorizationPolicy, Kind, PolicyLibrary, PosternObject } from '../crd/index.ts'
import type { Model } from '../model/mesh.ts'
import { attributeProblems, type RegoProblem } from '../rego/attribute.ts'
import { findHidden } from '../rego/data.ts'
import { dataHidden, resolveRego, type Unit } from '../rego/unit.ts'
import type { ClusterFacts } from '../translate/cluster.ts'
import { translate } from '../translate/index.ts'
import { findHeld } from './hold.ts'
import {
  type AcceptedObject,
  type Artifact,
  isKind,
  type ObjectKey,
  refOfObject,
} from './objects.ts'
import type { Proposal } from './propose.ts'

export type CompileState =
  | { readonly kind: 'pending' }
  | { readonly kind: 'failed'; readonly problems: readonly Problem[] }
  | {
      readonly kind: 'ready'
      readonly wasmDigest: string
      readonly readsBody: boolean
      readonly rules: readonly string[]
    }

/** Which version of an object is used. */
export type Choice = 'candidate' | 'accepted' | 'none'

export interface Settlement {
  readonly accepted: ReadonlyMap<ObjectKey, AcceptedObject>
  readonly choices: ReadonlyMap<ObjectKey, Choice>
  readonly model: Model | undefined
  /** With sources; each once. */
  readonly problems: readonly Problem[]
  /** Policies whose Rego is being compiled. */
  readonly pending: ReadonlySet<ObjectKey>
  /** Policies (and the Mesh) that keep their last good version until another's Rego is compiled: for whose sake. */
  readonly held: ReadonlyMap<ObjectKey, ObjectKey>
  /** Every unit that a candidate needs, compiled or not; each once. */
  readonly units: readonly Unit[]
}

/** Objects of a lower tier are what those of a higher one refer to. */
const TIER: Readonly<Record<Kind, number>> = {
  Mesh: 0,
  CertificateAuthority: 1,
  WorkloadEntry: 2,
  PolicyLibrary: 3,
  PeerAuthentication: 4,
  BackendTrafficPolicy: 4,
  AuthorizationPolicy: 5,
}

export function settle(
  proposals: readonly Proposal[],
  compiled: (unit: Unit) => CompileState,
  cluster?: ClusterFacts,
): Settlement {
  const round = new Settling(proposals, compiled, cluster)
  for (;;) {
    const found = round.evaluate()
    if (!round.demote(found.problems) && !round.hold(found)) return round.finish(found)
  }
}

interface Evaluation {
  readonly model: Model | undefined
  readonly problems: readonly RegoProblem[]
  readonly artifacts: ReadonlyMap<ObjectKey, Artifact>
}

/** The state of one `settle`. A class only for its lifetime; nothing outlives the call. */
class Settling {
  readonly #proposals: ReadonlyMap<ObjectKey, Proposal>
  readonly #compiled: (unit: Unit) => CompileState
  readonly #cluster: ClusterFacts | undefined
  readonly #choices = new Map<ObjectKey, Choice>()
  readonly #refusals: RegoProblem[] = []
  readonly #pending = new Set<ObjectKey>()
  readonly #held = new Map<ObjectKey, ObjectKey>()
  readonly #units = new Map<string, Unit>()

  constructor(
    proposals: readonly Proposal[],
    compiled: (unit: Unit) => CompileState,
    cluster: ClusterFacts | undefined,
  ) {
    this.#cluster = cluster
    this.#proposals = new Map(proposals.map((p) => [p.key, p]))
    this.#compiled = compiled
    for (const p of proposals) this.#choices.set(p.key, bestChoice(p))
  }

  /** Resolves the Rego of the chosen policies and translates what is chosen. */
  evaluate(): Evaluation {
    const artifacts = new Map<ObjectKey, Artifact>()
    const problems: RegoProblem[] = []
    for (const [key, object] of this.#chosen()) {
      if (!isKind(object, 'AuthorizationPolicy') || object.spec.rego === undefined) continue
      const artifact = this.#artifactOf(key, object, problems)
      if (artifact !== undefined) artifacts.set(key, artifact)
    }
    const translation = translate(this.#translationInput(artifacts))
    problems.push(...translation.problems.map((problem) => ({ problem })))
    return { model: translation.model, problems, artifacts }
  }

  /** Swaps the candidates that `problems` name, those of the lowest tier only. False: there is none. */
  demote(problems: readonly RegoProblem[]): boolean {
    const named = problems.filter(({ problem }) => {
      const key = problem.object === undefined ? undefined : formatRef(problem.object)
      return key !== undefined && this.#choices.get(key) === 'candidate'
    })
    const lowest = Math.min(...named.map(({ problem }) => tierOf(problem.object)))
    const hit = named.filter(({ problem }) => tierOf(problem.object) === lowest)
    for (const refusal of hit) {
      this.#refusals.push(refusal)
      if (refusal.problem.object !== undefined) this.#fallBack(formatRef(refusal.problem.object))
    }
    return hit.length > 0
  }

  /** Keeps the last good of what must not come into force before Rego that is being compiled. False: nothing more. */
  hold({ model, artifacts }: Evaluation): boolean {
    const held = findHeld({
      proposals: this.#proposals,
      pending: this.#pending,
      isNewest: (key) => {
        const isGoing = this.#proposals.get(key)?.isDeleted && !this.#held.has(key)
        return isGoing || this.#choices.get(key) === 'candidate'
      },
      artifacts,
      model,
    })
    for (const [key, by] of held) {
      this.#held.set(key, by)
      this.#fallBack(key)
    }
    return held.size > 0
  }

  finish(found: Evaluation): Settlement {
    const accepted = new Map<ObjectKey, AcceptedObject>()
    for (const [key, proposal] of this.#proposals) {
      const next = acceptedVersion(proposal, this.#choices.get(key), found.artifacts.get(key))
      if (next !== undefined) accepted.set(key, next)
    }
    return {
      accepted,
      choices: this.#choices,
      model: found.model,
      problems: this.#located([...this.#refusals, ...found.problems]),
      pending: this.#pending,
      held: this.#held,
      units: [...this.#units.values()],
    }
  }

  #fallBack(key: ObjectKey): void {
    const hasAccepted = this.#proposals.get(key)?.accepted !== undefined
    this.#choices.set(key, hasAccepted ? 'accepted' : 'none')
  }

  *#chosen(): Iterable<[ObjectKey, PosternObject]> {
    for (const key of this.#proposals.keys()) {
      const object = this.#objectOf(key)
      if (object !== undefined) yield [key, object]
    }
  }

  #objectOf(key: ObjectKey): PosternObject | undefined {
    const proposal = this.#proposals.get(key)
    const choice = this.#choices.get(key)
    if (choice === 'candidate') return proposal?.candidate?.object
    return choice === 'accepted' ? proposal?.accepted?.object : undefined
  }

  /** An accepted policy keeps what it was compiled to; a candidate's unit is looked up. Undefined: left out this round. */
  #artifactOf(
    key: ObjectKey,
    policy: AuthorizationPolicy,
    problems: RegoProblem[],
  ): Artifact | undefined {
    if (this.#choices.get(key) === 'accepted') return this.#acceptedArtifact(key)
    const resolved = resolve(policy, (name) => this.#library(policy.metadata.namespace, name))
    if (!resolved.ok) {
      problems.push(...resolved.problems.map((problem) => ({ problem })))
      return undefined
    }
    const { unit, data, origins } = resolved
    this.#units.set(unit.digest, unit)
    const state = this.#compiled(unit)
    if (state.kind === 'failed') {
      problems.push(...attributeProblems(refOfObject(policy), state.problems, origins))
      return undefined
    }
    if (state.kind === 'pending') {
      this.#pending.add(key)
      this.#fallBack(key)
      return this.#choices.get(key) === 'accepted' ? this.#acceptedArtifact(key) : undefined
    }
    const { wasmDigest, readsBody, rules } = state
    const hidden = findHidden(data, rules)
    if (hidden !== undefined) {
      problems.push({ problem: dataHidden(refOfObject(policy), hidden) })
      return undefined
    }
    const { digest: unitDigest, entrypoint } = unit
    return keepArtifact(policy, { unitDigest, entrypoint, wasmDigest, readsBody, rules, data })
  }

  /** Undefined only when the last good version had no Rego. */
  #acceptedArtifact(key: ObjectKey): Artifact | undefined {
    const accepted = this.#proposals.get(key)?.accepted
    const { object, artifact } = accepted ?? {}
    const hasRego =
      object !== undefined &&
      isKind(object, 'AuthorizationPolicy') &&
      object.spec.rego !== undefined
    // A DENY that loses its Rego would open what it closed.
    assert(!hasRego || artifact !== undefined, `${key} was accepted without its compiled Rego`)
    return artifact
  }

  #library(namespace: string | undefined, name: string): PolicyLibrary | undefined {
    const ref = { kind: 'PolicyLibrary', name, ...(namespace === undefined ? {} : { namespace }) }
    const object = this.#objectOf(formatRef(ref))
    return object !== undefined && isKind(object, 'PolicyLibrary') ? object : undefined
  }

  #translationInput(artifacts: ReadonlyMap<ObjectKey, Artifact>): Parameters<typeof translate>[0] {
    const objects = [...this.#chosen()]
    const ofKind = <K extends Kind>(kind: K) =>
      objects.flatMap(([, object]) => (isKind(object, kind) ? [object] : []))
    const policies = objects.flatMap(([key, object]) => {
      if (!isKind(object, 'AuthorizationPolicy')) return []
      if (object.spec.rego === undefined) return [{ object }]
      const artifact = artifacts.get(key)
      return artifact === undefined ? [] : [{ object, rego: toRego(artifact) }]
    })
    const workloadEntries = ofKind('WorkloadEntry')
    return {
      mesh: ofKind('Mesh')[0],
      certificateAuthorities: ofKind('CertificateAuthority'),
      peerAuthentications: ofKind('PeerAuthentication'),
      backendTrafficPolicies: ofKind('BackendTrafficPolicy'),
      workloadEntries,
      policies,
      ...(this.#cluster === undefined ? {} : { cluster: this.#cluster }),
      uids: new Map(
        workloadEntries.map(({ metadata: m }) => [
          `${m.namespace ?? 'default'}/${m.name}`,
          m.uid ?? '',
        ]),
      ),
    }
  }

  /** Adds where each problem stands; the same problem found in several rounds counts once. */
  #located(found: readonly RegoProblem[]): readonly Problem[] {
    const unique = new Map<string, Problem>()
    for (const { problem, place } of found) {
      const id = JSON.stringify([problem.object, problem.field, problem.code, problem.message])
      const proposal =
        problem.object === undefined ? undefined : this.#proposals.get(formatRef(problem.object))
      const source =
        problem.source ??
        proposal?.candidate?.locate(problem.field, place) ??
        proposal?.accepted?.source
      if (!unique.has(id)) unique.set(id, source === undefined ? problem : { ...problem, source })
    }
    return [...unique.values()]
  }
}

function bestChoice(proposal: Proposal): Choice {
  if (proposal.candidate !== undefined) return 'candidate'
  if (proposal.isDeleted) return 'none'
  return proposal.accepted === undefined ? 'none' : 'accepted'
}

function tierOf(object: ObjectRef | undefined): number {
  return TIER[object?.kind as Kind] ?? Number.POSITIVE_INFINITY
}

function acceptedVersion(
  proposal: Proposal,
  choice: Choice | undefined,
  artifact: Artifact | undefined,
): AcceptedObject | undefined {
  const { candidate, accepted } = proposal
  if (choice === 'candidate' && candidate !== undefined) {
    const { object, source } = candidate
    const needsRego = isKind(object, 'AuthorizationPolicy') && object.spec.rego !== undefined
    assert(!needsRego || artifact !== undefined, `${proposal.key} has no compiled Rego`)
    return toAccepted(object, source, artifact, accepted)
  }
  return choice === 'accepted' ? accepted : undefined
}

/** The accepted one itself, when it is of the same parts. */
const toAccepted = remember(
  (
    object: PosternObject,
    source: SourceLocation,
    artifact: Artifact | undefined,
    before: AcceptedObject | undefined,
  ): AcceptedObject => {
    const next = artifact === undefined ? { object, source } : { object, source, artifact }
    return before === undefined ? next : (shareEqual(before, next) as AcceptedObject)
  },
)

const resolve = rememberAsked(resolveRego)
const keepArtifact = keepEqual<PosternObject, Artifact>()

const toRego = remember(
  ({ entrypoint, wasmDigest, data, readsBody }: Artifact): RegoPolicy => ({
    entrypoint,
    wasmDigest,
    data,
    readsBody,
  }),
)
