/** Checks of whole policies, of workloads and of the mesh: reach, transport, Rego, defaults. */
import type { Rule } from '../../../common/policy-set.ts'
import type { Workload } from '../model/mesh.ts'
import type { Estate, Observation, PeerSubject, PolicySubject } from './finding.ts'
import type { RuleObservation } from './rule-checks.ts'
import { onRules, operationsOf, sourcesOf } from './value-checks.ts'

export function findAllowAny({ policies }: Estate): readonly RuleObservation[] {
  return policies.flatMap((subject) => {
    if (subject.policy.action !== 'ALLOW' || subject.policy.rego !== undefined) return []
    const at = (subject.policy.rules ?? []).findIndex(isEmptyRule)
    if (at === -1) return []
    const reach = subject.isMeshWide ? 'the whole mesh' : `${subject.workloads.length} workloads`
    const message = `anybody may call everything on ${reach}, also without an identity where plaintext is taken`
    const severity = subject.isMeshWide ? ({ severity: 'error' } as const) : {}
    return [{ subject, field: `spec.rules[${at}]`, message, ...severity }]
  })
}

function isEmptyRule({ from, to, when }: Rule): boolean {
  return from.length + to.length + when.length === 0
}

export function findNoRules({ policies }: Estate): readonly RuleObservation[] {
  return policies.flatMap((subject) => {
    const { action, rules, rego } = subject.policy
    if (rego !== undefined || (rules ?? []).length > 0) return []
    const message =
      action === 'ALLOW' ? 'allows nothing: it has no rules' : 'denies nothing: it has no rules'
    return [{ subject, field: 'spec', message }]
  })
}

/** A principal is known over mutual TLS only. */
export const findPrincipalsOverPlaintext = onRules(({ subject, rule, field }) => {
  const open = subject.workloads.filter((w) => w.inbound.some((p) => p.mtls !== 'STRICT'))
  const [first] = open
  const at = sourcesOf(rule, field).find(
    ({ source }) => source.principals.is.length + source.namespaces.is.length > 0,
  )?.at
  if (first === undefined || at === undefined) return []
  const where = `${first.namespace}/${first.name}`
  return subject.policy.action === 'ALLOW'
    ? [
        {
          field: at,
          message: `over plaintext nobody has an identity, so it never allows such calls to ${where}`,
          severity: 'info' as const,
        },
      ]
    : [
        {
          field: at,
          message: `whoever calls ${where} in plaintext has no identity, and so is not denied`,
        },
      ]
})

/** On a TCP port an HTTP field never matches in an ALLOW and is dropped in a DENY (DESIGN §4). */
export const findHttpOnTcp = onRules(({ subject, rule, field }) => {
  const tcp = subject.workloads.flatMap((w) =>
    w.inbound.filter((p) => p.protocol === 'TCP').map((p) => ({ workload: w, port: p.port })),
  )
  const [first] = tcp.filter(({ port }) => concerns(rule, port))
  if (first === undefined || !hasHttp(rule)) return []
  const where = `TCP port ${first.port} of ${first.workload.namespace}/${first.workload.name}`
  if (subject.policy.action === 'ALLOW') {
    return [
      {
        field,
        message: `never allows a connection to ${where}: it has HTTP fields`,
        severity: 'info' as const,
      },
    ]
  }
  return [
    {
      field,
      message: `denies every connection to ${where} that the rest of the rule matches: HTTP fields are dropped there`,
    },
  ]
})

function concerns(rule: Rule, port: number): boolean {
  if (rule.to.length === 0) return true
  return rule.to.some(({ ports }) => ports.is.length === 0 || ports.is.includes(port))
}

function hasHttp(rule: Rule): boolean {
  const isSaid = ({ is, not }: { is: readonly unknown[]; not: readonly unknown[] }) =>
    is.length + not.length > 0
  return (
    operationsOf(rule, '').some(({ operation: { hosts, methods, paths } }) =>
      [hosts, methods, paths].some(isSaid),
    ) || rule.when.some((c) => c.key.kind === 'header')
  )
}

export function findDefaultOnly({
  workloads,
  policies,
  mesh,
}: Estate): readonly WorkloadObservation[] {
  const allowed = new Set(
    policies.filter((p) => p.policy.action === 'ALLOW').flatMap((p) => p.workloads),
  )
  return workloads
    .filter((w) => w.inbound.length > 0 && !allowed.has(w))
    .map((workload) => ({
      workload,
      field: '',
      message:
        mesh.defaultAction === 'ALLOW'
          ? 'no ALLOW policy is on it, and the Mesh’s default allows every call'
          : 'no ALLOW policy is on it, so every call to it is denied',
      ...(mesh.defaultAction === 'ALLOW' ? { severity: 'warning' as const } : {}),
    }))
}

export interface WorkloadObservation extends Observation {
  readonly workload: Workload
}

export interface PeerObservation extends Observation {
  readonly peer: PeerSubject
}

/** Of two at the same scope the oldest wins, wholly: the other one says nothing on what they share. */
export function findPeerConflicts({ peers }: Estate): readonly PeerObservation[] {
  return peers.flatMap((peer, i) => {
    const older = peers.slice(0, i).find((o) => o.scope === peer.scope && overlaps(o, peer))
    if (older === undefined || !differs(older, peer)) return []
    const { namespace, name } = older.object.metadata
    const message = `${namespace}/${name} is older and says otherwise on the same workloads; it wins`
    return [{ peer, field: 'spec.mtls', message }]
  })
}

function overlaps(a: PeerSubject, b: PeerSubject): boolean {
  return a.workloads.some((w) => b.workloads.includes(w))
}

function differs({ object: a }: PeerSubject, { object: b }: PeerSubject): boolean {
  return (
    JSON.stringify([a.spec.mtls, a.spec.portLevelMtls]) !==
    JSON.stringify([b.spec.mtls, b.spec.portLevelMtls])
  )
}

/** As text: a module that never says `input` gives every request the same answer. */
export function findRegoWithoutInput({ policies, libraries }: Estate): readonly RuleObservation[] {
  return policies.flatMap((subject) => {
    const { rego } = subject.object.spec
    if (rego === undefined || textsOf(subject, libraries).some((text) => /\binput\b/.test(text)))
      return []
    const message = 'its Rego never reads `input`: every request gets the same answer'
    return [{ subject, field: 'spec.rego', message }]
  })
}

function textsOf({ object }: PolicySubject, libraries: Estate['libraries']): readonly string[] {
  const { rego } = object.spec
  const names = [rego?.libraryRef?.name, ...(rego?.libraries ?? []).map((l) => l.name)]
  const used = libraries.filter(
    (l) => l.metadata.namespace === object.metadata.namespace && names.includes(l.metadata.name),
  )
  const modules = used.flatMap((l) => (l.spec.modules ?? []).map((m) => m.rego))
  return [rego?.module ?? '', ...modules]
}

export function findFailingOpen({ policies }: Estate): readonly RuleObservation[] {
  return policies.flatMap((subject) => {
    const { onError, rego, action } = subject.policy
    if (onError !== 'Allow') return []
    const message =
      rego === undefined
        ? 'has no effect: only Rego can fail'
        : `when its Rego fails, ${action === 'DENY' ? 'nothing is denied' : 'the request is allowed'}; when it takes too long, the request is denied`
    return [{ subject, field: 'spec.onError', message }]
  })
}

export function findOpenDefaults({ mesh, hasMesh }: Estate): readonly Observation[] {
  if (!hasMesh || mesh.defaultAction !== 'ALLOW') return []
  const message = 'a workload without an ALLOW policy takes every call'
  return [{ field: 'spec.defaultAction', message }]
}
