/**
 * AuthorizationPolicy → Policy: rules as literal, normalised terms; its Rego as it was compiled.
 * Schema and defaults have been applied, but stored objects outlive schemas: every value is read again here.
 * All or nothing: an object with any problem gives no policy, so that a list that lost a value never widens a rule.
 */
import type { ObjectRef, Problem, ProblemCode } from '../../../common/errors.ts'
import type {
  Condition,
  Operation,
  Policy,
  RegoPolicy,
  Rule,
  Source,
  StringMatch,
  Term,
} from '../../../common/policy-set.ts'
import type {
  AuthorizationPolicy,
  AuthorizationPolicyOperation,
  AuthorizationPolicyRule,
  AuthorizationPolicySource,
  AuthorizationPolicyWhen,
} from '../crd/index.ts'
import {
  type Parsed,
  parseHeaderValue,
  parseHost,
  parseIpBlock,
  parseMethod,
  parseNamespace,
  parsePath,
  parsePort,
  parsePrincipal,
  parseWhenKey,
} from '../crd/values.ts'
import type { MeshSettings } from '../model/mesh.ts'
import { namespaceOf, refOf } from './objects.ts'

export interface PolicyContext {
  readonly mesh: Pick<MeshSettings, 'trustDomain' | 'trustDomainAliases'>
  /** The compiled Rego of this object; must be there exactly when the object has `spec.rego`. */
  readonly rego: RegoPolicy | undefined
}

export interface PolicyTranslation {
  readonly policy: Policy | undefined
  readonly problems: readonly Problem[]
}

export function translateAuthorizationPolicy(
  object: AuthorizationPolicy,
  context: PolicyContext,
): PolicyTranslation {
  const { action, mode, required, onError, rules, rego } = object.spec
  const reader = new RuleReader(refOf(object), context.mesh)
  const [namespace, name] = [namespaceOf(object), object.metadata.name]
  const translated = rules?.map((rule, i) =>
    reader.readRule(rule, `${namespace}/${name}/rules[${i}]`, `spec.rules[${i}]`),
  )
  if (required && action !== 'ALLOW') reader.refuse('spec.required', NOT_REQUIRED)
  if (rego !== undefined && context.rego === undefined) reader.refuse('spec.rego', NOT_COMPILED)
  if (reader.problems.length > 0) return { policy: undefined, problems: reader.problems }
  return {
    policy: {
      namespace,
      name,
      action,
      mode,
      required,
      onError,
      ...(translated === undefined ? {} : { rules: translated }),
      ...(rego === undefined || context.rego === undefined ? {} : { rego: context.rego }),
    },
    problems: [],
  }
}

type Mistake = Pick<Problem, 'code' | 'message' | 'remedy'>

const NOT_REQUIRED: Mistake = {
  code: 'ERR_RULE_VIOLATED',
  message: 'only an ALLOW policy can be required',
  remedy: 'remove "required" or set action ALLOW',
}
const NOT_COMPILED: Mistake = {
  code: 'ERR_REGO_COMPILE',
  message: 'the Rego has not been compiled',
  remedy: 'mend the Rego, or wait until it is compiled',
}
const EMPTY: Mistake = {
  code: 'ERR_FIELD_VALUE',
  message: 'is empty, which could mean nothing or anything',
  remedy: 'leave the field out for "any", or give a value',
}

/** How one kind of value is read, and the code of what can't be. */
interface ValueKind<V, T> {
  readonly parse: (value: V) => Parsed<T>
  readonly code: ProblemCode
}

const PRINCIPAL = { parse: parsePrincipal, code: 'ERR_SPIFFE_ID' } as const
const NAMESPACE = { parse: parseNamespace, code: 'ERR_FIELD_VALUE' } as const
const IP_BLOCK = { parse: parseIpBlock, code: 'ERR_CIDR' } as const
const HOST = { parse: parseHost, code: 'ERR_FIELD_VALUE' } as const
const PORT = { parse: parsePort, code: 'ERR_FIELD_VALUE' } as const
const METHOD = { parse: parseMethod, code: 'ERR_FIELD_VALUE' } as const
const PATH = { parse: parsePath, code: 'ERR_FIELD_VALUE' } as const
const TEXT = {
  header: { parse: parseHeaderValue, code: 'ERR_FIELD_VALUE' },
  'source.principal': PRINCIPAL,
  'source.namespace': NAMESPACE,
  'destination.port': { parse: parsePortText, code: 'ERR_FIELD_VALUE' },
} as const

const VALUES = ['values', 'notValues'] as const

/** Reads the rules of one object and collects all that is wrong with them. */
class RuleReader {
  readonly problems: Problem[] = []
  readonly #object: ObjectRef
  readonly #domains: readonly string[]

  constructor(object: ObjectRef, mesh: PolicyContext['mesh']) {
    this.#object = object
    this.#domains = [mesh.trustDomain, ...mesh.trustDomainAliases]
  }

  refuse(field: string, mistake: Mistake): void {
    this.problems.push({ ...mistake, object: this.#object, field })
  }

  readRule(rule: AuthorizationPolicyRule, id: string, field: string): Rule {
    for (const part of ['from', 'to', 'when'] as const) {
      if (rule[part]?.length === 0) this.refuse(`${field}.${part}`, EMPTY)
    }
    return {
      id,
      from: (rule.from ?? []).map((f, i) =>
        this.#readSource(f.source, `${field}.from[${i}].source`),
      ),
      to: (rule.to ?? []).map((t, i) =>
        this.#readOperation(t.operation, `${field}.to[${i}].operation`),
      ),
      when: (rule.when ?? []).flatMap((w, i) => this.#readCondition(w, `${field}.when[${i}]`)),
    }
  }

  #readSource(source: AuthorizationPolicySource, field: string): Source {
    if (Object.keys(source).length === 0) this.refuse(field, EMPTY)
    const principals = this.#term(source, ['principals', 'notPrincipals'], field, PRINCIPAL)
    return {
      principals: this.#expand(principals),
      namespaces: this.#term(source, ['namespaces', 'notNamespaces'], field, NAMESPACE),
      ipBlocks: this.#term(source, ['ipBlocks', 'notIpBlocks'], field, IP_BLOCK),
    }
  }

  #readOperation(operation: AuthorizationPolicyOperation, field: string): Operation {
    if (Object.keys(operation).length === 0) this.refuse(field, EMPTY)
    return {
      hosts: this.#term(operation, ['hosts', 'notHosts'], field, HOST),
      ports: this.#term(operation, ['ports', 'notPorts'], field, PORT),
      methods: this.#term(operation, ['methods', 'notMethods'], field, METHOD),
      paths: this.#term(operation, ['paths', 'notPaths'], field, PATH),
    }
  }

  #readCondition(when: AuthorizationPolicyWhen, field: string): readonly Condition[] {
    if (when.values === undefined && when.notValues === undefined) this.refuse(field, EMPTY)
    const parsed = parseWhenKey(when.key)
    if (!parsed.ok) {
      const { message, remedy } = parsed
      this.refuse(`${field}.key`, { code: 'ERR_FIELD_VALUE', message, remedy })
      return []
    }
    const key = parsed.value
    if (key.kind === 'source.ip')
      return [{ key, blocks: this.#term(when, VALUES, field, IP_BLOCK) }]
    const values = this.#term(when, VALUES, field, TEXT[key.kind])
    return [{ key, values: key.kind === 'source.principal' ? this.#expand(values) : values }]
  }

  /** A principal of this trust domain, or of an alias, means that of each of these names. */
  #expand(term: Term<StringMatch>): Term<StringMatch> {
    const expand = (m: StringMatch) => expandPrincipal(m, this.#domains)
    return { is: term.is.flatMap(expand), not: term.not.flatMap(expand) }
  }

  #term<K extends string, V extends string | number, T>(
    parent: { readonly [key in K]?: readonly V[] },
    [is, not]: readonly [K, K],
    field: string,
    kind: ValueKind<V, T>,
  ): Term<T> {
    return {
      is: this.#values(parent[is], `${field}.${is}`, kind),
      not: this.#values(parent[not], `${field}.${not}`, kind),
    }
  }

  #values<V extends string | number, T>(
    values: readonly V[] | undefined,
    field: string,
    { parse, code }: ValueKind<V, T>,
  ): readonly T[] {
    if (values?.length === 0) this.refuse(field, EMPTY)
    return (values ?? []).flatMap((value, i) => {
      const parsed = parse(value)
      if (parsed.ok) return [parsed.value]
      const message = `${JSON.stringify(value)} ${parsed.message}`
      this.refuse(`${field}[${i}]`, { code, message, remedy: parsed.remedy })
      return []
    })
  }
}

function parsePortText(text: string): Parsed<StringMatch> {
  const port = parsePort(text)
  return port.ok ? { ok: true, value: { kind: 'exact', value: String(port.value) } } : port
}

/** One match for each name of the trust domain; as it is when the domain is another or not whole. */
function expandPrincipal(match: StringMatch, domains: readonly string[]): readonly StringMatch[] {
  if (match.kind !== 'exact' && match.kind !== 'prefix') return [match]
  const [, domain, path] = /^spiffe:\/\/([^/]+)(\/.*)$/.exec(match.value) ?? []
  if (domain === undefined || path === undefined || !domains.includes(domain)) return [match]
  return domains.map((d): StringMatch => ({ kind: match.kind, value: `spiffe://${d}${path}` }))
}
