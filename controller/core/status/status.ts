/**
 * What is said of each object: Accepted (is it valid and in use?), Programmed (do proxies get it?), for policies
 * Enforced n/m, for workloads Connected. In: what acceptance found, what is published, what proxies report.
 * Out: the objects in Kubernetes' shape with their status. Says of the last good which generation it is.
 */
import { formatRef, type Problem } from '../../../common/errors.ts'
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

export function buildStatuses(input: StatusInput): ReadonlyMap<ObjectKey, PosternObject> {
  const statuses = new Map<ObjectKey, PosternObject>()
  const proxies = new Map(input.proxies.map((p) => [p.nodeId, p]))
  for (const proposal of input.proposals) {
    const object = proposal.candidate?.object ?? proposal.accepted?.object
    if (object === undefined) continue
    const subject = toSubject(input, proposal, object, proxies)
    const enforcement = isKind(object, 'AuthorizationPolicy') ? enforcementOf(subject) : undefined
    const findings = [
      acceptedFinding(input, subject),
      programmedFinding(input, subject),
      ...(enforcement === undefined ? [] : [enforcement.finding]),
      ...(isKind(object, 'WorkloadEntry') ? workloadFindings(input, subject) : []),
    ]
    const before = input.before.get(proposal.key) ?? []
    const status = {
      observedGeneration: subject.generation,
      ...(isKind(object, 'WorkloadEntry') ? { service: serviceOf(object) } : {}),
      ...(enforcement === undefined ? {} : { enforced: enforcement.enforced }),
      conditions: toConditions(findings, subject.generation, before, input.now),
    }
    statuses.set(proposal.key, { ...object, status })
  }
  return statuses
}

interface Subject {
  readonly proposal: Proposal
  readonly object: PosternObject
  readonly generation: number
  /** Absent: nothing of it is in force. */
  readonly inForceGeneration: number | undefined
  readonly workloads: readonly {
    readonly workload: Workload
    readonly proxy: ProxyReading | undefined
  }[]
  readonly served: Served | undefined
}

function toSubject(
  input: StatusInput,
  proposal: Proposal,
  object: PosternObject,
  proxies: ReadonlyMap<string, ProxyReading>,
): Subject {
  const { served } = input
  const current = input.inForce.get(proposal.key)?.object
  const workloads =
    served === undefined || current === undefined
      ? []
      : workloadsOf(current, served.model, input.inForce)
  return {
    proposal,
    object,
    generation: input.seen.get(proposal.key)?.generation ?? object.metadata.generation ?? 1,
    inForceGeneration: current?.metadata.generation,
    workloads: workloads.map((workload) => ({ workload, proxy: proxies.get(nodeId(workload)) })),
    served,
  }
}

function acceptedFinding(input: StatusInput, subject: Subject): Finding {
  const { proposal, inForceGeneration } = subject
  const type = 'Accepted'
  const stays =
    inForceGeneration === undefined
      ? 'nothing of it is in force'
      : `generation ${inForceGeneration} stays in force`
  const own = input.problems.filter(
    (p) => p.object !== undefined && formatRef(p.object) === proposal.key,
  )
  const problems = own.length > 0 || proposal.retained === undefined ? own : [proposal.retained]
  const [first] = problems
  if (first !== undefined) {
    const message = `${problems.map(formatCause).join('. ')}. ${stays}`
    return { type, status: 'False', reason: first.code, message }
  }
  if (input.pending.has(proposal.key)) {
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

function programmedFinding(input: StatusInput, subject: Subject): Finding {
  const type = 'Programmed'
  const { generation, inForceGeneration, served } = subject
  const no = (reason: string, message: string): Finding => ({
    type,
    status: 'False',
    reason,
    message,
  })
  if (inForceGeneration === undefined) return no('NotAccepted', 'nothing of it is in force')
  if (served === undefined) return no('NotPublished', 'nothing is published yet')
  const nack = nackOf(subject)
  if (nack !== undefined) return no('ERR_PROXY_NACK', nack)
  const [withheld] = withheldFrom(subject)
  if (withheld !== undefined) return no('UnsupportedByProxy', withheld)
  if (input.pending.has(subject.proposal.key) || generation !== inForceGeneration) {
    return no('LastGood', `generation ${inForceGeneration} is programmed`)
  }
  return { type, status: 'True', reason: 'Programmed', message: 'proxies are served with it' }
}

/** Of each workload whose proxy isn't given the newest, for it doesn't know all of it: why. */
function withheldFrom({ workloads, served }: Subject): readonly string[] {
  return workloads.flatMap(
    ({ workload, proxy }) =>
      whyWithheld(workload, proxy, served?.targets.get(nodeId(workload))?.requires) ?? [],
  )
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
          'free the port, if it says so, or take the edit back; until then the last accepted stays',
        ...(source === undefined ? {} : { source }),
      }),
    )
  })
}

function enforcementOf(subject: Subject): { enforced: string; finding: Finding } {
  const type = 'Enforced'
  const { workloads, served } = subject
  const waiting = workloads.filter(({ workload, proxy }) => {
    const target = served?.targets.get(nodeId(workload))
    return !(
      proxy?.connected === true &&
      proxy.enforcedGeneration === target?.generation &&
      proxy.bundleRevision === target?.revision
    )
  })
  const enforced = `${workloads.length - waiting.length}/${workloads.length}`
  if (workloads.length === 0) {
    const message = 'no workload has it'
    return { enforced, finding: { type, status: 'Unknown', reason: 'NoWorkload', message } }
  }
  if (waiting.length === 0) {
    const message = `${enforced} proxies enforce it`
    return { enforced, finding: { type, status: 'True', reason: 'Enforced', message } }
  }
  const names = waiting.slice(0, SHOWN_PROXIES).map(({ workload, proxy }) => {
    const detail =
      proxy?.connected === true
        ? (whyWithheld(workload, proxy, served?.targets.get(nodeId(workload))?.requires) ??
          proxy.detail)
        : 'not connected'
    return `${workload.namespace}/${workload.name}${detail === '' ? '' : ` (${detail})`}`
  })
  const rest = waiting.length > SHOWN_PROXIES ? ` and ${waiting.length - SHOWN_PROXIES} more` : ''
  const acked = workloads.filter(
    ({ workload, proxy }) =>
      proxy?.connected === true &&
      proxy.ackedGeneration === served?.targets.get(nodeId(workload))?.generation,
  )
  const message = `${enforced} proxies enforce it (acknowledged by ${acked.length}); waiting for ${names.join(', ')}${rest}`
  const reason = withheldFrom(subject).length > 0 ? 'UnsupportedByProxy' : 'Waiting'
  return { enforced, finding: { type, status: 'False', reason, message } }
}

function workloadFindings(input: StatusInput, subject: Subject): readonly Finding[] {
  const proxy = subject.workloads[0]?.proxy
  const uid = subject.workloads[0]?.workload.uid ?? ''
  const revoked = input.revoked.get(uid)
  const connected: Finding =
    proxy?.connected === true
      ? {
          type: 'Connected',
          status: 'True',
          reason: proxy.ready ? 'Ready' : 'NotReady',
          message: proxy.ready
            ? 'its sidecar is connected and ready'
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
