/**
 * The table of checks: code, severity, what it means, what to do. `postern analyze` runs it, docs/reference/analyze.md is
 * made of it.
 */
import { formatRef, type ObjectRef } from '../../../common/errors.ts'
import type { Estate, LintFinding, Observation, Severity } from './finding.ts'
import * as policy from './policy-checks.ts'
import * as rules from './rule-checks.ts'
import * as values from './value-checks.ts'

type Owned = Observation & {
  readonly subject?: { readonly object: { readonly metadata: Meta } }
  readonly workload?: Meta
  readonly peer?: { readonly object: { readonly metadata: Meta } }
}

interface Meta {
  readonly namespace?: string
  readonly name: string
}

export interface LintCheck {
  readonly code: string
  /** Unless the observation says another. */
  readonly severity: Severity
  /** As a sentence of the reference page. */
  readonly means: string
  /** As an imperative clause. */
  readonly remedy: string
  readonly find: (estate: Estate) => readonly Owned[]
}

export const LINT_CHECKS: readonly LintCheck[] = [
  {
    code: 'LINT_UNREACHABLE_ALLOW',
    severity: 'warning',
    means:
      'An ALLOW rule matches nothing that a DENY rule on the same workloads doesn’t deny. DENY comes first.',
    remedy: 'narrow the DENY, or take the rule away',
    find: rules.findUnreachable,
  },
  {
    code: 'LINT_SHADOWED_RULE',
    severity: 'warning',
    means:
      'A rule matches nothing that a wider rule of the same action on the same workloads doesn’t match.',
    remedy: 'take it away, or narrow the wider one if that is too wide',
    find: rules.findShadowed,
  },
  {
    code: 'LINT_DUPLICATE_RULE',
    severity: 'warning',
    means: 'Two rules of the same action on the same workloads say the same.',
    remedy: 'take one away',
    find: rules.findDuplicates,
  },
  {
    code: 'LINT_ALLOW_ANY',
    severity: 'warning',
    means:
      'An ALLOW policy with an empty rule lets anybody call everything. Mesh-wide it is an error.',
    remedy: 'name who may call what',
    find: policy.findAllowAny,
  },
  {
    code: 'LINT_NO_RULES',
    severity: 'warning',
    means:
      'A policy has neither rules nor Rego: it matches nothing, and an ALLOW makes the workload deny what nobody else allows.',
    remedy: 'write its rules; `rules: [{}]` means everything',
    find: policy.findNoRules,
  },
  {
    code: 'LINT_DENY_ONLY_NOT',
    severity: 'warning',
    means: 'A DENY rule has only `not…` terms: it denies everything else, and absence never saves.',
    remedy: 'say what is to be denied, or make sure that everything else is meant',
    find: values.findOnlyNegations,
  },
  {
    code: 'LINT_PLAINTEXT_IDENTITY',
    severity: 'warning',
    means:
      'A rule names callers on a workload that takes plaintext, where nobody has an identity: a DENY is evaded by leaving TLS away. For an ALLOW it is information.',
    remedy: 'set STRICT, or deny by something that plaintext has too',
    find: policy.findPrincipalsOverPlaintext,
  },
  {
    code: 'LINT_HTTP_FIELDS_ON_TCP',
    severity: 'warning',
    means:
      'A rule with HTTP fields is on a workload with a TCP port. A DENY drops them there and denies every connection that the rest of it matches; an ALLOW never matches there (information).',
    remedy: 'limit the rule by `ports`',
    find: policy.findHttpOnTcp,
  },
  {
    code: 'LINT_PREFIX_WITHOUT_SLASH',
    severity: 'warning',
    means:
      'A path prefix of an ALLOW has no slash before the star, so that it reaches siblings: `/public*` allows `/publicity`.',
    remedy: 'write both "/public" and "/public/*"',
    find: values.findPrefixWithoutSlash,
  },
  {
    code: 'LINT_IMPOSSIBLE_PATH',
    severity: 'warning',
    means:
      'No request has the path, since Envoy brings paths to one form first. In a DENY it is an error: it denies nothing.',
    remedy: 'write the path as policies see it, see `postern explain request`',
    find: values.findImpossiblePaths,
  },
  {
    code: 'LINT_IMPOSSIBLE_METHOD',
    severity: 'warning',
    means: 'HTTP/1.1 knows no such method. In a DENY it is an error.',
    remedy: 'write a method that is used',
    find: values.findImpossibleMethods,
  },
  {
    code: 'LINT_UNSERVED_PORT',
    severity: 'warning',
    means:
      'No workload of the policy serves the port. Ports are the inbound ports that callers use, not the app’s. In a DENY it is an error.',
    remedy: 'write the inbound port',
    find: values.findUnservedPorts,
  },
  {
    code: 'LINT_CONTRADICTION',
    severity: 'warning',
    means: 'A list and its negation leave nothing: the rule never matches.',
    remedy: 'take one of them away',
    find: values.findContradictions,
  },
  {
    code: 'LINT_STAR_HEADER_DENY',
    severity: 'info',
    means:
      'A DENY on a header’s presence (`values: ["*"]`) does not meet an empty one: an empty header is absent.',
    remedy: 'make sure that the app takes an empty header for none',
    find: values.findStarHeaders,
  },
  {
    code: 'LINT_UNKNOWN_PRINCIPAL',
    severity: 'warning',
    means:
      'No WorkloadEntry has the identity, or it is of another trust domain, whose certificates are refused.',
    remedy: 'check the name for a mistake',
    find: values.findUnknownPrincipals,
  },
  {
    code: 'LINT_UNKNOWN_NAMESPACE',
    severity: 'warning',
    means: 'No WorkloadEntry is in the namespace that a rule names.',
    remedy: 'check the name for a mistake',
    find: values.findUnknownNamespaces,
  },
  {
    code: 'LINT_REGO_IGNORES_INPUT',
    severity: 'warning',
    means: 'The Rego of a policy, with its libraries, never reads `input`.',
    remedy: 'read what the decision depends on',
    find: policy.findRegoWithoutInput,
  },
  {
    code: 'LINT_FAILS_OPEN',
    severity: 'warning',
    means:
      '`onError: Allow`: a failure of the policy’s Rego, which a caller may be able to cause, opens.',
    remedy: 'leave it at Deny',
    find: policy.findFailingOpen,
  },
  {
    code: 'LINT_PEER_AUTHENTICATION_CONFLICT',
    severity: 'warning',
    means:
      'Two PeerAuthentications of the same scope say different things of one workload; the oldest wins.',
    remedy: 'make them one',
    find: policy.findPeerConflicts,
  },
  {
    code: 'LINT_DEFAULT_DECIDES',
    severity: 'info',
    means:
      'No ALLOW policy is on a workload that serves ports: the Mesh’s default action decides every call that no DENY denies.',
    remedy: 'write a policy for it, if it is to be called',
    find: policy.findDefaultOnly,
  },
  {
    code: 'LINT_DEFAULT_ALLOW',
    severity: 'warning',
    means: 'The Mesh’s default action is ALLOW.',
    remedy: 'set DENY; `mode: Shadow` shows what that would deny',
    find: policy.findOpenDefaults,
  },
]

/** Whom an observation is about. */
export function refOfOwner(owned: Owned): ObjectRef {
  const { subject, workload, peer } = owned
  if (subject !== undefined) return refOf('AuthorizationPolicy', subject.object.metadata)
  if (workload !== undefined) return refOf('WorkloadEntry', workload)
  if (peer !== undefined) return refOf('PeerAuthentication', peer.object.metadata)
  return { kind: 'Mesh', name: 'mesh' }
}

function refOf(kind: string, { namespace = 'default', name }: Meta): ObjectRef {
  return { kind, namespace, name }
}

export function runChecks(estate: Estate): readonly LintFinding[] {
  return LINT_CHECKS.flatMap(({ code, severity, remedy, find }) =>
    find(estate).map((found) => ({
      code,
      severity: found.severity ?? severity,
      object: refOfOwner(found),
      field: found.field,
      message: found.message,
      remedy,
    })),
  )
}

export function keyOfFinding({ object, field, code }: LintFinding): string {
  return [object === undefined ? '' : formatRef(object), field, code].join('\0')
}
