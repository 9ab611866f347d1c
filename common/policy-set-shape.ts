/**
 * Whether a JSON value is a PolicySet: every field of the right type, none missing, none unknown.
 * Strict on purpose: a sidecar that doesn't know a field of a newer controller must refuse it and keep its last good
 * set, since reading a policy without one of its terms could open what was meant to be closed.
 */

import { FEATURES, missingFeatures } from './features.ts'
import type { PolicySet } from './policy-set.ts'
import { isSpiffeId, isTrustDomain } from './spiffe-id.ts'

/** The first mistake as text (`policies[0].action: …`), or undefined. */
type Check = (value: unknown, at: string) => string | undefined

/** The value itself when it is a PolicySet, else what is wrong with it, as one line. */
export function parsePolicySet(value: unknown): PolicySet | string {
  return lackedFeature(value) ?? policySet(value, '') ?? (value as PolicySet)
}

/** Said first: `unknown field` would not tell anyone what to do. */
function lackedFeature(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || !('requires' in value)) return undefined
  const { requires } = value
  const problem = list(matching(FEATURE_TOKEN, 'a feature token'))(requires, 'requires')
  if (problem !== undefined) return problem
  const [lacked] = missingFeatures(requires as readonly string[], FEATURES)
  return lacked === undefined
    ? undefined
    : `it needs the feature ${lacked}, which this version does not have`
}

const text: Check = (v, at) => (typeof v === 'string' ? undefined : `${at}: not a string`)
const bool: Check = (v, at) => (typeof v === 'boolean' ? undefined : `${at}: not a boolean`)
const json: Check = (v, at) => (v === undefined ? `${at}: missing` : undefined)

function matching(pattern: RegExp, what: string): Check {
  return (v, at) => (typeof v === 'string' && pattern.test(v) ? undefined : `${at}: not ${what}`)
}

function oneOf(...allowed: readonly string[]): Check {
  return (v, at) =>
    typeof v === 'string' && allowed.includes(v)
      ? undefined
      : `${at}: not one of ${allowed.join(', ')}`
}

function list(element: Check): Check {
  return (v, at) => {
    if (!Array.isArray(v)) return `${at}: not a list`
    for (const [i, e] of v.entries()) {
      const problem = element(e, `${at}[${i}]`)
      if (problem !== undefined) return problem
    }
    return undefined
  }
}

type Fields = Readonly<Record<string, Check>>

function object(required: Fields, optional: Fields = {}): Check {
  const isKnown = (name: string) => Object.hasOwn(required, name) || Object.hasOwn(optional, name)
  return (v, at) => {
    if (typeof v !== 'object' || v === null || Array.isArray(v)) return `${at}: not an object`
    const values = v as Record<string, unknown>
    const unknown = Object.keys(values).find((name) => !isKnown(name))
    if (unknown !== undefined) return `${join(at, unknown)}: unknown field`
    const present = Object.entries(optional).filter(([name]) => Object.hasOwn(values, name))
    return firstProblem([...Object.entries(required), ...present], values, at)
  }
}

function firstProblem(
  checks: readonly (readonly [string, Check])[],
  values: Readonly<Record<string, unknown>>,
  at: string,
): string | undefined {
  for (const [name, check] of checks) {
    const problem = check(Object.hasOwn(values, name) ? values[name] : undefined, join(at, name))
    if (problem !== undefined) return problem
  }
  return undefined
}

/** Picks the form by the field `kind`. */
function union(forms: Readonly<Record<string, Readonly<Record<string, Check>>>>): Check {
  const checks = new Map(
    Object.entries(forms).map(([kind, fields]) => [kind, object({ kind: text, ...fields })]),
  )
  return (v, at) => {
    const kind = typeof v === 'object' && v !== null && 'kind' in v ? v.kind : undefined
    const check = typeof kind === 'string' ? checks.get(kind) : undefined
    return check === undefined ? `${join(at, 'kind')}: unknown` : check(v, at)
  }
}

function join(at: string, name: string): string {
  return at === '' ? name : `${at}.${name}`
}

const port: Check = (v, at) =>
  Number.isInteger(v) && (v as number) > 0 && (v as number) < 65536
    ? undefined
    : `${at}: not a port`
const FEATURE_TOKEN = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$/
const cidr = matching(/^[0-9a-f.:]+\/\d{1,3}$/, 'a canonical CIDR')
const trustDomain: Check = (v, at) =>
  typeof v === 'string' && isTrustDomain(v) && isSpiffeId(`spiffe://${v}/x`)
    ? undefined
    : `${at}: not a trust domain`

const stringMatch = union({
  exact: { value: text },
  prefix: { value: text },
  suffix: { value: text },
  present: {},
  template: { segments: list(union({ literal: { value: text }, one: {}, any: {} })) },
})

function term(element: Check): Check {
  return object({ is: list(element), not: list(element) })
}

const textCondition = object({
  key: union({
    header: { name: matching(/^[!#$%&'*+\-.^_`|~0-9a-z]+$/, 'a lower-case header name') },
    'source.principal': {},
    'source.namespace': {},
    'destination.port': {},
  }),
  values: term(stringMatch),
})
const addressCondition = object({ key: union({ 'source.ip': {} }), blocks: term(cidr) })

function condition(value: unknown, at: string): string | undefined {
  const isAddress = typeof value === 'object' && value !== null && 'blocks' in value
  return (isAddress ? addressCondition : textCondition)(value, at)
}

const rule = object({
  id: text,
  from: list(
    object({ principals: term(stringMatch), namespaces: term(stringMatch), ipBlocks: term(cidr) }),
  ),
  to: list(
    object({
      hosts: term(stringMatch),
      ports: term(port),
      methods: term(stringMatch),
      paths: term(stringMatch),
    }),
  ),
  when: list(condition),
})

const rego = object({
  entrypoint: matching(/^[^/]+(\/[^/]+)+$/, 'a slash path'),
  wasmDigest: matching(/^[0-9a-f]{64}$/, 'a SHA-256 in hex'),
  data: json,
  readsBody: bool,
})

const policy = object(
  {
    namespace: text,
    name: text,
    action: oneOf('ALLOW', 'DENY', 'AUDIT'),
    mode: oneOf('Enforce', 'Shadow'),
    required: bool,
    onError: oneOf('Deny', 'Allow'),
  },
  { rules: list(rule), rego },
)

const policySet = object(
  {
    workload: matching(/^[^/]+\/[^/]+$/, 'namespace/name'),
    trustDomain,
    defaultAction: oneOf('ALLOW', 'DENY'),
    defaultMode: oneOf('Enforce', 'Shadow'),
    policies: list(policy),
  },
  {
    trustDomainAliases: list(trustDomain),
    requires: list(matching(FEATURE_TOKEN, 'a feature token')),
  },
)
