/**
 * One object against its CRD, with the API server's answer: unknown fields, defaults, schema, uniqueness, CEL.
 * In: the object as parsed. Out: every finding, and the object with its defaults when there is none.
 * Validators are compiled once per kind, at first use.
 */
import { compileRules, type RuleChecker } from './cel.ts'
import { addDefaults, applyDefaults } from './defaults.ts'
import { formatPath } from './field-path.ts'
import { type Finding, isRecord } from './finding.ts'
import type { Kind, PosternObject } from './generated/objects.ts'
import { KINDS, SCHEMAS } from './generated/schemas.ts'
import { findRepeatedItems } from './list-types.ts'
import { checkMetadata } from './metadata.ts'
import { findInexactNumbers } from './numbers.ts'
import type { Schema } from './schema.ts'
import { compileSchema, type SchemaChecker } from './schema-check.ts'
import { findWrongValues } from './semantics.ts'
import { findUnknownFields } from './unknown-fields.ts'

export type Validation =
  | { readonly ok: true; readonly object: PosternObject }
  | { readonly ok: false; readonly findings: readonly Finding[] }

interface KindValidator {
  readonly namespaced: boolean
  readonly schema: Schema
  readonly checkSchema: SchemaChecker
  readonly checkRules: RuleChecker
}

const validators = new Map<Kind, KindValidator>()

const DEFAULT_NAMESPACE = 'default'

/**
 * `value` has this `kind` already. `old` is the object that it replaces, defaulted; transition rules
 * (what cannot be changed) are checked against it only. `status` is dropped: it is the controller's.
 */
export function validateObject(
  kind: Kind,
  value: Readonly<Record<string, unknown>>,
  old?: PosternObject,
): Validation {
  const validator = validatorOf(kind)
  const { schema } = validator
  const unknown = findUnknownFields(value, schema, [])
  const object = prepare(value, validator)
  const schemaFindings = validator.checkSchema(object)
  const rules = schemaFindings.some((f) => f.blocksRules)
    ? []
    : validator.checkRules({ self: object, oldSelf: old })
  const findings = [
    ...outsideOf(schemaFindings, unknown),
    ...findInexactNumbers(value.spec, ['spec']),
    ...checkMetadata(value.metadata, validator.namespaced),
    ...preferSemantics(findWrongValues(object), [
      ...schemaFindings,
      ...findRepeatedItems(object, schema, []),
      ...rules,
    ]),
  ]
  return findings.length === 0
    ? { ok: true, object: object as unknown as PosternObject }
    : { ok: false, findings: findings.map(withoutInternals) }
}

/**
 * An object as another version stored it: with the defaults of fields that came since, and the paths of what this version
 * does not know. Such an object must not be used: what is not known may be what closes.
 */
export function readStored(object: PosternObject): {
  readonly object: PosternObject
  readonly unknown: readonly string[]
} {
  if (!Object.hasOwn(SCHEMAS, object.kind)) return { object, unknown: [''] }
  const { schema } = validatorOf(object.kind)
  const { status: _, ...rest } = object
  const unknown = findUnknownFields(rest, schema, []).map(({ path }) => formatPath(path))
  return { object: addDefaults(object, schema) as PosternObject, unknown }
}

/** Whether an object of this kind is judged by the one that it replaces, too. */
export function hasTransitionRules(kind: Kind): boolean {
  return validatorOf(kind).checkRules.usesOldSelf
}

function validatorOf(kind: Kind): KindValidator {
  const known = validators.get(kind)
  if (known !== undefined) return known
  const schema = withOpenMetadata(SCHEMAS[kind])
  const validator: KindValidator = {
    namespaced: KINDS.some((k) => k.kind === kind && k.namespaced),
    schema,
    checkSchema: compileSchema(schema),
    checkRules: compileRules(schema),
  }
  validators.set(kind, validator)
  return validator
}

/** Metadata has no schema in a CRD; `checkMetadata` knows its fields. */
const ANY_METADATA: Schema = { 'x-kubernetes-preserve-unknown-fields': true }

function withOpenMetadata(schema: Schema): Schema {
  return { ...schema, properties: { ...schema.properties, metadata: ANY_METADATA } }
}

function prepare(
  value: Readonly<Record<string, unknown>>,
  { schema, namespaced }: KindValidator,
): Record<string, unknown> {
  const { status: _, ...rest } = value
  const defaulted = applyDefaults(rest, schema) as Record<string, unknown>
  const { metadata } = defaulted
  if (!isRecord(metadata)) return defaulted
  const { namespace, ...others } = metadata
  const place = namespaced ? { namespace: namespace || DEFAULT_NAMESPACE } : {}
  return { ...defaulted, metadata: { ...withoutNulls(others), ...place } }
}

function withoutNulls(value: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([, child]) => child !== null))
}

/** An object where there should be none has the wrong type; that its fields are unknown goes without saying. */
function outsideOf(schema: readonly Finding[], unknown: readonly Finding[]): Finding[] {
  const wrongTypes = schema.filter((f) => f.code === 'ERR_FIELD_TYPE').map((f) => f.path)
  return unknown.filter(
    ({ path }) => !wrongTypes.some((outer) => outer.every((part, i) => part === path[i])),
  )
}

/** What the grammar says of a value stands in for what the schema says of it, at or above the same field. */
function preferSemantics(semantic: readonly Finding[], schema: readonly Finding[]): Finding[] {
  const told = new Set(
    semantic.flatMap(({ path }) => path.map((_, i) => formatPath(path.slice(0, i + 1)))),
  )
  const exact = new Set(semantic.map((f) => formatPath(f.path)))
  const others = schema.filter(({ path, code, message }) => {
    const field = formatPath(path)
    const coversBelow = code === 'ERR_FIELD_VALUE' && message.startsWith('has the wrong form')
    return !exact.has(field) && !(coversBelow && told.has(field))
  })
  return [...semantic, ...others]
}

function withoutInternals({ code, path, message, remedy }: Finding): Finding {
  return { code, path, message, remedy }
}
