/**
 * What is said of each object: Accepted (is it valid and in use?), Programmed (do proxies get it?), for policies
 * Enforced n/m, for workloads Connected. In: what acceptance found, what is published, what proxies report.
 * Out: the objects in Kubernetes' shape with their status. Says of the last good which generation it is.
 */
import { formatRef, type Problem } from '../../../common/errors.ts'
import { recall, remember } from '../../../common/remember.ts'
import { type AcceptedObject, isKind, type ObjectKey, type Seen } from '../accept/objects.ts'
import type { Proposal } from '../accept/propose.ts'
import type { PosternObject } from '../crd/index.ts'
import { type Model, nodeId, type Workload } from '../model/mesh.ts'
import { serviceOf } from '../translate/workload-entry.ts'
import { isBlamed, type Nack } from './blame.ts'
import { type ConditionTimes, type Finding, toConditions } from './conditions.ts'
import { workloadsOf } from './feeds.ts'
import { whyWithheld } from './withheld.ts'

/** What of a proxy's state goes in; the runtime's ProxyState fits. */
export interface ProxyReading {
  readonly nodeId: string
  readonly connected: boolean
  readonly enforcedGeneration: string
  readonly bundleRevision: string
  readonly ready: boolean
  readonly detail: string
  readonly version: string
  readonly features: readonly string[]
  readonly ackedGeneration: string
  readonly nacks: readonly Nack[]
}

export interface Served {
  readonly model: Model
  /** By xDS node id. */
  readonly targets: ReadonlyMap<string, Target>
}

export interface Target {
  readonly generation: string
  readonly revision: string
  /** Tokens of common/features.ts without which a proxy isn't given it. */
  readonly requires: readonly string[]
}

export interface StatusInput {
  readonly proposals: readonly Proposal[]
  readonly seen: ReadonlyMap<ObjectKey, Seen>
  readonly problems: readonly Problem[]
  readonly pending: ReadonlySet<ObjectKey>
  /** What waits for the Rego of another policy. */
  readonly held: ReadonlyMap<ObjectKey, ObjectKey>
  readonly inForce: ReadonlyMap<ObjectKey, AcceptedObject>
  readonly served: Served | undefined
  readonly proxies: readonly ProxyReading[]
  /** Why a workload's credential was revoked, by workload UID. */
  readonly revoked: ReadonlyMap<string, string>
  /** Conditions so far, by object. */
  readonly before: ConditionTimes
  /** RFC 3339. */
  readonly now: string
}

const SHOWN_PROXIES = 5

/** An object of which nothing changed that its status is made of has the same status as before, times too. */
export function buildStatuses(input: StatusInput): ReadonlyMap<ObjectKey, PosternObject> {
  const statuses = new Map<ObjectKey, PosternObject>()
  const standings = standingsOf(input)
  const problems = Map.groupBy(input.problems, (p) => (p.object ? formatRef(p.object) : ''))
  for (const proposal of input.proposals) {
    const object = proposal.candidate?.object ?? proposal.accepted?.object
    if (object === undefined || (proposal.isDeleted && !input.held.has(proposal.key))) continue
    const subject = toSubject(input, proposal, object, { standings, problems })
    const { proposal: _, ...inputs } = subject
    const status = statusOf(proposal, Object.values(inputs), () => withStatus(input, subject))
    statuses.set(proposal.key, status)
  }
  return statuses
}

const statusOf = recall<Proposal, PosternObject>()

function withStatus(input: StatusInput, subject: Subject): PosternObject {
  const { object, proposal } = subject
  const enforcement = isKind(object, 'AuthorizationPolicy') ? enforcementOf(subject) : undefined
  const findings = [
    acceptedFinding(subject),
    programmedFinding(subject),
    ...(enforcement === undefined ? [] : [enforcement.finding]),
    ...(isKind(object, 'WorkloadEntry') ? workloadFindings(subject) : []),
  ]
  const before = input.before.get(proposal.key) ?? []
  const status = {
    observedGeneration: subject.generation,
    ...(isKind(object, 'WorkloadEntry') ? { service: serviceOf(object) } : {}),
    ...(enforcement === undefined ? {} : { enforced: enforcement.enforced }),
    conditions: toConditions(findings, subject.generation, before, input.now),
  }
  return { ...object, status }
}

/** How far one workload's proxy is with what it is served. */
interface Standing {
  readonly workload: Workload
  readonly proxy: ProxyReading | undefined
  readonly hasAcked: boolean
  readonly enforces: boolean
  /** Why the proxy isn't given the newest. */
  readonly withheld: string | undefined
}

/** All that the status of one object is made of, but for the times of its conditions. */
interface Subject {
  readonly proposal: Proposal
  readonly object: PosternObject
  readonly generation: number
  /** Absent: nothing of it is in force. */
  readonly inForceGeneration: number | undefined
  readonly isPending: boolean
  /** The policy whose Rego it waits for. */
  readonly heldBy: ObjectKey | undefined
  readonly isServed: boolean
  readonly problems: readonly Problem[]
  readonly workloads: readonly Standing[]
  /** Why the credential of the workload was revoked. */
  readonly revoked: string | undefined
}

interface Known {
  readonly standings: ReadonlyMap<Workload, Standing>
  readonly problems: ReadonlyMap<ObjectKey, readonly Problem[]>
}

const NONE: readonly Problem[] = []

function toSubject(
  input: StatusInput,
  proposal: Proposal,
  object: PosternObject,
  { standings, problems }: Known,
): Subject {
  const { served } = input
  const current = input.inForce.get(proposal.key)?.object
  const workloads =
    served === undefined || current === undefined
      ? []
      : workloadsOf(current, served.model, input.inForce)
  const uid = isKind(object, 'WorkloadEntry') ? workloads[0]?.uid : undefined
  return {
    proposal,
    object,
    generation: input.seen.get(proposal.key)?.generation ?? object.metadata.generation ?? 1,
    inForceGeneration: current?.metadata.generation,
    isPending: input.pending.has(proposal.key),
    heldBy: input.held.get(proposal.key),
    isServed: served !== undefined,
    problems: problems.get(proposal.key) ?? NONE,
    workloads: workloads.flatMap((workload) => standings.get(workload) ?? []),
    revoked: uid === undefined ? undefined : input.revoked.get(uid),
  }
}

function standingsOf({ served, proxies }: StatusInput): ReadonlyMap<Workload, Standing> {
  const byNode = new Map(proxies.map((p) => [p.nodeId, p]))
  const workloads = [...(served?.model.workloads.values() ?? [])]
  return new Map(
    workloads.map((workload) => {
      const id = nodeId(workload)
      return [workload, toStanding(workload, byNode.get(id), served?.targets.get(id))]
    }),
  )
}

const toStanding = remember(
  (workload: Workload, proxy: ProxyReading | undefined, target: Target | undefined): Standing => {
    const isConnected = proxy?.connected === true
    const hasAcked = isConnected && proxy.ackedGeneration === target?.generation
    return {
      workload,
      proxy,
      hasAcked,
      // A generation may be published again while the one in between is on its way: then its word is of before.
      enforces:
        hasAcked &&
        proxy.enforcedGeneration === target?.generation &&
        proxy.bundleRevision === target?.revision,
      withheld: whyWithheld(workload, proxy, target?.requires),
    }
  },
)

function acceptedFinding({ proposal, inForceGeneration, ...subject }: Subject): Finding {
  const type = 'Accepted'
  const stays =
    inForceGeneration === undefined
      ? 'nothing of it is in force'
      : `generation ${inForceGeneration} stays in force`
  const own = subject.problems
  const problems = own.length > 0 || proposal.retained === undefined ? own : [proposal.retained]
  const [first] = problems
  if (first !== undefined) {
    const message = `${problems.map(formatCause).join('. ')}. ${stays}`
    return { type, status: 'False', reason: first.code, message }
  }
  if (subject.heldBy !== undefined) {
    const what = proposal.isDeleted ? 'its deletion' : 'it'
    const message = `${what} waits for the Rego of ${subject.heldBy}, which selects the same workload and may deny; ${stays}`
    return { type, status: 'Unknown', reason: 'Pending', message }
  }
  if (subject.isPending) {
    const message = `its Rego is being compiled; ${stays}`
    return { type, status: 'Unknown', reason: 'Compiling', message }
  }
  return { type, status: 'True', reason: 'Accepted', message: 'valid and in use' }
}

/** The problem without the object, which the status belongs to. */
function formatCause({ code, field, message, remedy, source }: Problem): string {
  const line = source?.line === undefined ? '' : `:${source.line}:${source.column ?? 1}`
  const document = source?.document === undefined ? '' : ` (document ${source.document})`
  const place = source === undefined ? '' : `${source.file}${line}${document}: `
  return `${place}${field === '' ? '' : `${field}: `}${message}; ${remedy} [${code}]`
}

function programmedFinding(subject: Subject): Finding {
  const type = 'Programmed'
  const { generation, inForceGeneration, isServed } = subject
  const isWaiting = subject.isPending || subject.heldBy !== undefined
  const no = (reason: string, message: string): Finding => ({
    type,
    status: 'False',
    reason,
    message,
  })
  if (inForceGeneration === undefined) return no('NotAccepted', 'nothing of it is in force')
  if (!isServed) return no('NotPublished', 'nothing is published yet')
  const nack = nackOf(subject)
  if (nack !== undefined) return no('ERR_PROXY_NACK', nack)
  const [withheld] = withheldFrom(subject)
  if (withheld !== undefined) return no('UnsupportedByProxy', withheld)
  if (isWaiting || generation !== inForceGeneration) {
    return no('LastGood', `generation ${inForceGeneration} is programmed`)
  }
  return { type, status: 'True', reason: 'Programmed', message: whoIsServed(subject) }
}

function whoIsServed({ workloads }: Subject): string {
  if (workloads.length === 0) return 'published; no workload has it'
  return workloads.some(({ proxy }) => proxy?.connected === true)
    ? 'proxies are served with it'
    : 'published; no proxy that it concerns is connected'
}

/** Of each workload whose proxy isn't given the newest, for it doesn't know all of it: why. */
function withheldFrom({ workloads }: Subject): readonly string[] {
  return workloads.flatMap(({ withheld }) => withheld ?? [])
}

function nackOf({ object, workloads }: Subject): string | undefined {
  for (const { workload, proxy } of workloads) {
    const nack = proxy?.nacks.find((n) => isBlamed(object, workload, n))
    if (nack === undefined) continue
    const what = nack.typeUrl.split('.').at(-1)
    return `the proxy of ${workload.namespace}/${workload.name} refused its ${what}: ${nack.message}`
  }
  return undefined
}

/** Refusals as problems of the workloads whose proxies refused. */
export function nackProblems(
  input: Pick<StatusInput, 'served' | 'proxies' | 'inForce'>,
): readonly Problem[] {
  const workloads = new Map(
    [...(input.served?.model.workloads.values() ?? [])].map((w) => [nodeId(w), w]),
  )
  return input.proxies.flatMap(({ nodeId, nacks }) => {
    const workload = workloads.get(nodeId)
    if (workload === undefined) return []
    const { namespace, name } = workload
    const object = { kind: 'WorkloadEntry', namespace, name }
    const source = input.inForce.get(formatRef(object))?.source
    return nacks.map(
      ({ typeUrl, message }): Problem => ({
        code: 'ERR_PROXY_NACK',
        object,
        field: '',
        message: `its proxy refused its ${typeUrl.split('.').at(-1)}: ${message}`,
        remedy:
          'free the port, if it says so, or take the edit back; until then it keeps what it had accepted, a replaced port too until the rules change',
        ...(source === undefined ? {} : { source }),
      }),
    )
  })
}

function enforcementOf(subject: Subject): { enforced: string; finding: Finding } {
  const type = 'Enforced'
  const { workloads } = subject
  const waiting = workloads.filter(({ enforces }) => !enforces)
  const enforced = `${workloads.length - waiting.length}/${workloads.length}`
  if (workloads.length === 0) {
    const message = 'no workload has it'
    return { enforced, finding: { type, status: 'Unknown', reason: 'NoWorkload', message } }
  }
  if (waiting.length === 0) {
    const message = `${enforced} proxies enforce it`
    return { enforced, finding: { type, status: 'True', reason: 'Enforced', message } }
  }
  const names = waiting.slice(0, SHOWN_PROXIES).map(({ workload, proxy, withheld }) => {
    const detail = proxy?.connected === true ? (withheld ?? proxy.detail) : 'not connected'
    return `${workload.namespace}/${workload.name}${detail === '' ? '' : ` (${detail})`}`
  })
  const rest = waiting.length > SHOWN_PROXIES ? ` and ${waiting.length - SHOWN_PROXIES} more` : ''
  const acked = workloads.filter(({ hasAcked }) => hasAcked)
  const message = `${enforced} proxies enforce it (acknowledged by ${acked.length}); waiting for ${names.join(', ')}${rest}`
  const reason = withheldFrom(subject).length > 0 ? 'UnsupportedByProxy' : 'Waiting'
  return { enforced, finding: { type, status: 'False', reason, message } }
}

function workloadFindings(subject: Subject): readonly Finding[] {
  const proxy = subject.workloads[0]?.proxy
  const { revoked } = subject
  const connected: Finding =
    proxy?.connected === true
      ? {
          type: 'Connected',
          status: 'True',
          reason: proxy.ready ? 'Ready' : 'NotReady',
          message: proxy.ready
            ? `its sidecar is connected and ready${proxy.detail === '' ? '' : `; ${proxy.detail}`}`
            : `its sidecar is connected, not ready: ${proxy.detail}`,
        }
      : {
          type: 'Connected',
          status: 'False',
          reason: 'NotConnected',
          message: 'its sidecar is not connected',
        }
  if (revoked === undefined) return [connected]
  return [
    connected,
    {
      type: 'CredentialRevoked',
      status: 'True',
      reason: 'ERR_CREDENTIAL_REVOKED',
      message: `${revoked}; make a new join token with \`postern token create\` once the cause is known`,
    },
  ]
}
