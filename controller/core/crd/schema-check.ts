/**
 * The JSON-schema part of a CRD, checked by ajv: types, required fields, enums, patterns, sizes.
 * `required` and friends are reported at the field that is wrong, as the API server does, in words of a user.
 */
import { Ajv, type ErrorObject } from 'ajv'
import type { FieldPath } from './field-path.ts'
import { type Finding, typeName } from './finding.ts'
import { describePattern } from './patterns.ts'
import type { Schema } from './schema.ts'
import { nearest } from './suggest.ts'

export interface SchemaFinding extends Finding {
  /** Whether the API server leaves the CEL rules unchecked for it. */
  readonly blocksRules: boolean
}

export type SchemaChecker = (value: unknown) => SchemaFinding[]

/** Source of the list: apiextensions-apiserver registry/customresource hasBlockingErr. */
const BLOCKING = new Set(['type', 'required', 'enum', 'maxLength', 'maxItems', 'maxProperties'])

export function compileSchema(schema: Schema): SchemaChecker {
  const ajv = new Ajv({
    allErrors: true,
    strict: false,
    verbose: true,
    ownProperties: true,
    unicodeRegExp: true,
  })
  const validate = ajv.compile(toJsonSchema(schema))
  return (value) => {
    if (validate(value)) return []
    const errors = (validate.errors ?? []).filter(isOwnError)
    return errors.filter((e) => !isShadowed(e, errors)).map((e) => toFinding(e, value))
  }
}

/** The branches of an anyOf fail one by one; only that none fits is worth telling. */
function isOwnError(error: ErrorObject): boolean {
  return error.keyword === 'anyOf' || !error.schemaPath.includes('/anyOf/')
}

/** What has the wrong type or is empty need not be told to have the wrong form too. */
function isShadowed(error: ErrorObject, errors: readonly ErrorObject[]): boolean {
  const stronger = error.keyword === 'minLength' ? ['type'] : ['type', 'minLength']
  if (error.keyword === 'type' || error.keyword === 'required') return false
  return errors.some(
    (e) => e.instancePath === error.instancePath && stronger.includes(e.keyword) && e !== error,
  )
}

/** OpenAPI's int-or-string in JSON schema; what ajv does not check, or other modules do, is left out. */
function toJsonSchema(schema: Schema): Record<string, unknown> {
  const { properties, additionalProperties, items, allOf, anyOf, not, ...rest } = schema
  const { default: _, format: __, description: ___, ...checks } = rest
  const plain = Object.fromEntries(Object.entries(checks).filter(([key]) => !key.startsWith('x-')))
  return {
    ...plain,
    ...(schema['x-kubernetes-int-or-string'] && { type: ['integer', 'string'] }),
    ...(properties && { properties: mapSchemas(properties) }),
    ...(additionalProperties && { additionalProperties: toJsonSchema(additionalProperties) }),
    ...(items && { items: toJsonSchema(items) }),
    ...(allOf && { allOf: allOf.map(toJsonSchema) }),
    ...(not && { not: toJsonSchema(not) }),
    ...(anyOf && { anyOf: anyOf.map(toJsonSchema) }),
  }
}

function mapSchemas(schemas: Readonly<Record<string, Schema>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(schemas).map(([k, s]) => [k, toJsonSchema(s)]))
}

function toFinding(error: ErrorObject, root: unknown): SchemaFinding {
  const path = toPath(error.instancePath, root)
  return { ...describe(error, path), blocksRules: BLOCKING.has(error.keyword) }
}

/** A JSON pointer; numbers are indices where the parent is a list. */
function toPath(pointer: string, root: unknown): FieldPath {
  let here = root
  return pointer
    .split('/')
    .slice(1)
    .map((part) => {
      const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
      const index = Array.isArray(here) ? Number(key) : key
      here = (here as Record<string, unknown>)[key]
      return index
    })
}

function describe(error: ErrorObject, path: FieldPath): Finding {
  const { keyword, params, data } = error
  switch (keyword) {
    case 'type':
      return wrongType(path, params.type, data)
    case 'required':
      return {
        code: 'ERR_FIELD_REQUIRED',
        path: [...path, params.missingProperty],
        message: 'is required',
        remedy: `add ${JSON.stringify(params.missingProperty)}`,
      }
    case 'enum':
      return notAllowed(path, params.allowedValues, data)
    case 'pattern':
      return wrongValue(path, describePattern(params.pattern, data))
    default:
      return wrongValue(path, describeLimit(keyword, params.limit))
  }
}

function wrongType(path: FieldPath, wanted: string | readonly string[], data: unknown): Finding {
  const types = [wanted].flat()
  const quoted = types.includes('string') && (typeof data === 'number' || typeof data === 'boolean')
  return {
    code: 'ERR_FIELD_TYPE',
    path,
    message: `must be ${types.map(withArticle).join(' or ')}, not ${typeName(data)}`,
    remedy: quoted ? 'put the value in quotes' : `give ${types.map(withArticle).join(' or ')}`,
  }
}

function withArticle(type: string): string {
  if (type === 'array') return 'a list'
  return `${/^[aeiou]/.test(type) ? 'an' : 'a'} ${type}`
}

function notAllowed(path: FieldPath, allowed: readonly unknown[], data: unknown): Finding {
  const names = allowed.map((v) => JSON.stringify(v))
  const hint = typeof data === 'string' ? nearest(data, allowed.map(String)) : undefined
  return {
    code: 'ERR_FIELD_VALUE',
    path,
    message: `${JSON.stringify(data)} is not supported; it must be ${names.join(' or ')}`,
    remedy: `write ${hint === undefined ? names.join(' or ') : JSON.stringify(hint)}`,
  }
}

function wrongValue(path: FieldPath, text: { message: string; remedy: string }): Finding {
  return { code: 'ERR_FIELD_VALUE', path, ...text }
}

function describeLimit(keyword: string, limit: unknown): { message: string; remedy: string } {
  switch (keyword) {
    case 'minimum':
      return { message: `must be at least ${limit}`, remedy: 'give a larger number' }
    case 'maximum':
      return { message: `must be at most ${limit}`, remedy: 'give a smaller number' }
    case 'maxLength':
      return { message: `must have at most ${limit} characters`, remedy: 'shorten it' }
    case 'maxItems':
    case 'maxProperties':
      return { message: `must have at most ${limit} entries`, remedy: 'split it into several' }
    case 'minLength':
    case 'minItems':
    case 'minProperties':
      return {
        message: 'must not be empty; nothing given must not come to mean anything',
        remedy: 'leave the field out, or give at least one value',
      }
    default:
      return { message: 'has the wrong form', remedy: 'compare it with docs/reference/crds.md' }
  }
}
